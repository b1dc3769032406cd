"""The actors of one shard: which are in memory, who is loaded for a message, who has taken which mail."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Protocol

from perdure.actors.feed import Feed
from perdure.actors.message import Message, from_mail
from perdure.actors.rounds import Rounds
from perdure.errors import StoreUnavailable
from perdure.history.accept import begun_first
from perdure.stores.contract import EngineStore, Head, Lease, Letter, Loaded, Mail

log = logging.getLogger("perdure")
ACTIVATIONS_MAX = 2_000
"""Actors kept in memory; the one idle for longest leaves first. Busy ones may exceed it."""
LOADS_PER_ROUND = 256
"""Actors that one read of the store brings in."""
RESTING_MAX = 100_000
"""Actors that have left memory and whose mail has to wait, as far as they are remembered; beyond it the oldest are
loaded again to be asked."""
SETTLE_LOOK_SECONDS = 0.005


class Actor(Protocol):
    """An activation: one actor in memory."""

    @property
    def id(self) -> str: ...
    @property
    def head(self) -> Head:
        """As the store has it."""

    @property
    def is_idle(self) -> bool:
        """No turn in flight and no message to work on."""

    @property
    def rests(self) -> bool:
        """All of its messages lie in the store and have to wait there, until another one comes or a time is due."""

    def tell(self, message: Message) -> None:
        """Put a message into the mailbox; the actor takes a turn when it can."""

    def rouse(self) -> None:
        """Take a turn if the messages need not wait any longer."""

    def unstall(self) -> None:
        """What made it stand still may be gone: try again."""

    def examine(self) -> None:
        """Look whether what the store has of it can go on, because nothing else may ever wake it."""

    def due(self, number: int) -> None:
        """A due time of the wait `number` may have come; the actor knows better."""

    def untaken(self) -> list[str]:
        """Keys of stored mail in the mailbox."""

    def close(self) -> None:
        """Leave memory. Nothing is written."""


class Room:
    """How many actors a node keeps in memory, on all of its shards."""

    __slots__ = ("taken", "total")

    def __init__(self, total: int = ACTIVATIONS_MAX) -> None:
        self.total = total
        self.taken = 0


class Host:
    """Owner of one leased shard."""

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        feed: Feed,
        restore: Callable[[Loaded], Actor],
        room: Room,
    ) -> None:
        self.lease = lease
        self.loads = 0
        self.evictions = 0
        self._store = store
        self._feed = feed
        self._restore = restore
        self._room = room
        self._actors: OrderedDict[str, Actor] = OrderedDict()
        self._absent: OrderedDict[str, list[Callable[[Actor | None], None]]] = OrderedDict()
        self._new: dict[str, Head] = {}
        self._detained: dict[str, list[Callable[[Actor | None], None]]] = {}
        self._known_mail: set[tuple[str, str]] = set()
        self._resting: dict[str, frozenset[str]] = {}
        self._taken: set[tuple[str, str]] | None = None
        self._promises: set[asyncio.Future[None]] = set()
        self._loader = Rounds("loader", self._load_round)

    def start(self, *, listen: bool = True) -> None:
        """Load actors as they are told something; if `listen`, also follow due times and mail in the store."""
        self._loader.start()
        if listen:
            self._feed.join(self)

    async def settle(self, seconds: float) -> None:
        """Wait until nobody is to be loaded and every actor is idle, `seconds` at most."""
        ends = asyncio.get_running_loop().time() + seconds
        while self._absent or not all(actor.is_idle for actor in self._actors.values()):
            if asyncio.get_running_loop().time() > ends:
                return
            await asyncio.sleep(SETTLE_LOOK_SECONDS)

    async def load_waiting(self, seconds: float) -> None:
        """Wait until those are loaded, and have heard their messages, who are to be loaded now; `seconds` at most."""
        ends = asyncio.get_running_loop().time() + seconds
        waiting = set(self._absent)
        while waiting & self._absent.keys() and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(SETTLE_LOOK_SECONDS)

    async def stop(self) -> None:
        """Stop the background work and put every actor away. Nothing is written."""
        self._feed.leave(self)
        await self._loader.stop()
        for actor in list(self._actors.values()):
            actor.close()
        self._room.taken -= len(self._actors)
        self._actors.clear()
        for promise in list(self._promises):
            if not promise.done():
                promise.set_exception(StoreUnavailable("the shard has left this node; send the message again"))

    # -- activations ----------------------------------------------------------------------------------------------

    def get(self, id: str) -> Actor | None:
        """The activation of `id`, if it is in memory."""
        return self._actors.get(id)

    def actors(self) -> list[Actor]:
        """Those in memory."""
        return list(self._actors.values())

    def add(self, actor: Actor) -> None:
        """Take in an activation that was made here (a start)."""
        room = self._room
        room.taken += actor.id not in self._actors
        self._actors[actor.id] = actor
        if room.taken > room.total:
            self._evict(actor)

    def drop(self, actor: Actor) -> None:
        """Put an activation away, if it is still this one."""
        if self._actors.get(actor.id) is actor:
            del self._actors[actor.id]
            self._room.taken -= 1
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

    def visit(self, id: str, call: Callable[[Actor | None], None], new: Head | None = None) -> None:
        """Call with the activation of `id`, loaded if it must be; with None if there is no such instance.

        `new` is all that the store has of it, but for its mail: an instance that was created and no more.
        """
        actor = self._actors.get(id)
        if actor is not None:
            self._actors.move_to_end(id)
            call(actor)
            return
        detained = self._detained.get(id)
        if detained is not None:
            detained.append(call)
            return
        if new is not None and id not in self._absent:
            self._new[id] = new
        self._absent.setdefault(id, []).append(call)
        self._loader.wake()

    def promise(self) -> asyncio.Future[None]:
        """A future for somebody whose message is on its way; it fails with StoreUnavailable if the shard leaves."""
        promise: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._promises.add(promise)
        promise.add_done_callback(self._promises.discard)
        return promise

    def detain(self, ids: Iterable[str]) -> None:
        """Load none of these until they are admitted; who visits them waits. Call it before `start`."""
        for id in ids:
            self._detained[id] = self._absent.pop(id, [])
            self._new.pop(id, None)  # because more may have become of it when it is admitted

    def admit(self, id: str) -> None:
        """Let a detained actor be loaded, and visited by those who waited."""
        for call in self._detained.pop(id, ()):
            self.visit(id, call)

    def detains(self, id: str) -> bool:
        return id in self._detained

    def rouse(self) -> None:
        """What kept mail waiting may be gone: ask every actor, in memory or not."""
        self._resting.clear()
        for actor in list(self._actors.values()):
            actor.rouse()
        self._feed.poll_now()

    def is_at_rest(self, id: str) -> bool:
        """Nobody is about to load it, and it has no turn in flight nor a message to work on."""
        actor = self._actors.get(id)
        return id not in self._absent and (actor is None or actor.is_idle)

    def _evict(self, newest: Actor) -> None:
        """Put away the idle activations not used for longest, down to the bound; the newest is about to be told."""
        surplus = self._room.taken - self._room.total
        for id, actor in list(islice(self._actors.items(), surplus * 2 + 16)):
            if surplus <= 0:
                return
            if actor.is_idle and actor is not newest:
                del self._actors[id]
                self._room.taken -= 1
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
        ids = list(islice(self._absent, LOADS_PER_ROUND))
        for id in ids if self._new else ():
            new = self._new.pop(id, None)
            if new is not None:
                self._take_up(id, Loaded(new, [], [], [], []))
        unread = [id for id in ids if id in self._absent]
        if unread:
            loaded = {found.head.id: found for found in await self._store.load(self.lease.shard, unread)}
            self.loads += len(loaded)
            for id in unread:
                self._take_up(id, loaded.get(id))
        return 0 if self._absent else None

    def _take_up(self, id: str, loaded: Loaded | None) -> None:
        """Activate one that was absent, if it is there, and call who waits for it."""
        calls = self._absent.pop(id, [])
        actor = self._actors.get(id)  # because a start may have made it while the store was read
        if actor is None and loaded is not None:
            actor = self._activate(loaded)
        for call in calls:
            if actor is not None and self._actors.get(id) is not actor:
                self.visit(id, call)  # because an earlier message has made it leave
            else:
                call(actor)

    def _activate(self, loaded: Loaded) -> Actor:
        self._resting.pop(loaded.head.id, None)
        actor = self._restore(loaded)
        self.add(actor)
        # because a generation that has not begun takes its first turn as soon as it hears its start
        for message in begun_first([from_mail(mail) for mail in loaded.mail], loaded.head):
            if self._actors.get(actor.id) is actor:  # because the mail before may have made it leave
                self._hand_over(actor, message)
        return actor

    # -- mail -----------------------------------------------------------------------------------------------------

    def receive(self, mail: Mail, *, new: Head | None = None) -> None:
        """Hand over mail that lies in the store, once; `new` as `visit` knows it."""
        if (mail.instance, mail.key) in self._known_mail:
            return
        actor = self._actors.get(mail.instance)
        if actor is not None:
            self._hand_over(actor, from_mail(mail))
        elif mail.key not in self._resting.get(mail.instance, ()) and mail.instance not in self._detained:
            # not while it is detained, because the mail is looked for again and again
            self.visit(mail.instance, partial(self._receive_late, mail), new)

    def _receive_late(self, mail: Mail, actor: Actor | None) -> None:
        """Hand over mail to one that was loaded for it: it may have come when the store had been read already."""
        if actor is not None:
            self._hand_over(actor, from_mail(mail))

    def _hand_over(self, actor: Actor, message: Message) -> None:
        """Tell the actor of its mail, unless it has heard it."""
        key = (actor.id, str(message.key))
        if key not in self._known_mail:
            self._known_mail.add(key)
            actor.tell(message)

    def consumed(self, id: str, keys: Iterable[str]) -> None:
        """Mail that a committed turn took out of the store."""
        taken = [(id, key) for key in keys]
        self._known_mail.difference_update(taken)
        if self._taken is not None:
            self._taken.update(taken)

    def begin_page(self) -> None:
        self._taken = set()

    def end_page(self, page: list[Letter]) -> None:
        taken, self._taken = self._taken or set(), None
        changed = {id for id, _ in taken}
        for _, mail, new in page:
            # because the page may be older than the commit that took it
            if (mail.instance, mail.key) in taken:
                continue
            if new is not None and new.id not in changed and self._can_take_in(new.id):
                self.add(self._restore(Loaded(new, [], [], [], [])))
            self.receive(mail)

    def _can_take_in(self, id: str) -> bool:
        """Whether an instance of which everything is known may be activated without being read."""
        return not (id in self._actors or id in self._absent or id in self._detained or id in self._resting)

    def poll_now(self) -> None:
        """Look for mail at once."""
        self._feed.poll_now()

    # -- due times ------------------------------------------------------------------------------------------------

    def schedule(self, due: int, id: str, number: int) -> None:
        """Remember a due time that a committed turn has written."""
        self._feed.schedule(due, self.lease.shard, id, number)

    def fire(self, id: str, number: int) -> None:
        self.visit(id, partial(_fire, number))

    def __repr__(self) -> str:
        return f"<Host of shard {self.lease.shard}: {len(self._actors)} activations, {len(self._absent)} to load>"


def _fire(number: int, actor: Actor | None) -> None:
    if actor is not None:
        actor.due(number)


def _tell(actor: Actor | None, id: str, message: Message) -> None:
    if actor is not None:
        actor.tell(message)
    else:
        message.refuse(id)
