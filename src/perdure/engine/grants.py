"""Slots that doors of queues have sent to an instance: what a turn takes of them, and which ones it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perdure.actors.message import Message
from perdure.engine.attempts import Address
from perdure.history.draft import Draft
from perdure.history.events import SlotGranted, SlotLeft, encode_event
from perdure.history.reports import admit
from perdure.history.slots import Grant, door_of, slots_left
from perdure.stores.contract import QUEUED, Head, Mail, Turn, Wait


def grants_in(messages: Iterable[Message]) -> list[Message]:
    """Those that came as mail."""
    return [message for message in messages if message.stored and type(message.event) is SlotGranted]


def address_of(id: str, grant: Message) -> Address:
    """Which wait of the instance the slot was sent to."""
    return (id, grant.execution or "", grant.generation or 0, grant.event.number)


def take_slots(head: Head, waits: Mapping[int, Wait], at: int, grants: Sequence[Message], *, is_open: bool) -> Draft:
    """A turn that only takes slots, or, where none may be taken because the run is not `is_open`, gives them back."""
    draft = Draft(head, waits, at)
    for message in grants:
        wait = waits.get(message.event.number)
        is_current = (message.execution, message.generation) == (head.execution, head.generation)
        if is_open and is_current and wait is not None and wait.state == QUEUED:
            admit(draft, message.event)
    return draft


def slots_left_by(id: str, waits: Mapping[int, Wait], turn: Turn, granted: Sequence[Message]) -> list[Mail]:
    """What doors are told in the turn: which slots are free with it. `waits` are those before it."""
    grants = [Grant(m.event.queue, m.execution or "", m.generation or 0, m.event.number) for m in granted]
    return [
        Mail(door_of(queue), _key(id, turn, left), encode_event(left), turn.at)
        for queue, left in slots_left(id, waits, turn, grants)
    ]


def _key(id: str, turn: Turn, left: SlotLeft) -> str:
    return f"{id}/{turn.execution}.{turn.generation}/{(turn.expected or 0) + 1}.left.{left.number}"
