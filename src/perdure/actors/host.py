"""The actors of one shard: which are in memory, who is loaded for a message, what is due, what mail lies there."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from perdure.actors.committer import Committer
from perdure.actors.message import Message, from_mail
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.errors import StoreUnavailable
from perdure.scheduler.pace import PACE, Pace
from perdure.scheduler.window import Window
from perdure.stores.contract import EngineStore, Lease, Loaded, Mail

log = logging.getLogger("perdure")
ACTIVATIONS_MAX = 2_000
"""Actors kept in memory; the one idle for longest leaves first. Busy ones may exceed it."""
LOADS_PER_ROUND = 256
"""Actors that one read of the store brings in."""
DUE_PAGE = 5_000
FIRES_PER_ROUND = 1_000
"""Due waits that fire before the event loop gets its turn."""
MAIL_PAGE = 1_000
RESTING_MAX = 100_000
"""Actors that have left memory and whose mail has to wait, as far as they are remembered; beyond it the oldest are
loaded again to be asked."""
SETTLE_LOOK_SECONDS = 0.005


class Actor(Protocol):
    """An activation: one actor in memory."""

    @property
    def id(self) -> str: ...
    @property
    def is_idle(self) -> bool:
        """No turn in flight and no message to work on."""

    @property
    def rests(self) -> bool:
        """All of its messages lie in the store and have to wait there, until another one comes or a time is due."""

    def tell(self, message: Message) -> None:
        """Put a message into the mailbox; the actor takes a turn when it can."""

    def due(self, number: int) -> None:
        """A due time of the wait `number` may have come; the actor knows better."""

    def untaken(self) -> list[str]:
        """Keys of stored mail in the mailbox."""

    def close(self) -> None:
        """Leave memory. Nothing is written."""


class Host:
    """Owner of one leased shard."""

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        clock: Clock,
        committer: Committer,
        restore: Callable[[Loaded], Actor],
        activations_max: int = ACTIVATIONS_MAX,
        pace: Pace = PACE,
    ) -> None:
        self.lease = lease
        self.committer = committer
        self.loads = 0
        self.evictions = 0
        self._store = store
        self._clock = clock
        self._restore = restore
        self._activations_max = activations_max
        self._actors: OrderedDict[str, Actor] = OrderedDict()
        self._absent: OrderedDict[str, list[Callable[[Actor | None], None]]] = OrderedDict()
        self._detained: dict[str, list[Callable[[Actor | None], None]]] = {}
        self._known_mail: set[tuple[str, str]] = set()
        self._resting: dict[str, frozenset[str]] = {}
        self._taken: set[tuple[str, str]] | None = None
        self._window = Window(pace.window_seconds)
        self._mail_seconds = pace.mail_seconds
        self._loader = Rounds("loader", self._load_round)
        self._timers = Rounds("timers", self._timer_round)
        self._poller = Rounds("mail", self._mail_round)
        self._watch: asyncio.Task[None] | None = None

    def start(self, *, listen: bool = True) -> None:
        """Load actors as they are told something; if `listen`, also follow due times and mail in the store."""
        self._loader.start()
        if not listen:
            return
        self._timers.start()
        self._poller.start()
        self._watch = asyncio.get_running_loop().create_task(self._follow_hints(), name="perdure-hints")

    async def settle(self, seconds: float) -> None:
        """Wait until nobody is to be loaded and every actor is idle, `seconds` at most."""
        ends = asyncio.get_running_loop().time() + seconds
        while self._absent or not all(actor.is_idle for actor in self._actors.values()):
            if asyncio.get_running_loop().time() > ends:
                return
            await asyncio.sleep(SETTLE_LOOK_SECONDS)

    async def stop(self) -> None:
        """Stop the background work and put every actor away. Nothing is written."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        for rounds in (self._poller, self._timers, self._loader):
            await rounds.stop()
        for actor in list(self._actors.values()):
            actor.close()
        self._actors.clear()

    # -- activations ----------------------------------------------------------------------------------------------

    def get(self, id: str) -> Actor | None:
        """The activation of `id`, if it is in memory."""
        return self._actors.get(id)

    def add(self, actor: Actor) -> None:
        """Take in an activation that was made here (a start)."""
        self._actors[actor.id] = actor
        if len(self._actors) > self._activations_max:
            self._evict(actor)

    def drop(self, actor: Actor) -> None:
        """Put an activation away, if it is still this one."""
        if self._actors.get(actor.id) is actor:
            del self._actors[actor.id]
        self._put_away(actor)

    def _put_away(self, actor: Actor) -> None:
        """Mail that it did not take is handed over again after the next load."""
        for key in actor.untaken():
            self._known_mail.discard((actor.id, key))
        actor.close()

    def tell(self, id: str, message: Message) -> None:
        """Hand a message to the activation of `id`, which is loaded if it must be."""
        actor = self._actors.get(id)
        if actor is not None:
            self._actors.move_to_end(id)
            actor.tell(message)
        else:
            self.visit(id, lambda loaded: _tell(loaded, id, message))

    def visit(self, id: str, call: Callable[[Actor | None], None]) -> None:
        """Call with the activation of `id`, loaded if it must be; with None if there is no such instance."""
        actor = self._actors.get(id)
        if actor is not None:
            self._actors.move_to_end(id)
            call(actor)
            return
        detained = self._detained.get(id)
        if detained is not None:
            detained.append(call)
            return
        self._absent.setdefault(id, []).append(call)
        self._loader.wake()

    def detain(self, ids: Iterable[str]) -> None:
        """Load none of these until they are admitted; who visits them waits. Call it before `start`."""
        for id in ids:
            self._detained[id] = self._absent.pop(id, [])

    def admit(self, id: str) -> None:
        """Let a detained actor be loaded, and visited by those who waited."""
        for call in self._detained.pop(id, ()):
            self.visit(id, call)

    def detains(self, id: str) -> bool:
        return id in self._detained

    def is_at_rest(self, id: str) -> bool:
        """Nobody is about to load it, and it has no turn in flight nor a message to work on."""
        actor = self._actors.get(id)
        return id not in self._absent and (actor is None or actor.is_idle)

    def _evict(self, newest: Actor) -> None:
        """Put away the idle activations not used for longest, down to the bound; the newest is about to be told."""
        surplus = len(self._actors) - self._activations_max
        for id, actor in list(self._actors.items())[: surplus * 2 + 16]:
            if surplus <= 0:
                return
            if actor.is_idle and actor is not newest:
                del self._actors[id]
                self._let_rest(actor)
                self._put_away(actor)
                self.evictions += 1
                surplus -= 1

    def _let_rest(self, actor: Actor) -> None:
        """Remember the mail that it leaves, because looking for mail would else load it each time for nothing."""
        keys = actor.untaken()
        if keys and actor.rests:
            self._resting[actor.id] = frozenset(keys)
            if len(self._resting) > RESTING_MAX:
                del self._resting[next(iter(self._resting))]

    async def _load_round(self) -> float | None:
        if not self._absent:
            return None
        ids = list(self._absent)[:LOADS_PER_ROUND]
        loaded = {found.head.id: found for found in await self._store.load(self.lease.shard, ids)}
        self.loads += len(loaded)
        for id in ids:
            calls = self._absent.pop(id, [])
            actor = self._actors.get(id)  # because a start may have made it while the store was read
            if actor is None and id in loaded:
                actor = self._activate(loaded[id])
            for call in calls:
                if actor is not None and self._actors.get(id) is not actor:
                    self.visit(id, call)  # because an earlier message has made it leave
                else:
                    call(actor)
        return 0 if self._absent else None

    def _activate(self, loaded: Loaded) -> Actor:
        self._resting.pop(loaded.head.id, None)
        actor = self._restore(loaded)
        self.add(actor)
        for mail in loaded.mail:
            if self._actors.get(actor.id) is actor:  # because the mail before may have made it leave
                self.receive(mail, actor)
        return actor

    # -- mail -----------------------------------------------------------------------------------------------------

    def receive(self, mail: Mail, actor: Actor | None = None) -> None:
        """Hand over mail that lies in the store, once."""
        key = (mail.instance, mail.key)
        if key in self._known_mail:
            return
        if actor is None:
            actor = self._actors.get(mail.instance)
        if actor is None and mail.key in self._resting.get(mail.instance, ()):
            return
        if actor is None:
            if mail.instance not in self._detained:  # because the mail is looked for again and again
                self.visit(mail.instance, lambda loaded: None)  # because loading hands over all of its mail
            return
        self._known_mail.add(key)
        actor.tell(from_mail(mail))

    def consumed(self, id: str, keys: Iterable[str]) -> None:
        """Mail that a committed turn took out of the store."""
        taken = [(id, key) for key in keys]
        self._known_mail.difference_update(taken)
        if self._taken is not None:
            self._taken.update(taken)

    async def _mail_round(self) -> float | None:
        after = ""
        while True:
            self._taken = set()
            page = await self._store.mail(self.lease, MAIL_PAGE, after)
            taken, self._taken = self._taken, None
            for mail in page:
                if (mail.instance, mail.key) not in taken:  # because the page may be older than the commit that took it
                    self.receive(mail)
            if not page:  # because a short page may be one of whose rows some cannot be read
                return self._mail_seconds
            after = page[-1].instance

    async def _follow_hints(self) -> None:
        async for _ in self._store.watch():
            self._poller.wake()

    def poll_now(self) -> None:
        """Look for mail at once."""
        self._poller.wake()

    # -- due times ------------------------------------------------------------------------------------------------

    def schedule(self, due: int, id: str, number: int) -> None:
        """Remember a due time that a committed turn has written."""
        if self._window.add(due, id, number):
            self._timers.wake()

    async def _timer_round(self) -> float | None:
        if self._window.wants_reading(self._clock.now()):
            await self._read_window()
        due = self._window.pop_due(self._clock.now(), FIRES_PER_ROUND)
        for _, id, number in due:
            self.visit(id, partial(_fire, number))
        return 0 if len(due) == FIRES_PER_ROUND else self._window.pause(self._clock.now())

    async def _read_window(self) -> None:
        """Raises StoreUnavailable, with the window as it was: what it did not read must be read later."""
        before = self._window.end
        until, after = self._window.extend(self._clock.now())
        try:
            await self._read_due(until, after)
        except StoreUnavailable:
            self._window.end = before
            raise

    async def _read_due(self, until: int, after: tuple[int, str, int]) -> None:
        while True:
            page = await self._store.due(self.lease, until, DUE_PAGE, after)
            self._window.take_in(page)
            if not page:
                return
            after = (page[-1].due, page[-1].instance, page[-1].number)

    def __repr__(self) -> str:
        return (
            f"<Host of shard {self.lease.shard}: {len(self._actors)} activations, {len(self._absent)} to load, "
            f"{len(self._window)} due times near>"
        )


def _fire(number: int, actor: Actor | None) -> None:
    if actor is not None:
        actor.due(number)


def _tell(actor: Actor | None, id: str, message: Message) -> None:
    if actor is not None:
        actor.tell(message)
    else:
        message.refuse(id)
