"""Which slots of queues a turn leaves, and to which door it says so."""

from __future__ import annotations

from typing import Any

from perdure.history.actions import QUEUE_WAIT, START_WAIT
from perdure.history.options import CallOptions, Limits, Place, encode_options
from perdure.history.slots import Grant, door_of, is_door, slots_left
from perdure.stores.contract import ADMITTED, HELD, QUEUED, Turn, Wait, WaitKind

PLACE = encode_options(CallOptions(place=Place("mails", Limits(concurrency=1))))


def wait(number: int, state: str, kind: str = WaitKind.ACTIVITY, options: bytes | None = PLACE) -> Wait:
    return Wait(number, kind, "send", 1, state=state, options=options)


def left(before: list[Wait], *grants: Grant, **turn: Any) -> list[tuple[str, str, int, int]]:
    """(queue, execution, generation, number) of each slot that is left."""
    taken = Turn(1, "order", "e", 2, 5, 9, **turn)
    found = slots_left("order", {wait.number: wait for wait in before}, taken, grants)
    return [(queue, event.execution, event.generation, event.number) for queue, event in found]


def test_a_wait_that_is_closed_leaves_its_slot_or_its_place_in_the_line() -> None:
    waits = [wait(1, ADMITTED), wait(2, QUEUED), wait(3, HELD, options=None), wait(4, ADMITTED)]
    assert left(waits, closed=(1, 2, 3)) == [("mails", "e", 2, 1), ("mails", "e", 2, 2)]


def test_a_call_that_has_to_wait_for_its_next_attempt_leaves_its_slot() -> None:
    assert left([wait(1, ADMITTED)], changed=(wait(1, QUEUED),)) == [("mails", "e", 2, 1)]
    assert left([wait(1, QUEUED)], changed=(wait(1, ADMITTED),)) == []


def test_a_run_keeps_its_slot_from_its_start_and_over_generations_until_it_ends() -> None:
    start, running = wait(START_WAIT, QUEUED, WaitKind.START), wait(QUEUE_WAIT, ADMITTED, WaitKind.QUEUE)
    assert left([start], closed=(START_WAIT,), opened=(running,)) == []
    assert left([running], closed=(QUEUE_WAIT,), opened=(running,), erase=True) == []
    assert left([running], closed=(QUEUE_WAIT,)) == [("mails", "e", 0, QUEUE_WAIT)]


def test_a_slot_that_was_given_and_is_not_taken_is_left() -> None:
    grant = Grant("mails", "e", 2, 1)
    assert left([wait(1, QUEUED)], grant, changed=(wait(1, ADMITTED),)) == []
    assert left([wait(1, QUEUED)], grant) == [("mails", "e", 2, 1)]
    assert left([], grant) == [("mails", "e", 2, 1)]
    assert left([], Grant("mails", "an earlier life", 1, 1)) == [("mails", "an earlier life", 1, 1)]
    assert left([wait(1, ADMITTED)], grant) == []


def test_a_wait_whose_queue_cannot_be_read_has_asked_for_nothing() -> None:
    assert left([wait(1, QUEUED, options=b"no JSON")], closed=(1,)) == []


def test_doors_are_entities_that_nobody_can_name_by_chance() -> None:
    assert is_door(door_of("mails"))
    assert not is_door("@counter@mails")
