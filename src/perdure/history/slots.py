"""Slots of queues whose door is elsewhere: which wait they belong to, and which ones a turn leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from perdure.history.actions import QUEUE_WAIT
from perdure.history.events import SlotLeft
from perdure.history.options import place_of
from perdure.stores.contract import ADMITTED, IN_QUEUE, QUEUED, Turn, Wait

DOOR = "@perdure.queue@"
"""How the ids of doors begin: those of entities that no code operates."""
Address = tuple[str, str, int, int]
"""(instance id, execution, generation, number): which wait."""


class Grant(msgspec.Struct, frozen=True):
    """A slot that a door has sent to a wait, as a turn has found it in its mail."""

    queue: str
    execution: str
    generation: int
    number: int


QUEUED_WAIT = Wait(0, "", "", 0, state=QUEUED)
"""Stands for one that is not there."""


def door_of(queue: str) -> str:
    """The id of the actor that gives the slots of a queue."""
    return DOOR + queue


def is_door(id: str) -> bool:
    return id.startswith(DOOR)


def holder_of(instance: str, execution: str, generation: int, number: int) -> Address:
    """Who holds a slot. A run holds one from its start to its end, whichever of its waits stands for that."""
    return (instance, execution, 0, QUEUE_WAIT) if number < 0 else (instance, execution, generation, number)


def slots_left(
    id: str, waits: Mapping[int, Wait], turn: Turn, grants: Iterable[Grant]
) -> Iterator[tuple[str, SlotLeft]]:
    """What the turn has to tell to doors, each with the queue's name; `waits` are those before the turn.

    Slots are left by waits that are closed or have to wait for something else, and by those that were given one which
    they do not take.
    """
    before = dict(_holders(id, turn, waits.values()))
    if not before and not grants:
        return
    after = dict(_holders(id, turn, _after(waits, turn)))
    left = {
        holder: _queue_of(wait)
        for holder, wait in before.items()
        if holder not in after or (wait.state == ADMITTED and after[holder].state != ADMITTED)
    }
    for grant in grants:
        holder = holder_of(id, grant.execution, grant.generation, grant.number)
        if all(waits.get(holder, QUEUED_WAIT).state != ADMITTED for waits in (before, after)):
            left[holder] = grant.queue
    for (_, execution, generation, number), queue in left.items():
        if queue is not None:
            yield queue, SlotLeft(at=turn.at, instance=id, execution=execution, generation=generation, number=number)


def _after(waits: Mapping[int, Wait], turn: Turn) -> Iterable[Wait]:
    kept = {} if turn.erase else {number: wait for number, wait in waits.items() if number not in turn.closed}
    kept.update((wait.number, wait) for wait in turn.changed if wait.number in kept)
    kept.update((wait.number, wait) for wait in turn.opened)
    return kept.values()


def _holders(id: str, turn: Turn, waits: Iterable[Wait]) -> Iterator[tuple[Address, Wait]]:
    for wait in waits:
        if wait.state in IN_QUEUE:
            yield holder_of(id, turn.execution, turn.generation, wait.number), wait


def _queue_of(wait: Wait) -> str | None:
    try:
        place = place_of(wait.options)
    except ValueError:
        return None  # because nobody can have asked for a slot of a queue that cannot be read
    return None if place is None else place.queue
