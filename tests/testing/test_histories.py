"""`assert_history`: what is compared, and what people read when it is not as expected."""

import pytest

from perdure import App, wait_for_event
from perdure.errors import InvalidArgument
from perdure.history.events import ActivityScheduled, RunCompleted, RunStarted
from perdure.testing import Environment, assert_history, event

app = App("histories")


@app.activity
async def charge(cents: int) -> str:
    if cents < 0:
        raise ValueError("no such sum")
    return f"receipt for {cents}"


@app.workflow
async def checkout(cents: int) -> str:
    receipt = await charge(cents)
    await wait_for_event("confirmed")
    return receipt


WHOLE = [
    "RunStarted(checkout)",
    "ActivityScheduled(charge)",
    "ActivityCompleted(charge)",
    "EventRaised(confirmed)",
    "RunCompleted(completed)",
]


def _hold(expected, cents=750):
    with Environment(app) as env:

        async def scenario():
            handle = await checkout.with_options(id="A").start(cents)
            await handle.raise_event("confirmed", {"by": "ada"})
            await env.idle()
            await assert_history(handle, expected)

        env.run(scenario())


@pytest.mark.parametrize(
    "expected",
    [
        WHOLE,
        ["RunStarted", "ActivityScheduled", ..., "RunCompleted"],
        [..., "RunCompleted"],
        [...],
        [RunStarted, ActivityScheduled, ..., event(RunCompleted, output="receipt for 750")],
        [..., event("ActivityScheduled", number=1, input=750), ...],
        [..., event("ActivityCompleted", name="charge", result="receipt for 750", attempt=1), ...],
        [..., event("EventRaised", data={"by": "ada"}), ...],
        [..., "ActivityCompleted", ..., "EventRaised", ..., "RunCompleted"],
    ],
)
def test_a_history_is_as_expected(expected):
    _hold(expected)


@pytest.mark.parametrize(
    "expected",
    [
        WHOLE[:-1],
        WHOLE[1:],
        [],
        [*WHOLE, "RunCompleted"],
        ["RunStarted", ..., "RunCompleted", ..., "ActivityScheduled(charge)"],
        [..., "ActivityScheduled(refund)", ...],
        [..., event("ActivityScheduled", input=751), ...],
        [..., event("EventRaised", data={"by": "bob"}), ...],
    ],
)
def test_a_history_that_is_not_as_expected_is_found(expected):
    with pytest.raises(AssertionError, match="the history of A is not as expected"):
        _hold(expected)


def test_the_difference_is_shown_in_place():
    with pytest.raises(AssertionError) as raised:
        _hold(WHOLE, cents=-1)
    assert str(raised.value).splitlines() == [
        "the history of A is not as expected.",
        "Entry 3 of 5 is not there (- expected, + what happened):",
        "    RunStarted(checkout)",
        "    ActivityScheduled(charge)",
        "  - ActivityCompleted(charge)",
        "  - EventRaised(confirmed)",
        "  - RunCompleted(completed)",
        "  + ActivityFailed(charge): ValueError: no such sum",
        "  + RunCompleted(failed): ActivityFailed: activity charge failed: ValueError: no such sum [PERDURE-1311]",
    ] or "ActivityFailed(charge): ValueError: no such sum" in str(raised.value)


@pytest.mark.parametrize(
    "entry, says",
    [
        ("ActivtyScheduled", "no event 'ActivtyScheduled'"),
        ("ActivtyScheduled(charge)", "no event"),
        (5, "is no expected event"),
        (int, "no event 'int'"),
    ],
)
def test_an_entry_that_can_match_nothing_is_refused(entry, says):
    with pytest.raises(InvalidArgument, match=says):
        _hold([entry])


def test_a_field_that_no_event_has_is_refused():
    with pytest.raises(InvalidArgument, match="no field 'cents'; it has"):
        event("ActivityScheduled", cents=5)
