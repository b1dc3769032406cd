"""Enters management actions into the audit log: durably before they are carried out, and later what became of them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.codec import Payload, is_packed, readable
from perdure.errors import PerdureError, StoreUnavailable
from perdure.gathering import Gathering
from perdure.history.audit_log import TEXT_CHARACTERS_MAX, Anchor, Entry, LogPage, Principal, Standing, chained
from perdure.history.events import (
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
)
from perdure.stores.contract import EngineStore, Head, Ledger

log = logging.getLogger("perdure")
TRIES_MAX = 50
"""How often entries are written that another process's came before."""
OUTCOMES_MAX = 10_000
"""Outcomes that wait to be entered; beyond it the oldest are dropped, and their actions show none."""
OUTCOME_SECONDS = 1.0
"""How long outcomes wait for others, so that an action costs one commit and not two."""
PAGE_MAX = 1_000
"""Entries of one page."""
SCHEDULE = "schedule"
"""The kind of the instances that are schedules."""
DASHBOARD = "dashboard"
"""The kind of principals who act in a browser."""
MCP = "mcp"
"""The kind of principals that are models, or whoever drives them, with the tools of `perdure mcp`."""
BY_HAND = frozenset(("cli", DASHBOARD, MCP))
"""The kinds of principals whose events are entered too, because for a program they are its daily traffic."""

acting: ContextVar[Principal | Callable[[], Principal] | None] = ContextVar("perdure_acting", default=None)
"""Who acts in this task, where it is not the program itself; or what tells it, because most calls are no actions."""
Where = Callable[[str], int]
"""Which shard holds an instance."""


class Audit:
    """The audit log of one app, as one engine writes it. Without a `principal` nothing is entered."""

    def __init__(
        self, app: str, store: EngineStore, clock: Clock, shard_of: Where, principal: Principal | None
    ) -> None:
        self._app = app
        self._store = store
        self._ledger: Ledger | None = store if isinstance(store, Ledger) else None  # None: it keeps no log
        self._clock = clock
        self._shard_of = shard_of
        self._principal = principal
        self._anchor: Anchor | None = None
        self._outcomes: deque[Entry] = deque(maxlen=OUTCOMES_MAX)
        self._actions: Gathering[Entry, int] = Gathering(self._enter)
        self._rounds = Rounds("audit", self._round)
        self._runs = False

    @property
    def is_on(self) -> bool:
        return self._principal is not None and self._ledger is not None

    @asynccontextmanager
    async def action(self, name: str | None, id: str, **details: Any) -> AsyncIterator[None]:
        """Around an action, which is durably entered before it begins. A `name` of None is none to enter."""
        if name is None or not self.is_on:
            yield
            return
        principal = who() or self._principal
        assert principal is not None
        before = await self._store.head(self._shard_of(id), id)
        entry = Entry(
            number=0,
            previous="",
            at=self._clock.now(),
            app=self._app,
            action=_of_kind(name, before, details),
            instance=id[:TEXT_CHARACTERS_MAX],
            actor=principal,
            details={key: _kept(value) for key, value in details.items() if value is not None},
            before=_standing(before),
        )
        number = await self._actions.add(entry)
        outcome = "unknown"
        try:
            yield
            outcome = "done"
        except PerdureError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self._conclude(entry, number, outcome)

    async def page(self, after: int, limit: int) -> LogPage:
        """Entries that follow the number `after`, also where nothing is entered any more."""
        ledger = self._ledger
        if ledger is None:
            return LogPage([], Anchor())
        # first, because entries may be added between; then what lies past it is for the next page
        anchor = Anchor(*await ledger.audit_head(self._app))
        entries = await ledger.audited(self._app, after, min(limit, PAGE_MAX))
        return LogPage([(number, stored.decode()) for number, stored in entries], anchor)

    async def stop(self) -> None:
        """Enter what is still to be entered."""
        await self._rounds.stop()
        try:
            await self._enter_outcomes()
        except PerdureError as error:
            log.warning("%d outcomes of actions are not entered in the audit log: %s", len(self._outcomes), error)

    # -- outcomes -------------------------------------------------------------------------------------------------

    def _conclude(self, entry: Entry, number: int, outcome: str) -> None:
        self._outcomes.append(
            Entry(
                number=0,
                previous="",
                at=self._clock.now(),
                app=entry.app,
                action=entry.action,
                instance=entry.instance,
                actor=entry.actor,
                of=number,
                outcome=outcome,
            )
        )
        if not self._runs:
            self._runs = True
            self._rounds.start()
        self._rounds.wake()

    async def _round(self) -> float | None:
        if not self._outcomes:
            return None
        await asyncio.sleep(OUTCOME_SECONDS)
        await self._enter_outcomes()
        return None

    async def _enter_outcomes(self) -> None:
        while self._outcomes:
            some = [self._outcomes[place] for place in range(min(len(self._outcomes), PAGE_MAX))]
            heads = await self._store.heads([(self._shard_of(entry.instance), entry.instance) for entry in some])
            standing = {head.id: _standing(head) for head in heads}
            await self._append([msgspec.structs.replace(entry, after=standing.get(entry.instance)) for entry in some])
            for entry in some:
                if self._outcomes and self._outcomes[0] is entry:
                    self._outcomes.popleft()

    # -- writing --------------------------------------------------------------------------------------------------

    async def _enter(self, entries: Sequence[Entry]) -> list[int]:
        """The numbers that the entries got."""
        last = await self._append(entries)
        return list(range(last.number - len(entries) + 1, last.number + 1))

    async def _append(self, entries: Sequence[Entry]) -> Anchor:
        """Behind whatever other processes have written meanwhile. Raises StoreUnavailable."""
        ledger = self._ledger
        assert ledger is not None
        before = Anchor()
        for tried in range(TRIES_MAX):
            before = self._anchor or Anchor(*await ledger.audit_head(self._app))
            self._anchor = None  # until it is known how far the log goes now
            stored, last = chained(entries, before)
            if await ledger.audit(self._app, before.number, stored, last.digest):
                self._anchor = last
                return last
            await asyncio.sleep(0.001 * tried)  # because the others are as busy
        raise StoreUnavailable(
            f"the audit log of app {self._app!r} takes no entry behind its entry {before.number}: see `perdure audit "
            "verify`, or switch it off with audit=False"
        )

    def __repr__(self) -> str:
        return f"<Audit of {self._app}: {'on' if self.is_on else 'off'}, {len(self._outcomes)} outcomes to enter>"


