"""A new instance that goes on with the history of another: whether it may, and how it is created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.errors import EventNotRerunnable, HistoryCorrupt, InvalidArgument
from perdure.history.creation import pending_head, start_wait
from perdure.history.entities import is_entity
from perdure.history.events import ChildCreated, DetachedCreated, RunForked, RunStarted, TimerCreated, encode_event
from perdure.history.fork import RERUNNABLE, Reissue, has_locks
from perdure.stores.contract import FINISHED, Creation, Head, Mail, Status


def check_reissue(head: Head, new: str, asked: Reissue, events: Sequence[Any]) -> None:
    """Raises InvalidArgument or EventNotRerunnable if the action cannot be made again like that. Pure."""
    if head.status not in FINISHED or head.parent is not None:
        raise InvalidArgument(f"instance {head.id!r} has to be finished, and no child of another, to be rerun")
    if new == head.id or is_entity(new):
        raise InvalidArgument("a rerun is a new instance; give it an id of its own, without @ in front")
    target = next((e for e in events if getattr(e, "number", None) == asked.number and isinstance(e, _ACTIONS)), None)
    if isinstance(target, DetachedCreated):
        raise InvalidArgument(f"action {asked.number} began a detached instance, which is rerun by itself")
    if asked.replaces_input and isinstance(target, TimerCreated):
        raise InvalidArgument(f"action {asked.number} is a timer, which has no input")
    if asked.child is not None and not isinstance(target, ChildCreated):
        raise InvalidArgument(f"action {asked.number} is no child workflow, which alone has an id")
    if has_locks(events[: events.index(target)] if target is not None else ()):
        raise EventNotRerunnable(f"{head.id!r} held locks of entities then, which a rerun cannot take over", head.id)


def check_failed(head: Head) -> None:
    """Raises EventNotRerunnable for a run that did not fail, which has no failure to go back to. Pure."""
    if head.status != Status.FAILED:
        raise EventNotRerunnable(
            f"instance {head.id!r} is {head.status} and has no failure to go back to; name the event to rerun from",
            head.id,
        )


def forked_creation(app: str, id: str, forked: RunForked, *, unique: bool = False) -> Creation:
    """The instance that takes a history over. Raises HistoryCorrupt if that does not begin with a start."""
    first = next((e for e in (*forked.history, *forked.arrivals) if isinstance(e, RunStarted)), None)
    if first is None:
        raise HistoryCorrupt(f"history of {forked.source!r} does not begin with its start")
    head = pending_head(app, id, first, forked.at)
    mail = Mail(id, f"{head.execution}.start", encode_event(forked), forked.at, head.execution, head.generation)
    waits = (start_wait(forked.at, None, first.place),) if first.place is not None else ()
    return Creation(head, mail, waits, unique=unique)


_ACTIONS = (*RERUNNABLE, DetachedCreated)
