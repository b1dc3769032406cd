"""The checker finds what must not be, on stories made up for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure import events as e
from tests.chaos.checker import Fault, Run, Story, is_alone, key_of, resumptions, violations
from tests.chaos.ledger import BEGUN, ENDED, STALLED, Entry

LEASE = 2.0
HISTORY = [
    e.RunStarted(name="w"),
    e.ActivityScheduled(number=1, name="a"),
    e.ActivityCompleted(number=1),
    e.TimerCreated(number=2, due=0),
    e.TimerFired(number=2),
    e.EventRaised(name="go"),
    e.ActivityScheduled(number=3, name="a"),
    e.ActivityCompleted(number=3, attempt=2),
    e.RunCompleted(status="completed"),
]
RUN = Run("w-1", "x", HISTORY)
FIRST, SECOND = key_of(RUN, 1), key_of(RUN, 3)


def entries(*changed: Entry) -> list[Entry]:
    """What the ledgers say of the run, and more."""
    return sorted(
        [
            Entry(BEGUN, 10.0, "n1", FIRST, 1),
            Entry(ENDED, 10.1, "n1", FIRST, 1),
            Entry(BEGUN, 11.0, "n2", SECOND, 1),
            Entry(ENDED, 11.1, "n2", SECOND, 1),
            Entry(BEGUN, 11.2, "n2", SECOND, 2),
            Entry(ENDED, 11.3, "n2", SECOND, 2),
            *changed,
        ],
        key=lambda entry: entry.at,
    )


def story(**changed: Any) -> Story:
    made = Story(
        lease_seconds=LEASE, wanted={"w-1": 7}, got={"w-1": 7}, runs=[RUN], instances=1, entries=entries(), faults=[]
    )
    return msgspec.structs.replace(made, **changed)


def with_history(*events: Any) -> Story:
    return story(runs=[Run("w-1", "x", events)])


def test_nothing_is_wrong_with_a_good_story() -> None:
    assert violations(story()) == []


@pytest.mark.parametrize(
    "told, expected",
    [
        (story(got={}), "w-1 has not finished"),
        (story(got={"w-1": 8}), "w-1 has given 8 in place of 7"),
        (story(instances=2), "there are 1 instances in place of 2"),
        (with_history(HISTORY[0], HISTORY[1], *HISTORY[1:]), "w-1: call 1 was made twice"),
        (with_history(*HISTORY[:3], HISTORY[2], *HISTORY[3:]), "w-1: call 1 has ended twice"),
        (with_history(HISTORY[0], HISTORY[2], HISTORY[1], *HISTORY[3:]), "w-1: call 1 has ended before it was made"),
        (with_history(*HISTORY[:5], HISTORY[4], *HISTORY[5:]), "w-1: call 2 has ended twice"),
        (with_history(*HISTORY[:6], HISTORY[5], *HISTORY[6:]), "w-1 has heard go 2 times"),
        (with_history(*HISTORY, HISTORY[-1]), "w-1 was started 1 times and has ended 2 times"),
        (with_history(*HISTORY[:-1]), "w-1 was started 1 times and has ended 0 times"),
        (
            story(entries=[entry for entry in entries() if entry.key != FIRST]),
            f"{FIRST}: attempt 1 counts as completed, and the ledgers know []",
        ),
        (
            story(entries=entries(Entry(BEGUN, 10.5, "n1", "w-1/x.1/9", 1))),
            "w-1/x.1/9 was run, and no history knows it",
        ),
        (
            story(entries=entries(Entry(BEGUN, 10.5, "n2", FIRST, 1))),
            f"{FIRST}: attempt 1 of n1 was made again by n2, without a reason",
        ),
        (
            story(entries=[entry for entry in entries() if entry.at != 11.1]),
            f"{SECOND}: attempt 2 began before 1 had ended",
        ),
    ],
)
def test_what_must_not_be_is_found(told: Story, expected: str) -> None:
    assert expected in violations(told)


def test_a_repeated_attempt_is_explained_by_what_its_node_suffered_and_by_nothing_else() -> None:
    repeated = entries(Entry(BEGUN, 10.5, "n2", FIRST, 1))

    def wrong(*faults: Fault) -> bool:
        return any("without a reason" in line for line in violations(story(entries=repeated, faults=faults)))

    assert not wrong(Fault("kill", "n1", 10.05))
    assert not wrong(Fault("pause", "n1", 10.05, 16.0))
    assert not wrong(Fault("crash the store", "", 10.05, 10.2))
    assert wrong(Fault("kill", "n3", 10.05))
    assert not wrong(Fault("pause", "n2", 8.0, 10.2))
    assert wrong(Fault("pause", "n2", 3.0, 6.0))
    assert wrong(Fault("pause", "n1", 2.0, 3.0))
    assert wrong(Fault("pause", "n1", 12.0, 13.0))


def test_a_process_that_the_system_did_not_run_is_a_fault_too() -> None:
    stalled = entries(Entry(BEGUN, 10.9, "n2", FIRST, 1), Entry(STALLED, 10.8, "n1", seconds=0.6))
    assert violations(story(entries=stalled)) == []


def test_an_attempt_after_its_result_was_committed_is_found_but_from_one_that_cannot_know() -> None:
    late = entries(Entry(BEGUN, 20.0, "n1", FIRST, 1))
    calm = story(entries=late, faults=[Fault("pause", "n1", 10.0, 11.0)])
    just_woken = story(entries=late, faults=[Fault("pause", "n1", 10.0, 19.9)])
    assert violations(calm) == [f"{FIRST}: n1 began attempt 1 after its result was committed"]
    assert violations(just_woken) == []


def test_work_must_go_on_in_time_after_a_kill_counted_from_the_last_disturbance() -> None:
    kill = Fault("kill", "n0", 9.0)
    cut_off = Entry(BEGUN, 8.9, "n0", FIRST, 1)

    def again_at(at: float, *faults: Fault) -> list[str]:
        shifted = [msgspec.structs.replace(entry, at=entry.at + at - 10.0) for entry in entries() if entry.at > 0]
        return violations(story(entries=[cut_off, *shifted], faults=[kill, *faults]))

    assert again_at(12.9) == []
    (late,) = again_at(13.1)
    assert late == f"{FIRST}: ran on n0 when that was killed, and again 4.10 s after it; 4 s are allowed"
    crash = Fault("crash the store", "", 10.0, 12.0)
    assert again_at(15.0, crash) == []
    assert is_alone(kill, [kill], 4.0)
    assert not is_alone(kill, [kill, crash], 4.0)


def test_what_has_ended_before_the_kill_need_not_run_again() -> None:
    kill = Fault("kill", "n1", 10.15)
    assert list(resumptions(entries(), [kill], 4.0)) == []
    assert list(resumptions(entries()[:1], [kill], 4.0)) == [(kill, FIRST, None)]
