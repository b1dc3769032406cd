"""The history that a call hands on to what it calls: that of the caller's run and, if it asks for more, of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perdure.history.delivery import turns
from perdure.history.events import ActivityScheduled, ChildCreated, Parent, RunStarted
from perdure.remote.requests import Heritage

OWN, LINEAGE = 1, 2
"""Scopes of a call: the caller's own history, or that and all that the caller was handed itself."""
DEPTH_MAX = 20
"""Runs whose history one call hands on; what lies further back is left out."""

Read = Callable[[str, str], Awaitable[tuple[str, Sequence[Any]]]]
"""The execution of an instance of an app, as the wire knows it, and its history; ("", []) if it is gone."""


async def heritage(read: Read, app: str, instance: str, number: int, scope: int) -> list[Heritage]:
    """What call `number` of a run hands on, the oldest run first; nothing of a run that is gone, or has begun anew."""
    found: list[Heritage] = []
    caller: tuple[str, str, int] | None = (app, instance, number)
    while caller is not None and len(found) < DEPTH_MAX:
        app, instance, number = caller
        execution, events = await read(app, instance)
        kept = until_call(events, number)
        started = next((event for event in kept if isinstance(event, RunStarted)), None)
        if started is None:
            break
        found.append(Heritage(app=app, instance=instance, execution=execution, name=started.name, events=kept))
        caller = _caller_of(started, app) if scope == LINEAGE else None
        scope = started.propagation or 0
    return found[::-1]


def until_call(events: Sequence[Any], number: int) -> list[Any]:
    """The history up to and with the turn that made the call, nothing if none did. Pure."""
    found, so_far = [], []
    for turn in turns(events):
        so_far += turn
        if any(isinstance(event, (ActivityScheduled, ChildCreated)) and event.number == number for event in turn):
            found = list(so_far)  # because a number may be used again, and the last call is the one that is answered
    return found


def _caller_of(started: RunStarted, app: str) -> tuple[str, str, int] | None:
    parent: Parent | None = started.parent
    if parent is None or not started.propagation:
        return None
    return parent.app or app, parent.instance, parent.number
