"""Operations of an entity whose time has not come: how a row keeps each, and which of them come again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from perdure.clock import LATEST, SECOND
from perdure.history.actions import SetReminder
from perdure.history.draft import Draft
from perdure.history.events import EntityCalled, EntitySignaled, ReminderSet, decode_event, encode_event
from perdure.stores.contract import Wait, WaitKind

LOCK = 0
"""Number of the wait that stands for who has the lock of an entity. Delayed operations have those from 1 on."""
REMINDERS_MAX = 1_000
"""Reminders of one entity; one more is refused."""
REMINDER_TRIES_MAX = 10
"""How often the operation of a reminder is run again that failed, before this time of it is given up."""
REMINDER_PAUSE_SECONDS = 1.0
REMINDER_PAUSE_SECONDS_MAX = 300.0
"""Before the first of these tries, and how far the pause grows, twofold each time."""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the row of a delayed operation holds. `execution` and `generation` are those of the run that hears the
    answer. `reminder` is the name of one, `period` how often it comes in microseconds, `tries` how often it failed
    since it was to come at `tick`."""

    event: msgspec.Raw
    execution: str | None = None
    generation: int | None = None
    reminder: str | None = None
    period: int | None = None
    tries: int = 0
    tick: int = 0


def kept_in(wait: Wait) -> Kept:
    """What the row of a delayed operation holds."""
    assert wait.options is not None
    return msgspec.json.decode(wait.options, type=Kept)


def delay(
    draft: Draft, event: EntitySignaled | EntityCalled, due: int, execution: str | None, generation: int | None
) -> None:
    """A row of its own keeps the operation, which is in nobody's way until it is due."""
    kept = Kept(msgspec.Raw(encode_event(event)), execution, generation)
    _open(draft, event.operation, due, kept)


def operation_of(entity: str, wait: Wait) -> tuple[EntitySignaled | EntityCalled, Kept]:
    """The operation whose time has come. Each time of a reminder is a request of its own."""
    kept = kept_in(wait)
    event: EntitySignaled | EntityCalled = decode_event(bytes(kept.event))
    if kept.reminder is not None:
        event = msgspec.structs.replace(event, request=f"{entity}/{kept.reminder}@{kept.tick}")
    return event, kept


# -- reminders --------------------------------------------------------------------------------------------------------


def reminders_of(waits: Mapping[int, Wait]) -> Iterator[Wait]:
    """The rows of reminders; `token` is the name of each."""
    return (wait for wait in waits.values() if wait.number != LOCK and wait.token is not None)


def set_reminder(draft: Draft, asked: SetReminder | ReminderSet) -> bool:
    """Let an operation come at its time, in the place of what has its name; whether there was room."""
    clear_reminder(draft, asked.name)
    if sum(1 for _ in reminders_of({**_left(draft), **draft.opened})) >= REMINDERS_MAX:
        return False
    due = min(max(asked.due, draft.at), LATEST)
    event = EntitySignaled(at=draft.at, number=0, request="", operation=asked.operation, input=asked.input)
    kept = Kept(msgspec.Raw(encode_event(event)), reminder=asked.name, period=asked.period, tick=due)
    _open(draft, asked.operation, due, kept)
    return True


def clear_reminder(draft: Draft, name: str) -> None:
    """Let it come no more."""
    for wait in list(reminders_of({**_left(draft), **draft.opened})):
        if wait.token == name:
            close(draft, wait.number)


def come_again(draft: Draft, number: int, *, failed: bool) -> bool:
    """The operation of a row was run: the row goes, or stays for the next time. Whether this time is given up."""
    wait = _left(draft).get(number)
    if wait is None or wait.token is None:
        close(draft, number)
        return False
    kept = kept_in(wait)
    if failed and kept.tries < REMINDER_TRIES_MAX:
        pause = min(REMINDER_PAUSE_SECONDS * 2.0**kept.tries, REMINDER_PAUSE_SECONDS_MAX)
        again = msgspec.structs.replace(kept, tries=kept.tries + 1)
        _change(draft, wait, draft.at + round(pause * SECOND), again)
    elif kept.period is not None:
        due = next_tick(kept.tick, kept.period, draft.at)
        _change(draft, wait, due, msgspec.structs.replace(kept, tries=0, tick=due))
    else:
        close(draft, number)
    return failed and kept.tries >= REMINDER_TRIES_MAX


def next_tick(tick: int, period: int, now: int) -> int:
    """The first time after `now` that a reminder comes; what was missed in between does not come late."""
    period = max(period, 1)  # because rows may have been written with less, which would never be done
    missed = max((now - tick) // period, 0)
    return min(tick + (missed + 1) * period, LATEST)


def close(draft: Draft, number: int) -> None:
    """The row goes with this turn."""
    if draft.opened.pop(number, None) is None:
        draft.changed = [wait for wait in draft.changed if wait.number != number]
        draft.closed.append(number)


def _open(draft: Draft, operation: str, due: int, kept: Kept) -> None:
    number = max((LOCK, *draft.waits, *draft.opened)) + 1
    options = msgspec.json.encode(kept)
    draft.opened[number] = Wait(number, WaitKind.ENTITY, operation, draft.at, due, token=kept.reminder, options=options)


def _change(draft: Draft, wait: Wait, due: int, kept: Kept) -> None:
    draft.changed = [other for other in draft.changed if other.number != wait.number]
    draft.changed.append(msgspec.structs.replace(wait, due=due, options=msgspec.json.encode(kept)))


def _left(draft: Draft) -> dict[int, Wait]:
    """The rows that were there before this turn, as far as it has left them."""
    changed = {wait.number: wait for wait in draft.changed}
    return {number: changed.get(number, wait) for number, wait in draft.waits.items() if number not in draft.closed}
