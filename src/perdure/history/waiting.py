"""What a run waits for, as people see it: its open calls, timers and events, without their values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from perdure.clock import LATEST, to_datetime
from perdure.history.events import Failure
from perdure.stores.contract import Wait, WaitKind

_INNER = (WaitKind.START, WaitKind.QUEUE)
WAITS_MAX = 1_000
"""Waits of one instance that are told, the oldest first."""


class WaitState(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an instance waits for.

    `kind` is activity, child, timer, event, entity or timeout; `number` that of the call. `due` is when it is tried
    or looked at next; `on` says on whom it waits; `failure` is the last attempt's error; `node` runs it until `until`.
    """

    kind: str
    name: str
    number: int
    since: datetime
    state: str
    due: datetime | None = None
    on: str | None = None
    line: str | None = None
    attempt: int = 0
    failure: Failure | None = None
    node: str | None = None
    until: datetime | None = None


def wait_states(waits: Iterable[Wait]) -> list[WaitState]:
    """The waits that say something to people, by when they began."""
    shown = sorted((wait for wait in waits if wait.kind not in _INNER), key=lambda wait: (wait.since, wait.number))
    return [_state(wait) for wait in shown[:WAITS_MAX]]


def _state(wait: Wait) -> WaitState:
    return WaitState(
        kind=str(wait.kind),
        name=wait.name,
        number=wait.number,
        since=to_datetime(wait.since),
        state=wait.state,
        due=_moment(wait.due),
        on=wait.on,
        line=wait.line,
        attempt=wait.attempt,
        failure=_failure(wait.failure),
        node=wait.claimed_by,
        until=_moment(wait.claimed_until),
    )


def _failure(data: bytes | None) -> Failure | None:
    try:
        return None if data is None else msgspec.json.decode(data, type=Failure)
    except msgspec.MsgspecError:
        return None  # because what cannot be read must not hide that it waits


def _moment(at: int | None) -> datetime | None:
    return None if at is None else to_datetime(min(at, LATEST))