def who() -> Principal | None:
    """Who acts in this task, None for the program itself."""
    found = acting.get()
    return found() if callable(found) else found


def this_program(name: str | None = None) -> Principal:
    """The process itself, by its name."""
    program = name or os.path.basename(sys.argv[0]) or "python"
    return Principal(kind="program", name=program, place=f"{socket.gethostname()}:{os.getpid()}")


def action_of(event: Any) -> tuple[str | None, dict[str, Any]]:
    """What a command is called in the log, None for one that is not entered, and what it says besides."""
    match event:
        case RunCancelRequested():
            return "cancel", {"reason": event.reason}
        case RunSuspended():
            return "suspend", {"reason": event.reason}
        case RunResumed():
            return "resume", {"reason": event.reason, **({"now": True} if event.now else {})}
        case RunTerminated():
            return "terminate", {"recursive": event.recursive}
        case EventRaised():
            return "raise", {"event": event.name, "data": event.data}
        case _:
            return None, {}


def is_entered(action: str | None, id: str) -> bool:
    """Whether the action is one of management here and now: of events those to schedules, and those sent by hand."""
    if action != "raise":
        return action is not None
    principal = who()
    by_hand = principal is not None and (principal.kind in BY_HAND or bool(principal.claims))
    return by_hand or id.startswith(f"{SCHEDULE}:")


def _of_kind(action: str, head: Head | None, details: dict[str, Any]) -> str:
    """Steering a schedule has names of its own. Of an event, its data stay out, because they are the user's."""
    data = details.pop("data", None)
    if head is None or head.kind != SCHEDULE:
        return action
    if action == "raise":
        told = readable(data) if isinstance(data, Payload) and not is_packed(data) else None
        details.pop("event", None)
        return f"schedule.{told['type'] if isinstance(told, Mapping) and 'type' in told else 'command'}"
    return "schedule.delete" if action == "terminate" else f"schedule.{action}"


def _standing(head: Head | None) -> Standing | None:
    if head is None:
        return None
    return Standing(head.status, head.execution, head.generation, head.suspended is not None, head.stalled is not None)


def _kept(value: Any) -> Any:
    """What an entry keeps of a value."""
    if isinstance(value, Payload):
        value = None if is_packed(value) else readable(value)
    if isinstance(value, str):
        return value[:TEXT_CHARACTERS_MAX]
    return value if isinstance(value, bool | int | None) else str(value)[:TEXT_CHARACTERS_MAX]
