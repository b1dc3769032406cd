"""One engine: owns the shards of one app on one store, or stands by until it may."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from perdure.actors.committer import Committer
from perdure.actors.feed import Feed
from perdure.actors.host import ACTIVATIONS_MAX, Room
from perdure.actors.pulse import Pulse, ThreadPulse
from perdure.clock import Clock, SystemClock
from perdure.engine.attempts import SLOTS, Slots
from perdure.engine.claimer import Claimer
from perdure.engine.consumers import Consumers
from perdure.engine.deliveries import Deliveries
from perdure.engine.instance import Instance
from perdure.engine.lender import Loan
from perdure.engine.operations import Operations
from perdure.engine.ownership import Ownership, Refusal
from perdure.engine.peers import Peers
from perdure.engine.ports import Borrower, Executor, Tracing
from perdure.engine.retention import Keeper
from perdure.engine.settings import DRAIN_SECONDS, HISTORY_EVENTS_MAX, KEEP_ALL, QUARANTINE_DEATHS, Retention
from perdure.engine.shard import Shard
from perdure.engine.vitals import Vitals, waiting
from perdure.engine.workflow_slots import WorkflowSlots
from perdure.errors import InvalidArgument, StoreOwned, StoreRolledBack
from perdure.history.audit_log import Principal
from perdure.history.lending import takes_told
from perdure.history.nodes import About, group_told, told
from perdure.scheduler.pace import PACE, Pace
from perdure.stores.contract import EngineStore, Lease, Member, Movable, Outcome, Report, shard_number
from perdure.stores.rules import reserved_for
from perdure.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from perdure.engine.herald import Herald, Receiver


class Engine:
    """Runs the workflows of `app`. `open` returns when work in flight is taken up, or at once as a standby.

    `execute` False never owns: commands go through the store. `commands_only`, for a node without the app's code, owns
    what is free when it opens and takes only turns that commands ask for and that need no code (see `Shard`).
    `neighbours` are the engines of other apps in this process, on the same store. `doors` are the addresses at which it
    is reached. `pulse` beats where leases run out. `metrics` False counts nothing. Management actions are entered in
    the audit log as those of `principal`, if there is one. `tracing` hears of runs that begin and end.
    `borrower` does work that other nodes lend, where leases run out; `on_peers` hears when these tell of other
    workers.
    With `announces` what happens to instances is written for the lifecycle feed, and told to the `receiver`, if there
    is one.
    """

    def __init__(
        self,
        app: str,
        store: EngineStore,
        executor: Executor,
        *,
        clock: Clock | None = None,
        standby: bool = True,
        execute: bool = True,
        commands_only: bool = False,
        owner: str | None = None,
        slots: int = SLOTS,
        slots_by_name: Mapping[str, int] = MappingProxyType({}),
        workflow_slots: int | None = None,
        workflow_slots_by_name: Mapping[str, int] = MappingProxyType({}),
        activations_max: int = ACTIVATIONS_MAX,
        history_events_max: int = HISTORY_EVENTS_MAX,
        quarantine_deaths: int | None = QUARANTINE_DEATHS,
        quarantines_workers: bool = False,
        pace: Pace = PACE,
        drain_seconds: float = DRAIN_SECONDS,
        neighbours: Mapping[str, Engine] = MappingProxyType({}),
        doors: Callable[[], Sequence[str]] = tuple,
        pulse: Pulse | None = None,
        retention: Retention = KEEP_ALL,
        metrics: bool = True,
        principal: Principal | None = None,
        tracing: Tracing | None = None,
        announces: bool = False,
        receiver: Receiver | None = None,
        borrower: Borrower | None = None,
        on_peers: Callable[[], None] = lambda: None,
    ) -> None:
        self.app = app
        self.store = store
        self.clock = clock or SystemClock()
        self.owner = owner or _name(self.clock, is_shared=store.lease_seconds is not None)
        self.shard_ids: list[int] = []
        self._executor = executor
        self._standby = standby
        self._execute = execute
        self._commands_only = commands_only
        self.metrics = Metrics() if metrics else None
        self.tracing = tracing
        self._slots = Slots(slots, slots_by_name)
        self._workflow_slots = WorkflowSlots(workflow_slots, workflow_slots_by_name)
        self._room = Room(activations_max)
        self._history_events_max = history_events_max
        self._quarantine_deaths = quarantine_deaths
        self._drain_seconds = drain_seconds
        self._neighbours = neighbours
        self._doors = doors
        self._started = self.clock.now()
        self._committer = Committer(store, self.clock, self.metrics)
        self._feed = Feed(store, self.clock, pace)
        self._poll_seconds = pace.mail_seconds
        self._claimer: Claimer | None = None
        self._courier: Claimer | None = None
        self._borrower = borrower
        self._borrowing: Claimer | None = None
        self._on_peers = on_peers
        self.peers = Peers(self, self._peers_changed)
        counts_deaths = quarantine_deaths is not None and not commands_only
        self._ownership = Ownership(self, pulse or ThreadPulse(), pace.standby_seconds, counts_deaths=counts_deaths)
        self.owned = self._ownership.owned
        self._slots.may_begin = lambda: self._ownership.is_certain
        self.announces = announces or receiver is not None
        self.operations = Operations(self, principal)
        self._herald = _herald(self, receiver) if self.announces else None
        self._keeper = Keeper(self, retention)
        self.consumers = Consumers(quarantines_workers=quarantines_workers)
        self.consumers.changed = self._subscribed

    async def open(self) -> None:
        """Raises StoreOwned if another process owns the store and standing by is not wanted."""
        try:
            await self.store.open()
            await self._check_kept()
            self.shard_ids = await self.store.shards(self.app)
            await self._check_feed()
            self.operations.start_polling()
            if self._execute:
                await self._take_up()
        except Exception:
            await self._end(0.0)  # because shards that were taken up before run already, and some of it has ended
            raise
        except BaseException:
            await self._let_go(self._ownership.clear())
            raise

    async def _check_kept(self) -> None:
        """Raises AppReserved if the app is being moved to another store, or was: clients are refused as nodes are."""
        kept = await self.store.reserved(self.app) if isinstance(self.store, Movable) else None
        if kept is not None:
            raise reserved_for(self.app, kept)

    async def _check_feed(self) -> None:
        """Who comes to an app for commands alone writes notices if its nodes do. Raises InvalidArgument."""
        if self._herald is not None and not hasattr(self.store, "purge_told"):
            raise InvalidArgument(
                f"{self.store!r} keeps no notices; leave webhook and lifecycle of app {self.app!r} out"
            )
        if self._herald is None and self._commands_only:
            self.announces = await self.operations.gazette.is_used()

    async def _take_up(self) -> None:
        if self._commands_only:
            await self._ownership.visit()
            return
        await self._ownership.open(len(self.shard_ids))
        if not self.owned and not self._standby and self.store.lease_seconds is None:
            holder = await self.store.holder(self.app)
            raise StoreOwned(
                f"another process owns the store ({holder}); stop it, or allow standing by with standby=True"
            )
        self._ownership.keep()
        self._keeper.start()
        if self._herald is not None:
            self._herald.start()
        if self.store.lease_seconds is not None:
            self._claimer = Claimer(
                self,
                self._executor,
                self._slots,
                self.store.lease_seconds,
                self._poll_seconds,
                self.metrics,
                self._quarantine_deaths,
            )
            self._claimer.start()
            self._feed.listen(self._claimer.hint)
            deliveries = Deliveries(self.consumers, self._quarantine_deaths)
            courier = self._courier = Claimer(self, deliveries, Slots(), self.store.lease_seconds, self._poll_seconds)
            courier.start()
            self._feed.listen(courier.hint)
            self._borrow(self.store.lease_seconds)

    def _borrow(self, lease_seconds: float) -> None:
        """From now on, do what other nodes lend, and know what can be lent to them."""
        if self._borrower is None:
            return
        # once, because what comes back is lent anew under another token, and answers under the old one are refused
        self._borrowing = Claimer(
            self, self._borrower, Slots(), lease_seconds, self._poll_seconds, lapses_max=1, once=True
        )
        self._borrowing.start()
        self._feed.listen(self._borrowing.hint)
        self.peers.start()

    async def close(self) -> None:
        """Drain what runs, commit what is decided, give the shards back. Cancelled, it does without the rest."""
        await self._end(self._drain_seconds)

    async def _end(self, drain_seconds: float) -> None:
        await self._keeper.stop()
        await self._ownership.rest()
        shards = self._ownership.clear()
        try:
            closing = [shard.close(drain_seconds) for shard in shards]
            await asyncio.gather(self._stop_claiming(drain_seconds), *closing)
        finally:
            await self._let_go(shards)

    async def _let_go(self, shards: list[Shard]) -> None:
        """Leave nothing running and nothing held, because a lock that stays would make the next engine stand by."""
        await self._keeper.stop()
        if self._herald is not None:
            await self._herald.stop()
        await self._ownership.stop()
        await self._stop_claiming(0)
        for shard in shards:
            await shard.abandon()
        await self._feed.stop()
        await self._committer.stop()
        await self.operations.stop()
        try:
            await self._ownership.leave(shards)
        finally:
            await self.store.close()

    async def _stop_claiming(self, drain_seconds: float) -> None:
        await self.peers.stop()
        claimers = self._claimer, self._courier, self._borrowing
        self._claimer = self._courier = self._borrowing = None
        await asyncio.gather(*(each.close(drain_seconds) for each in claimers if each is not None))

    def shard_of(self, id: str) -> int:
        """The shard that an instance belongs to."""
        shards = self.shard_ids
        return shards[0] if len(shards) == 1 else shards[shard_number(id, len(shards))]

    def owner_of(self, id: str) -> Shard | None:
        """The shard of an instance if this node owns it."""
        return self.owned.get(self.shard_of(id))

    def runs(self, id: str, execution: str | None) -> bool:
        """Whether an unfinished activation of the instance (and of that execution) is in this node's memory."""
        shard = self.owner_of(id)
        actor = shard.host.get(id) if shard is not None else None
        return isinstance(actor, Instance) and not actor.is_finished and execution in (None, actor.head.execution)

    @property
    def is_remote(self) -> bool:
        """Whether the app's code runs in other processes."""
        return self._executor.is_remote

    @property
    def refusal(self) -> Refusal | None:
        """Why the store gives this node nothing at present."""
        return self._ownership.refusal

    @property
    def leads(self) -> bool:
        return bool(self.shard_ids) and self.shard_ids[0] in self.owned

    @property
    def is_owner(self) -> bool:
        return bool(self.owned)

    # -- asked by its ownership -----------------------------------------------------------------------------------

    def make_shard(self, lease: Lease) -> Shard:
        return Shard(
            self.store,
            lease,
            self._executor,
            self.clock,
            self._committer,
            self._feed,
            on_finished=self.operations.on_finished,
            on_answered=self.operations.answers.tell,
            on_appended=self.operations.readers.appended,
            on_lost=self._ownership.lost,
            on_announced=self._announced if self.announces else None,
            owner_of=self._owner_of,
            shard_of=self.shard_of if len(self.shard_ids) > 1 else None,
            slots=self._slots,
            room=self._room,
            workflow_slots=self._workflow_slots,
            commands_only=self._commands_only,
            history_events_max=self._history_events_max,
            quarantine_deaths=self._quarantine_deaths,
            metrics=self.metrics,
            tracing=self.tracing,
            consumers=self.consumers,
        )

    def _subscribed(self, topic: str) -> None:
        self._ownership.introduce()
        if self._courier is not None:
            self._courier.workers_changed()
        for shard in self.owned.values():
            shard.subscribed(topic)

    def _announced(self) -> None:
        if self._herald is not None:
            self._herald.wake()

    def member(self) -> Member:
        return Member(self.owner, self._executor.is_ready, self._slots.count, self._slots.busy)

    def about(self) -> bytes:
        """What this node tells of itself, beside its beats."""
        return told(
            About(
                version=_version(),
                pid=os.getpid(),
                host=socket.gethostname(),
                started=self._started,
                slots=self._slots.count,
                workflow_slots=self._workflow_slots.count,
                workflow_slots_by_name=dict(self._workflow_slots.limits),
                workflows=list(self._executor.workflows()),
                activities=list(self._executor.activities()),
                doors=list(self._doors()),
                groups=[group_told(topic, group) for topic, group in self.consumers.groups()],
                takes=takes_told(self._borrower.takes()) if self._borrower is not None else [],
            )
        )

    def vitals(self) -> Vitals:
        """What this node can say of itself now."""
        shards = list(self.owned.values())
        return Vitals(
            shards=len(shards),
            slots=self._slots.count,
            busy=self._slots.busy,
            in_line=self._slots.waiting,
            activations=self._room.taken,
            activations_max=self._room.total,
            evictions=sum(shard.host.evictions for shard in shards),
            members=len(self._ownership.members),
            waiting=waiting(actor for shard in shards for actor in shard.host.actors()),
        )

    async def report(self, report: Report) -> Outcome:
        return await self.operations.post.report(report)

    def taken_over(self) -> None:
        self.operations.taken_over()

    def certain_again(self) -> None:
        self._slots.go_on()

    def rolled_back(self, error: StoreRolledBack) -> None:
        self.operations.give_up(error)

    def _owner_of(self, app: str, id: str) -> Shard | None:
        """The shard of any app's instance, if this process owns it."""
        if app == self.app:
            return self.owner_of(id)
        neighbour = self._neighbours.get(app)
        return neighbour.owner_of(id) if neighbour is not None else None

    def readiness_changed(self) -> None:
        """Workers have come, or the last one has gone: nodes that have some are preferred."""
        self._ownership.changed()
        self.workers_changed()

    def workers_changed(self) -> None:
        """Another worker is there, or gone: the node has room for other calls of other nodes, and other code."""
        self._ownership.introduce()
        for claimer in (self._claimer, self._borrowing):
            if claimer is not None:
                claimer.workers_changed()

    def _peers_changed(self) -> None:
        if self._borrowing is not None:
            self._borrowing.workers_changed()
        self._on_peers()

    def taking(self, ways: Sequence[str]) -> str | None:
        """In which of these ways another node tells that its workers take a kind of work. None: none does, or this one
        owns nothing from where it could lend."""
        return self.peers.taking(ways) if self.owned else None

    def lend(self, instance: str, loan: Loan) -> None:
        """Offer work of an instance, of this app or another, to the other nodes."""
        shard = self.owner_of(instance) or next(iter(self.owned.values()))
        shard.lend(loan)

    @property
    def has_peers(self) -> bool:
        return len(self._ownership.members) > 1

    def __repr__(self) -> str:
        role = "owner" if self.owned else "standby"
        return f"<Engine {self.app} ({role} {self.owner}) on {self.store!r}>"


def _name(clock: Clock, *, is_shared: bool) -> str:
    """A name that no other node has: containers may share the name of their host and the ids of their processes."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    return f"{name}:{clock.token()[:8]}" if is_shared else name


@cache
def _version() -> str:
    """Of this package. Read once, because a node tells it again and again, and each reading parses a mail."""
    from importlib.metadata import version  # here, because it loads half of the library of e-mail

    return version("perdure")


def _herald(node: Engine, receiver: Receiver | None) -> Herald:
    """Loaded by those who announce."""
    from perdure.engine.herald import Herald

    return Herald(node, receiver)
