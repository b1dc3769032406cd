"""What the shards of a node must look at, read for all of them at once: mail, due times, hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.errors import StoreUnavailable
from perdure.scheduler.pace import PACE, Pace
from perdure.scheduler.window import Window
from perdure.stores.contract import Lease, Letter, Wake

DUE_PAGE = 5_000
MAIL_PAGE = 1_000
MAIL_GAP_SECONDS = 0.005
"""How long at least lies between two looks for mail, so that hints that come one by one make few of them."""
FIRES_PER_ROUND = 1_000
"""Due waits that fire before the event loop gets its turn."""


class Listener(Protocol):
    """Who looks after one shard."""

    lease: Lease

    def begin_page(self) -> None:
        """Mail is being read: note what is taken out of the store meanwhile."""

    def end_page(self, page: list[Letter]) -> None:
        """Take what was read, but for what was taken meanwhile."""

    def fire(self, id: str, number: int) -> None:
        """A due time of the instance's wait has come."""


class Feed:
    """Reads the store for all listeners of a node, so that an idle node asks little, however many shards it has."""

    def __init__(self, store: Wake, clock: Clock, pace: Pace = PACE) -> None:
        self._store = store
        self._clock = clock
        self._mail_seconds = pace.mail_seconds
        self._window = Window(pace.window_seconds)
        self._listeners: dict[int, Listener] = {}
        self._unread: set[int] = set()
        self._mail = Rounds("mail", self._mail_round, lambda: MAIL_GAP_SECONDS)
        self._timers = Rounds("timers", self._timer_round)
        self._watch = Rounds("hints", self._watch_round)
        self._is_started = False
        self._hears: list[Callable[[], None]] = []

    def join(self, listener: Listener) -> None:
        """From now on it hears of its shard."""
        shard = listener.lease.shard
        self._listeners[shard] = listener
        self._unread.add(shard)
        self._start()
        self._mail.wake()
        self._timers.wake()

    def leave(self, listener: Listener) -> None:
        """It hears of nothing any more."""
        shard = listener.lease.shard
        if self._listeners.get(shard) is listener:
            del self._listeners[shard]
            self._unread.discard(shard)

    def listen(self, hears: Callable[[], None]) -> None:
        """From now on call it with each hint that another process may have written."""
        self._hears.append(hears)
        self._start()

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            for rounds in (self._watch, self._mail, self._timers):
                rounds.start()

    async def stop(self) -> None:
        self._is_started = False
        for rounds in (self._watch, self._mail, self._timers):
            await rounds.stop()

    def poll_now(self) -> None:
        """Look for mail at once."""
        self._mail.wake()

    def schedule(self, due: int, shard: int, id: str, number: int) -> None:
        """Remember a due time that is written."""
        if self._window.add(due, shard, id, number):
            self._timers.wake()

    async def _watch_round(self) -> None:
        """Follow the hints of the store for as long as it has some; `Rounds` comes back when it fails."""
        async for _ in self._store.watch():
            self._mail.wake()
            for hears in self._hears:
                hears()

    # -- mail -----------------------------------------------------------------------------------------------------

    async def _mail_round(self) -> float | None:
        after = (0, "")
        while self._listeners:
            listeners = list(self._listeners.values())
            for listener in listeners:
                listener.begin_page()
            page = await self._store.mail([listener.lease for listener in listeners], MAIL_PAGE, after)
            found: dict[int, list[Letter]] = {}
            for letter in page:
                found.setdefault(letter.shard, []).append(letter)
            for listener in listeners:
                if self._listeners.get(listener.lease.shard) is listener:  # because it may have left meanwhile
                    listener.end_page(found.get(listener.lease.shard, []))
            if not page:  # because a short page may be one of whose rows some cannot be read
                return self._mail_seconds
            after = (page[-1].shard, page[-1].mail.instance)
        return None

    # -- due times ------------------------------------------------------------------------------------------------

    async def _timer_round(self) -> float | None:
        if not self._listeners:
            return None
        if self._unread:
            await self._read_late_comers(set(self._unread))
        if self._window.wants_reading(self._clock.now()):
            await self._read_window()
        due = self._window.pop_due(self._clock.now(), FIRES_PER_ROUND)
        for _, shard, id, number in due:
            listener = self._listeners.get(shard)
            if listener is not None:
                listener.fire(id, number)
        return 0 if len(due) == FIRES_PER_ROUND else self._window.pause(self._clock.now())

    async def _read_late_comers(self, shards: set[int]) -> None:
        """What those that came after the window was read have in it."""
        if self._window.end:
            await self._read_due(shards, self._window.end, (-1, 0, "", 0))
        self._unread -= shards

    async def _read_window(self) -> None:
        """Raises StoreUnavailable, with the window as it was: what it did not read must be read later."""
        before = self._window.end
        until, after = self._window.extend(self._clock.now())
        try:
            await self._read_due(self._listeners, until, after)
        except StoreUnavailable:
            self._window.end = before
            raise

    async def _read_due(self, shards: Iterable[int], until: int, after: tuple[int, int, str, int]) -> None:
        leases = [self._listeners[shard].lease for shard in shards if shard in self._listeners]
        while leases:
            page = await self._store.due(leases, until, DUE_PAGE, after)
            self._window.take_in(page)
            if not page:
                return
            last = page[-1]
            after = (last.due, last.shard, last.instance, last.number)

    def __repr__(self) -> str:
        return f"<Feed of {len(self._listeners)} shards: {len(self._window)} due times near>"
