"""How a history fares under code: the verdict, what it says of decoding, and the form in which a run is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
import pydantic
import pytest

from perdure import App, Codec, KeyRing, Secret, continue_as_new, patched, wait_for_event
from perdure.codec import encode
from perdure.errors import InvalidArgument, NotDecodable
from perdure.history.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityScheduled,
    DetachedCreated,
    EventRaised,
    RunCompleted,
    RunStarted,
    RunSuspended,
    RunTerminated,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)
from perdure.sdk.misfit import misfit
from perdure.testing import Finding, Recording, decode_recording, encode_recording, replay_history, replay_recording

START = RunStarted(name="main", input=encode(1), execution="ab" * 16)


def an_app(code, **more):
    app = App("unit")

    @app.activity
    async def act(x: int) -> int:
        return x

    app.workflow(name="main", **more)(code(act))
    return app


def two_steps(act):
    async def main(x: int) -> int:
        await act(1)
        return await act(2)

    return main


FIRST = [TurnStarted(at=1), START, ActivityScheduled(number=1, name="act")]
SECOND = [TurnStarted(at=2), ActivityCompleted(number=1, result=encode(1)), ActivityScheduled(number=2, name="act")]
LAST = [TurnStarted(at=3), ActivityCompleted(number=2, result=encode(2)), RunCompleted(status="completed")]


@pytest.mark.parametrize("events", [FIRST, FIRST + SECOND, FIRST + SECOND + LAST])
def test_the_code_that_made_a_history_is_compatible_with_it_at_each_point(events):
    verdict = replay_history(an_app(two_steps), events)
    assert verdict.finding is Finding.COMPATIBLE
    assert verdict.is_compatible
    assert (verdict.name, verdict.events, verdict.difference, verdict.remedy) == ("main", len(events), None, None)


def test_code_that_ends_before_its_history_differs():
    def ends(act):
        async def main(x: int) -> int:
            return await act(1)

        return main

    verdict = replay_history(an_app(ends), [*FIRST, *SECOND[:2]])
    assert verdict.finding is Finding.DIVERGES
    assert verdict.description.startswith("the end: history holds that it goes on, the code asked for the end of the")
    assert "test_verdict.py" in verdict.line


def test_code_that_continues_as_new_where_history_goes_on_differs():
    def continues(act):
        async def main(x: int) -> int:
            await act(1)
            return continue_as_new(2)

        return main

    verdict = replay_history(an_app(continues), FIRST + SECOND)
    assert "the next generation" in verdict.description


def test_code_that_goes_on_where_its_history_ends_differs():
    def goes_on(act):
        async def main(x: int) -> int:
            await act(1)
            await act(2)
            await wait_for_event("more")
            return 1

        return main

    verdict = replay_history(an_app(goes_on), FIRST + SECOND + LAST)
    assert "history holds RunCompleted(completed), the code asked for nothing" in verdict.description


def test_code_that_fails_where_history_completes_differs_and_the_error_is_told():
    def fails(act):
        async def main(x: int) -> int:
            await act(1)
            await act(2)
            raise LookupError("gone")

        return main

    verdict = replay_history(an_app(fails), FIRST + SECOND + LAST)
    assert "the end of the workflow by LookupError: gone" in verdict.description
    assert "test_verdict.py" in verdict.line


def test_a_run_that_no_code_ended_is_compatible():
    end = [TurnStarted(at=2), RunTerminated(), RunCompleted(status="terminated")]
    assert replay_history(an_app(two_steps), FIRST + end).is_compatible
    end = [TurnStarted(at=2), TimerFired(number=-2), RunCompleted(status="failed")]
    assert replay_history(an_app(two_steps), FIRST + end).is_compatible


def raced(cancels):
    def code(act):
        async def main(x: int) -> int:
            slow = asyncio.create_task(act(1))
            await asyncio.sleep(5)
            if cancels:
                slow.cancel()
            await wait_for_event("go")
            return 1

        return main

    return code


RACE = [
    *[TurnStarted(at=1), START, TimerCreated(number=1, due=5_000_001), ActivityScheduled(number=2, name="act")],
    *[TurnStarted(at=5_000_001), TimerFired(number=1, due=5_000_001)],
]


def test_what_was_taken_back_must_be_taken_back_again_and_nothing_else():
    held = [*RACE, ActivityCancelled(number=2)]
    assert replay_history(an_app(raced(cancels=True)), held).is_compatible
    verdict = replay_history(an_app(raced(cancels=False)), held)
    assert "history holds ActivityCancelled, the code asked for that it goes on" in verdict.description
    verdict = replay_history(an_app(raced(cancels=True)), RACE)
    assert "history holds that it goes on, the code asked for ActivityCancelled" in verdict.description


def test_what_was_answered_in_the_turn_that_took_it_back_is_no_difference():
    answered = [*RACE, ActivityCompleted(number=2, result=encode(1))]
    assert replay_history(an_app(raced(cancels=True)), answered).is_compatible


def test_a_timeout_that_was_not_needed_is_taken_back_in_both():
    def bounded(act):
        async def main(x: int) -> None:
            async with asyncio.timeout(9):
                await act(1)
            await wait_for_event("go")

        return main

    turns = [TurnStarted(at=1), START, TimerCreated(number=1, due=9), ActivityScheduled(number=2, name="act")]
    turns += [TurnStarted(at=2), ActivityCompleted(number=2, result=encode(1)), TimerCancelled(number=1)]
    assert replay_history(an_app(bounded), turns).is_compatible


def test_a_detached_workflow_of_another_app_is_no_difference():
    """History does not hold its app."""
    app = App("unit")

    @app.workflow
    async def other() -> None: ...

    @app.workflow
    async def main(x: int) -> None:
        await other.with_options(id="d", app_id="elsewhere").start()
        await wait_for_event("go")

    held = [TurnStarted(at=1), START, DetachedCreated(number=1, instance="d", name="other")]
    assert replay_history(app, held).is_compatible


def test_the_verdict_tells_which_side_of_each_patch_the_run_takes():
    def patched_code(act):
        async def main(x: int) -> int:
            patched("never recorded")
            await act(1)
            patched("recorded")
            return await act(2)

        return main

    second = [msgspec.structs.replace(SECOND[0], patches=["recorded"]), *SECOND[1:]]
    verdict = replay_history(an_app(patched_code), FIRST + second)
    assert verdict.patches == {"never recorded": False, "recorded": True}


def test_the_verdict_names_the_code_that_wrote_the_history_and_the_code_at_hand():
    started = msgspec.structs.replace(FIRST[0], fingerprint="f" * 16)
    app = an_app(two_steps)
    verdict = replay_history(app, [started, *FIRST[1:]])
    assert verdict.recorded_fingerprint == "f" * 16
    assert verdict.fingerprint == app.definitions.workflows["main"].fingerprint


def test_a_version_is_that_of_the_first_turn_and_one_that_is_not_here_is_missing():
    started = msgspec.structs.replace(FIRST[0], version="2")
    events = [started, *FIRST[1:]]
    assert replay_history(an_app(two_steps, version="2"), events).is_compatible
    verdict = replay_history(an_app(two_steps, version="3"), events)
    assert (verdict.finding, verdict.reason, verdict.version) == (Finding.MISSING, "version-not-registered", "2")


def test_a_result_that_no_longer_decodes_names_the_event_and_the_change():
    app = App("unit")

    @dataclass
    class Receipt:
        total: int
        currency: str

    async def act(x: int) -> Receipt:
        return Receipt(x, "EUR")

    act.__annotations__["return"] = Receipt
    activity = app.activity(act)

    @app.workflow
    async def main(x: int) -> int:
        try:
            return (await activity(x)).total
        except ValueError:
            return await activity(2)

    events = [*FIRST, TurnStarted(at=2), ActivityCompleted(number=1, result=encode({"total": 1}))]
    verdict = replay_history(app, events)
    assert verdict.finding is Finding.UNDECODABLE
    assert verdict.misfit.event == "ActivityCompleted(1)"
    assert verdict.misfit.changes == ["field $.currency was added without a default"]


def test_events_without_a_start_are_refused():
    with pytest.raises(InvalidArgument, match="no RunStarted"):
        replay_history(an_app(two_steps), [TurnStarted(at=1)])


def test_a_pydantic_model_tells_every_change():
    class Strict(pydantic.BaseModel, extra="forbid"):
        a: int
        b: int

    try:
        Strict.model_validate_json('{"a": "x", "c": 1}')
    except pydantic.ValidationError as cause:
        error = NotDecodable("no")
        error.__cause__ = cause
    told = misfit("EventRaised(go)", Strict, error).changes
    assert told[0].startswith("the type of $.a has changed: recorded is str")
    assert told[1:] == [
        "field $.b was added without a default",
        "field $.c was removed, and the type forbids what it does not know",
    ]


# -- recordings ---------------------------------------------------------------------------------------------------


def a_recording(events, arrivals=()):
    return Recording(
        app="unit",
        id="i",
        name="main",
        status="running",
        execution="ab" * 16,
        generation=1,
        updated=2,
        segments=[msgspec.Raw(msgspec.json.encode(events))] if events else [],
        arrivals=[msgspec.Raw(msgspec.json.encode(event)) for event in arrivals],
    )


def test_a_recording_survives_a_file():
    recording = a_recording(FIRST, [EventRaised(name="go")])
    again = decode_recording(encode_recording(recording))
    assert again.events() == FIRST
    assert again.waiting() == [EventRaised(name="go")]
    assert again.id == "i"


@pytest.mark.parametrize(
    "line", [b"{}", b"no", encode_recording(msgspec.structs.replace(a_recording(FIRST), format=9))]
)
def test_a_line_of_something_else_is_refused(line):
    with pytest.raises(InvalidArgument):
        decode_recording(line)


def test_the_mail_that_waits_is_tried_too():
    app = an_app(two_steps)
    good = ActivityCompleted(number=1, result=encode(1))
    assert replay_recording(app, a_recording(FIRST, [good])).is_compatible
    bad = ActivityCompleted(number=1, result=encode("text"))
    verdict = replay_recording(app, a_recording(FIRST, [bad]))
    assert verdict.finding is Finding.UNDECODABLE
    assert verdict.misfit.event == "ActivityCompleted(1)"
    held_back = [TurnStarted(at=2), RunSuspended()]
    assert replay_recording(app, a_recording(FIRST + held_back, [bad])).is_compatible


def test_a_run_that_has_not_begun_is_tried_from_its_start():
    assert replay_recording(an_app(two_steps), a_recording([], [START])).is_compatible
    bad = msgspec.structs.replace(START, input=encode("text"))
    assert replay_recording(an_app(two_steps), a_recording([], [bad])).finding is Finding.UNDECODABLE


def test_a_history_that_cannot_be_read_is_told():
    broken = msgspec.structs.replace(a_recording(FIRST), segments=[msgspec.Raw(b'[{"type": "Nothing"}]')])
    verdict = replay_recording(an_app(two_steps), broken)
    assert (verdict.finding, verdict.reason) == (Finding.STUCK, "history-corrupt")


def test_code_that_passes_a_secret_on_replays_with_the_codec_of_its_app():
    app = App("unit", codec=Codec(keys=KeyRing({"k1": KeyRing.new_key()})))

    @app.activity
    async def act(pin: Secret[str]) -> int:
        return 1

    @app.workflow
    async def main(pin: str) -> int:
        return await act(Secret(pin))

    start = RunStarted(name="main", input=encode("7"), execution="ab" * 16)
    verdict = replay_history(app, [TurnStarted(at=1), start, ActivityScheduled(number=1, name="act")])
    assert verdict.finding is Finding.COMPATIBLE, verdict
