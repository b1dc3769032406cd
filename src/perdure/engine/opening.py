"""How the code of a run comes into memory: opened, brought to where its history is, held against its waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from perdure.actors.message import Message
from perdure.engine.ports import Executor, LiveRun
from perdure.history.audit import discrepancy
from perdure.history.delivery import Gate
from perdure.history.events import decode_segment
from perdure.history.settle import TRACE
from perdure.history.work import Identity, Stall
from perdure.stores.contract import Head, Segment, Wait

HISTORY_EVENTS_WARN = 50_000


class Opened(msgspec.Struct, frozen=True):
    """Code that is where its history is. `gate` is None for a run that begins; `events` is how many history has."""

    live: LiveRun
    gate: Gate | None
    events: int


def open_run(
    executor: Executor,
    head: Head,
    segments: Sequence[Segment],
    waits: Mapping[int, Wait],
    at: int,
    messages: Iterable[Message],
) -> Opened | Stall:
    """The run's code, or what stands against it. `at`: when the run begins, if it does so now.

    `messages` are those that it has not taken; the answers of open calls may be among them.
    """
    try:
        history = [decode_segment(segment.events) for segment in segments]
    except ValueError as error:
        return Stall("history-corrupt", f"history of {head.id!r} cannot be read: {error}")
    started = history[0][0].at if history else at
    identity = Identity(
        head.app,
        head.id,
        head.execution,
        head.generation,
        head.name,
        started,
        head.parent,
        head.tags,
        head.version,
        head.more.get(TRACE),
    )
    live = executor.open(identity, is_new=not history)
    if isinstance(live, Stall):
        return live
    if not (history or waits):
        return Opened(live, None, 0)
    gate = executor.gate()
    stall = live.replay(history, gate)
    if stall is None:
        # because a call without its row is never answered
        has_mail = any(message.stored for message in messages)
        found = discrepancy((event for events in history for event in events), waits, has_mail)
        stall = Stall("wait-corrupt", f"the waits of {head.id!r} are damaged: {found}") if found else None
    if stall is not None:
        live.close()
        return stall
    return Opened(live, gate, sum(len(events) for events in history))


def too_long(id: str, events: int, bound: int) -> Stall | None:
    """A history beyond its bound stands still, before it can no longer be replayed in reasonable time."""
    if events <= bound:
        return None
    return Stall(
        "history-too-long",
        f"the history of {id!r} has {events:,} events and the bound is {bound:,}; let the workflow use "
        "continue_as_new, or raise history_events_max and resume",
    )
