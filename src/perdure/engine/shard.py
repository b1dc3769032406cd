"""What belongs to one leased shard while this node owns it, and what its instances may ask of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from perdure.actors.committer import Committer
from perdure.actors.docket import Settled
from perdure.actors.feed import Feed
from perdure.actors.host import Actor, Host, Room
from perdure.actors.message import Message
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.attempts import Address, Attempts, Running, Slots
from perdure.engine.consumers import Consumers
from perdure.engine.door import Door
from perdure.engine.entity import Entity
from perdure.engine.handlers import Handlers
from perdure.engine.instance import Instance
from perdure.engine.lender import Lender, Loan
from perdure.engine.outlet import StreamOutlet
from perdure.engine.petitions import Petitions
from perdure.engine.ports import Executor, Tracing
from perdure.engine.quarantine import Lane
from perdure.engine.queues import Queues
from perdure.engine.reports import report
from perdure.engine.settings import HISTORY_EVENTS_MAX, QUARANTINE_DEATHS
from perdure.engine.standstill import is_quarantined
from perdure.engine.transact import Transacting
from perdure.engine.workflow_slots import WORKFLOW, WorkflowSlots
from perdure.history.events import RunCompleted, UpdateAnswered
from perdure.history.lending import is_lender, lender_head, lender_of
from perdure.history.lifecycle import notices_of
from perdure.history.reports import HeartbeatSeen
from perdure.history.slots import is_door
from perdure.history.spread import Room as AttemptRoom
from perdure.history.topic_log import has_left
from perdure.history.topics import NAME, is_topic, partition_ids
from perdure.history.work import Outcome, Stall
from perdure.paging import each_found
from perdure.stores.contract import (
    ENTITY,
    FINISHED,
    HELD,
    QUEUED,
    Creation,
    EngineStore,
    Halt,
    Head,
    Lease,
    Loaded,
    Mail,
    OpenCall,
    Query,
    Status,
    Turn,
    Wait,
    WaitKind,
)
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")
RECOVER_PAGE = 1_000
EXAMINE_PAUSE_SECONDS = 0.1
"""Between two pages of instances that are examined, because they are not urgent."""
COMMIT_SECONDS_MIN = 5.0
"""Closing waits at least so long for turns that are decided to be written."""
Finished = Callable[[Instance, RunCompleted], None]
Appended = Callable[[str], None]
Answered = Callable[[str, Sequence[UpdateAnswered]], None]


class Shard:
    """The engine's side of a lease: instances, attempts, commits.

    `on_announced` hears of notices of the lifecycle feed, which are written if it is there.
    `shard_of` tells the shard of an instance, where an app has several and a queue is no affair of one alone.
    `commands_only` leaves all work alone (what was in flight, timers, attempts, mail that needs code) but the commands
    that it is given: a termination or suspension happens, every other message waits as mail for an owner with code.
    """

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        executor: Executor,
        clock: Clock,
        committer: Committer,
        feed: Feed,
        *,
        on_finished: Finished,
        on_answered: Answered,
        on_appended: Appended,
        on_lost: Callable[[Shard, str], None],
        on_announced: Callable[[], None] | None = None,
        owner_of: Callable[[str, str], Shard | None],
        shard_of: Callable[[str], int] | None = None,
        slots: Slots,
        room: Room,
        workflow_slots: WorkflowSlots,
        commands_only: bool = False,
        history_events_max: int = HISTORY_EVENTS_MAX,
        quarantine_deaths: int | None = QUARANTINE_DEATHS,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        consumers: Consumers | None = None,
    ) -> None:
        self.lease = lease
        self.shard = lease.shard
        self.store = store
        self.clock = clock
        self.executor = executor
        self.commands_only = commands_only
        self.history_events_max = history_events_max
        self.counts: Counter[str] = Counter()
        self.metrics = metrics
        self.tracing = tracing
        self.consumers = consumers or Consumers()
        self.handlers = Handlers()
        self._shard_of = shard_of
        self.quarantine_deaths = quarantine_deaths
        self._is_recovering = True
        self._awake: set[str] = set()
        self._on_finished = on_finished
        self._on_appended = on_appended
        self._on_answered = on_answered
        self._on_lost = on_lost
        self._on_announced = on_announced
        self._owner_of = owner_of
        self._slots = slots
        self.workflow_slots = workflow_slots
        self.limits_workflows = workflow_slots.is_limited
        self._promised = 0
        self._spreads = store.lease_seconds is not None and not commands_only
        self.committer = committer
        self.docket = committer.docket(lease, self._lost)
        self.host = Host(store, lease, feed, self._restore, room)
        steps = Transacting(store, lease, clock, self.host)
        self.attempts = Attempts(
            executor, clock, self._attempt_ended, self._attempt_beaten, steps.transact, self._outlet, slots, metrics
        )
        self.queues: Queues | Petitions
        if shard_of is None:
            self.queues = Queues(store, lease, clock, self.host, executor.queues())
        else:
            self.queues = Petitions(
                store, lease, clock, self.host, executor.queues(), shard_of=shard_of, hand_over=self._hand_over
            )
        self.has_doors = isinstance(self.queues, Petitions)
        """Whether slots come from doors by mail, and are left by mail."""
        self._in_queue = self.queues.members
        self._examiner = Rounds("examiner", self._examine_round)
        self._examined = ""
        self.lane = Lane(store, lease, clock, self.host, self.attempts, stalled=self.stalled, lost=self._lost)

    async def open(self) -> None:
        """Take up the work: calls that were in flight, mail, due times, instances whose stall may be over."""
        if self.quarantine_deaths is not None and not self.commands_only:
            await self.lane.open(self.quarantine_deaths)
        if self.limits_workflows:
            await self._count_begun()
        self.host.start(listen=not self.commands_only)
        if self.commands_only:
            return
        stalled = await self._stalled()
        await self._recover_calls(stalled.quarantined)
        await self.queues.open(partial(self._recover_queued, stalled.quarantined))
        self._is_recovering = False
        self._awake.clear()
        for id in stalled.curable:
            self.retry(id)
        self.lane.start()
        self._examiner.start()
        for topic in self.consumers.topics():
            self.subscribed(topic)

    async def close(self, drain_seconds: float) -> None:
        """Give attempts some time, commit what is decided, put everything away."""
        await self.lane.stop()
        if self.commands_only:
            await self.host.settle(drain_seconds)  # because a termination goes on from children to their children
        await self._examiner.stop()
        await self.queues.stop()
        await asyncio.gather(self.handlers.drain(drain_seconds), self.attempts.drain(drain_seconds))
        await self.executor.rest(drain_seconds)
        # because an attempt may have ended whose run is not in memory
        await self.host.load_waiting(max(drain_seconds, COMMIT_SECONDS_MIN))
        await self.docket.stop(max(drain_seconds, COMMIT_SECONDS_MIN))
        await self.host.stop()
        self.workflow_slots.vacate(self.shard)
        self._break_promises()

    async def abandon(self) -> None:
        """The lease is lost: nothing may be written any more."""
        await self._examiner.stop()
        await self.queues.stop()
        await self.lane.stop()
        await self.docket.abandon()
        await self.handlers.drain(0)
        await self.attempts.drain(0)
        await self.host.stop()
        self.workflow_slots.vacate(self.shard)
        self._break_promises()

    def halt(self) -> None:
        """Begin no attempt from now on: a retry that falls due while the rest is put away is the new owner's."""
        self.attempts.halt()
        self.handlers.halt()

    # -- asked by the engine --------------------------------------------------------------------------------------

    def start(self, instance: Instance, message: Message) -> None:
        """Take in a new instance and its first message."""
        self._wakes(instance.id)
        self.host.add(instance)
        instance.tell(message)

    def take_in(self, new: Creation) -> None:
        """Activate an instance that was just written, unless it is in memory, or must not be."""
        id = new.head.id
        if self.host.get(id) is None and not self.host.detains(id):
            self.host.add(self._restore(Loaded(new.head, [], [], [], [])))

    def tell(self, id: str, message: Message) -> None:
        self.host.tell(id, message)

    @property
    def lends(self) -> bool:
        """Whether other nodes may handle messages for which there is no receiver here."""
        return self._spreads

    def subscribed(self, topic: str) -> None:
        """Somebody here handles messages of the topic: its partitions go on."""
        for id in partition_ids(topic):
            if self._shard_of is None or self._shard_of(id) == self.shard:
                self.host.visit(id, _rouse)

    def lend(self, loan: Loan) -> None:
        """Offer a piece of work to other nodes."""
        id = lender_of(self.shard, self._shard_of or (lambda _: self.shard))

        def hand_over(actor: Actor | None) -> None:
            if actor is None:
                actor = self._new_lender(id)
            assert isinstance(actor, Lender), "nobody else has such an id"
            actor.lend(loan)

        self.host.visit(id, hand_over)

    def _new_lender(self, id: str) -> Lender:
        now = self.clock.now()
        head = lender_head(self.lease.app, id, self.clock.token(), now)
        lender = Lender(self, Loaded(head, [], [], [], []), is_new=True)
        self.host.add(lender)
        return lender

    # -- asked by instances ---------------------------------------------------------------------------------------

    @property
    def lacks_code(self) -> bool:
        """Whether a turn that needs code would find none, now or soon."""
        return self.commands_only or not self.executor.is_ready

    def room(self) -> AttemptRoom | None:
        """For how many attempts more this node has room. None where no other could take them."""
        if not self._spreads:
            return None
        room, elsewhere = self._slots.room(), self.executor.room()
        return room if elsewhere is None else replace(room, total=min(room.total, elsewhere - self._slots.promised))

    def is_movable(self, name: str) -> bool:
        return name in self.executor.activities()

    def may_begin(self, head: Head) -> bool:
        return self.workflow_slots.enter(self.shard, head, self._ask_to_begin)

    def awaits_slot(self, id: str) -> bool:
        return self.workflow_slots.waits(id)

    def begun_or_ended(self, head: Head) -> None:
        slots = self.workflow_slots
        if head.kind != WORKFLOW:
            return
        if head.status in FINISHED:
            slots.leave(head.id)
        elif head.status != Status.PENDING:
            slots.occupy(self.shard, head)

    def not_begun(self, id: str) -> None:
        slots = self.workflow_slots
        if not slots.waits(id):
            slots.leave(id)

    def _ask_to_begin(self, id: str) -> None:
        def ask(actor: Actor | None) -> None:
            if actor is not None:
                actor.rouse()
            self.workflow_slots.settle(id)

        self.host.visit(id, ask)

    def promise(self, count: int) -> None:
        self._promised += count
        self._slots.promise(count)

    def _break_promises(self) -> None:
        """Turns that were under way when the shard was put away say no more what became of them."""
        self._spreads = False
        self._slots.promise(-self._promised)
        self._promised = 0

    def announce(self, before: Head, turn: Turn, completed: RunCompleted | None) -> None:
        """Let the turn bring what is told of it outside, if anything is."""
        if self._on_announced is not None:
            turn.notices = notices_of(before, turn, None if completed is None else completed.failure)

    def announced(self) -> None:
        """Notices are durable."""
        if self._on_announced is not None:
            self._on_announced()

    def submit(self, turn: Turn, settled: Settled) -> None:
        self.docket.submit(turn, settled)

    def released(self, turn: Turn) -> None:
        """Hand what a committed turn sent to its receivers, as far as this process owns their shards."""
        for creation in turn.created:
            owner = self._owner_of(creation.head.app, creation.head.id)
            if owner is self or (owner is not None and self.store.spans_shards):
                owner.hear_of(creation, is_new=turn.is_all_new and not creation.joins)
        for mail in turn.mail:
            owner = self._owner_of(mail.app or self.lease.app, mail.instance)
            if owner is self or (owner is not None and self.store.spans_shards):
                owner.host.receive(mail if mail.app is None else replace(mail, app=None))

    def hear_of(self, creation: Creation, *, is_new: bool) -> None:
        """An instance was created, or refused, in a commit; `is_new`: there is nothing else to know of it."""
        head = creation.head
        self.host.receive(creation.mail, new=head if is_new and not creation.waits else None)
        for wait in creation.waits:
            if wait.due is not None:
                self.host.schedule(wait.due, head.id, wait.number)
            elif wait.state == QUEUED:
                self.queued((head.id, head.execution, head.generation, wait.number), wait)
        if creation.refusal is not None:
            self.host.poll_now()

    def answered(self, id: str, answers: Sequence[UpdateAnswered]) -> None:
        """Tell who waits for the answers of a durable turn, or for refusals."""
        self._on_answered(id, answers)

    def finished(self, instance: Instance, completed: RunCompleted | None) -> None:
        """An instance has ended: tell who waits, and let it leave memory."""
        if completed is not None:
            self._on_finished(instance, completed)
        self.host.drop(instance)

    def consumed(self, id: str, keys: Sequence[str]) -> None:
        self.host.consumed(id, keys)

    def schedule(self, due: int, id: str, number: int) -> None:
        self.host.schedule(due, id, number)

    def retry(self, id: str) -> None:
        """Let a stalled instance take the messages that wait."""
        self.host.visit(id, _unstall)

    def rouse(self) -> None:
        """The executor is ready again: what rested for want of it goes on."""
        self.host.rouse()

    async def retry_stalled(self) -> None:
        """Other code may be there now: let those that stand still try it."""
        for id in (await self._stalled(is_tried=True)).curable:
            self.retry(id)

    def drop(self, actor: Actor) -> None:
        self.host.drop(actor)

    def stalled(self, head: Head, stall: Stall) -> None:
        from perdure.engine.diagnosis.causes import counted_reason  # because most nodes never see a stall

        reason = counted_reason(stall.reason)
        self.counts[f"stalled:{reason}"] += 1
        if self.metrics is not None:
            self.metrics.workflow(head.name).stalls[reason] += 1
        about = {"app": head.app, "instance": head.id, "run": head.generation, "workflow": head.name}
        log.warning("%s %s stands still: %s: %s", head.name, head.id, stall.reason, stall.description, extra=about)

    def count(self, what: str) -> None:
        self.counts[what] += 1
        if self.metrics is not None:
            self.metrics.dropped[what] += 1

    def chance(self, event: Any) -> float:
        """A number in [0, 1) for the jitter of a retry, the same when the same failure is asked about twice."""
        return random.Random(f"{event.number}.{event.attempt}.{event.at}").random()

    def start_attempt(self, address: Address, wait: Wait) -> None:
        if self.commands_only:
            return
        try:
            self.attempts.start(self.lease.app, address, wait)
        except ValueError as error:
            self._unreadable(address, error)

    def _unreadable(self, address: Address, error: ValueError) -> None:
        log.error("the options of call %d of %r cannot be read, so it is not run: %s", address[3], address[0], error)
        self.host.visit(address[0], _examine)

    def try_again(self, id: str) -> None:
        """The run goes on: its calls that were blocked may be run."""
        self.attempts.try_again(id)

    def cancel_attempt(self, address: Address) -> None:
        self.attempts.cancel(address)
        if self._in_queue:
            self.queues.leave(address)

    def call_off_attempts(self, address: Address, attempt: int) -> None:
        """Those up to this one are over."""
        self.attempts.call_off(address, attempt)

    def heard(self, address: Address) -> None:
        """A door has answered."""
        self.queues.leave(address)

    def offers(self, address: Address) -> bool:
        """Whether a slot is offered to the wait, which no turn has taken yet."""
        return self.queues.offers(address)

    def queued(self, address: Address, wait: Wait) -> None:
        """A wait in a queue is durable in the state that it has now."""
        if self.commands_only:
            return
        if self.attempts.is_blocked(address):
            self.queues.leave(address)  # because others can use the slot
            return
        try:
            may_run = self.queues.told(address, wait)
        except ValueError as error:
            self._unreadable(address, error)
            return
        if may_run and wait.kind == WaitKind.ACTIVITY:
            self.start_attempt(address, wait)

    # -- attempts -------------------------------------------------------------------------------------------------

    def _attempt_ended(self, running: Running, outcome: Outcome | Stall) -> None:
        self.host.tell(running.address[0], report(running, outcome, self.clock.now()))

    def _attempt_beaten(self, running: Running, details: Payload) -> None:
        _, execution, generation, number = running.address
        event = HeartbeatSeen(at=self.clock.now(), number=number, details=details)
        self.host.tell(running.address[0], Message(event, None, execution, generation))

    def _outlet(self, running: Running) -> StreamOutlet:
        address, attempt = running.address, running.wait.attempt
        appended = partial(self._on_appended, address[0])
        return StreamOutlet(self.store, self.clock, self.shard, address, attempt, self.docket.append, appended)

    # -- recovery -------------------------------------------------------------------------------------------------

    def _restore(self, loaded: Loaded) -> Actor:
        if loaded.head.kind == ENTITY:
            if is_topic(loaded.head.id):
                from perdure.engine.topic import Topic  # because most apps have none

                return Topic(self, loaded)
            if is_lender(loaded.head.id):
                return Lender(self, loaded)
            return self._door(loaded) if is_door(loaded.head.id) else Entity(self, loaded)
        self._wakes(loaded.head.id)
        return Instance.restore(self, loaded)

    def _door(self, loaded: Loaded) -> Actor:
        if isinstance(self.queues, Queues):
            return Entity(self, loaded)  # because this shard is all there is, and has its queues itself
        return Door(self.queues, self, loaded)

    def _hand_over(self, mail: Mail) -> None:
        """It is in the store: let its receiver know if that is in this process."""
        owner = self._owner_of(self.lease.app, mail.instance)
        if owner is not None:
            owner.host.receive(mail)

    def _lost(self, why: str) -> None:
        self.halt()
        self._on_lost(self, why)

    def _wakes(self, id: str) -> None:
        if self._is_recovering:
            self._awake.add(id)

    async def _count_begun(self) -> None:
        """What the last owner has begun has slots here."""
        running = Query(app=self.lease.app, status=(Status.RUNNING,), shard=self.shard)
        async for head in self._found(running):
            self.workflow_slots.occupy(self.shard, head)

    async def _recover_calls(self, quarantined: frozenset[str]) -> None:
        """Run again what was in flight when the last owner died.

        An instance that is loaded meanwhile takes up its own calls; what a page says of them may be old by now.
        """
        after = ""
        while True:
            page: list[OpenCall] = await self.store.recover(self.lease, after, RECOVER_PAGE)
            for call in page:
                if call.instance not in quarantined:
                    self._recover(call)
            if not page:
                return
            after = page[-1].instance

    def _recover(self, call: OpenCall) -> None:
        if call.instance in self._awake or self.host.detains(call.instance):
            return
        if is_lender(call.instance):
            self.host.visit(call.instance, _call_off)
            return
        wait = call.wait
        if wait.state != HELD:
            return
        if wait.due is not None and wait.due > self.clock.now():
            self.schedule(wait.due, call.instance, wait.number)
        else:
            self.start_attempt((call.instance, call.execution, call.generation, wait.number), wait)

    def _recover_queued(self, quarantined: Container[str], call: OpenCall) -> None:
        if call.instance not in self._awake and call.instance not in quarantined:
            self.queued((call.instance, call.execution, call.generation, call.wait.number), call.wait)

    async def _stalled(self, *, is_tried: bool = False) -> Stalled:
        """Who stands still: those to be tried again because their code is, or may be, another than the one that
        stalled."""
        curable: list[str] = []
        quarantined: list[str] = []
        async for head in self._found(Query(app=self.lease.app, stalled=True, kind=None, shard=self.shard)):
            if is_quarantined(head):
                quarantined.append(head.id)
            elif head.stalled is not None and (is_tried or self._is_curable(head, head.stalled)):
                curable.append(head.id)
        return Stalled(curable, frozenset(quarantined))

    def _is_curable(self, head: Head, stalled: Halt) -> bool:
        """Whether the code here is another than the one that stalled."""
        return self.executor.fingerprint(head.name, head.version) != stalled.fingerprint

    async def _examine_round(self) -> float | None:
        """Load those that nothing would load, because rows of them are gone: page by page, once."""
        page = await self.store.stranded(self.lease, self._examined, RECOVER_PAGE)
        for id in page:
            self.host.visit(id, _examine)
        if not page:
            if self.lends:
                await self._rouse_topics()
            return None
        self._examined = page[-1]
        return EXAMINE_PAUSE_SECONDS

    async def _rouse_topics(self) -> None:
        """Load those whose messages go to other nodes, because nobody here asks for them."""
        async for head in self._found(Query(app=self.lease.app, kind=ENTITY, name=NAME, shard=self.shard)):
            if has_left(head.custom_status):
                self.host.visit(head.id, _rouse)

    def _found(self, query: Query) -> AsyncIterator[Head]:
        return each_found(partial(self.store.find, query), RECOVER_PAGE)

    def __repr__(self) -> str:
        return f"<Shard {self.shard} of {self.lease.app}, epoch {self.lease.epoch}: {self.host!r}, {self.attempts!r}>"


def _examine(actor: Actor | None) -> None:
    if actor is not None:
        actor.examine()


def _rouse(actor: Actor | None) -> None:
    if actor is not None:
        actor.rouse()


def _unstall(actor: Actor | None) -> None:
    if actor is not None:
        actor.unstall()


def _call_off(_: Actor | None) -> None:
    """A lender that is loaded calls off what was lent before."""


class Stalled(NamedTuple):
    """Ids of instances that stand still, as the store told when the shard was opened."""

    curable: list[str]
    quarantined: frozenset[str]
