"""What belongs to one leased shard while this node owns it, and what its instances may ask of it."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, NamedTuple

from perdure.actors.committer import Committer, Settled
from perdure.actors.host import ACTIVATIONS_MAX, Host
from perdure.actors.message import Message
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.attempts import SLOTS, Address, Attempts, Running
from perdure.engine.instance import HISTORY_EVENTS_MAX, Instance
from perdure.engine.outlet import StreamOutlet
from perdure.engine.ports import Executor
from perdure.engine.quarantine import QUARANTINE_DEATHS, Lane
from perdure.engine.queues import Queues
from perdure.engine.reports import HeartbeatSeen, report
from perdure.engine.standstill import is_quarantined
from perdure.engine.transact import Transacting
from perdure.history.events import RunCompleted, UpdateAnswered
from perdure.history.work import Outcome, Stall
from perdure.scheduler.pace import PACE, Pace
from perdure.stores.contract import (
    HELD,
    QUEUED,
    EngineStore,
    Halt,
    Head,
    Lease,
    Loaded,
    OpenCall,
    Query,
    Turn,
    Wait,
    WaitKind,
)

log = logging.getLogger("perdure")
RECOVER_PAGE = 1_000
EXAMINE_PAUSE_SECONDS = 0.1
"""Between two pages of instances that are examined, because they are not urgent."""
COMMIT_SECONDS_MIN = 5.0
"""Closing waits at least so long for turns that are decided to be written."""
Finished = Callable[[Head, RunCompleted], None]
Appended = Callable[[str], None]
Answered = Callable[[str, Sequence[UpdateAnswered]], None]


class Shard:
    """The engine's side of a lease: instances, attempts, commits.

    `commands_only` leaves all work alone (what was in flight, timers, attempts, mail that needs code) but the commands
    that it is given: a termination or suspension happens, every other message waits as mail for an owner with code.
    """

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        executor: Executor,
        clock: Clock,
        *,
        on_finished: Finished,
        on_answered: Answered,
        on_appended: Appended,
        on_lost: Callable[[Shard, str], None],
        commands_only: bool = False,
        slots: int = SLOTS,
        activations_max: int = ACTIVATIONS_MAX,
        history_events_max: int = HISTORY_EVENTS_MAX,
        quarantine_deaths: int | None = QUARANTINE_DEATHS,
        pace: Pace = PACE,
    ) -> None:
        self.lease = lease
        self.shard = lease.shard
        self.store = store
        self.clock = clock
        self.executor = executor
        self.commands_only = commands_only
        self.history_events_max = history_events_max
        self.counts: Counter[str] = Counter()
        self._quarantine_deaths = quarantine_deaths
        self._is_recovering = True
        self._awake: set[str] = set()
        self._on_finished = on_finished
        self._on_appended = on_appended
        self._on_answered = on_answered
        self._on_lost = on_lost
        self.committer = Committer(store, lease, clock, self._lost)
        self.host = Host(store, lease, clock, self.committer, self._restore, activations_max, pace)
        steps = Transacting(store, lease, clock, self.host)
        self.attempts = Attempts(
            executor, clock, self._attempt_ended, self._attempt_beaten, steps.transact, self._outlet, slots
        )
        self.queues = Queues(store, lease, clock, self.host, executor.queues())
        self._in_queue = self.queues.members
        self._examiner = Rounds("examiner", self._examine_round)
        self._examined = ""
        self.lane = Lane(store, lease, clock, self.host, self.attempts, stalled=self.stalled, lost=self._lost)

    async def open(self) -> None:
        """Take up the work: calls that were in flight, mail, due times, instances whose stall may be over."""
        if self._quarantine_deaths is not None and not self.commands_only:
            await self.lane.open(self._quarantine_deaths)
        self.committer.start()
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

    async def close(self, drain_seconds: float) -> None:
        """Give attempts some time, commit what is decided, put everything away."""
        await self.lane.stop()
        if self.commands_only:
            await self.host.settle(drain_seconds)  # because a termination goes on from children to their children
        await self._examiner.stop()
        await self.queues.stop()
        await self.attempts.drain(drain_seconds)
        await self.executor.rest(drain_seconds)
        await self.committer.stop(max(drain_seconds, COMMIT_SECONDS_MIN))
        await self.host.stop()

    async def abandon(self) -> None:
        """The lease is lost: nothing may be written any more."""
        await self._examiner.stop()
        await self.queues.stop()
        await self.lane.stop()
        await self.committer.abandon()
        await self.attempts.drain(0)
        await self.host.stop()

    # -- asked by the engine --------------------------------------------------------------------------------------

    def start(self, instance: Instance, message: Message) -> None:
        """Take in a new instance and its first message."""
        self._wakes(instance.id)
        self.host.add(instance)
        instance.tell(message)

    def tell(self, id: str, message: Message) -> None:
        self.host.tell(id, message)

    # -- asked by instances ---------------------------------------------------------------------------------------

    def submit(self, turn: Turn, settled: Settled) -> None:
        self.committer.submit(turn, settled)

    def released(self, turn: Turn) -> None:
        """Hand what a committed turn sent to its receivers on this shard."""
        for creation in turn.created:
            self.host.receive(creation.mail)
            for wait in creation.waits:
                if wait.due is not None:
                    self.host.schedule(wait.due, creation.head.id, wait.number)
                elif wait.state == QUEUED:
                    head = creation.head
                    self.queued((head.id, head.execution, head.generation, wait.number), wait)
            if creation.refusal is not None:
                self.host.poll_now()
        for mail in turn.mail:
            self.host.receive(mail)

    def answered(self, id: str, answers: Sequence[UpdateAnswered]) -> None:
        """Tell who waits for the answers of a durable turn, or for refusals."""
        self._on_answered(id, answers)

    def finished(self, instance: Instance, completed: RunCompleted | None) -> None:
        """An instance has ended: tell who waits, and let it leave memory."""
        if completed is not None:
            self._on_finished(instance.head, completed)
        self.host.drop(instance)

    def consumed(self, id: str, keys: Sequence[str]) -> None:
        self.host.consumed(id, keys)

    def schedule(self, due: int, id: str, number: int) -> None:
        self.host.schedule(due, id, number)

    def retry(self, id: str) -> None:
        """Let a stalled instance take the messages that wait."""
        self.host.visit(id, _unstall)

    def drop(self, instance: Instance) -> None:
        self.host.drop(instance)

    def stalled(self, head: Head, stall: Stall) -> None:
        self.counts[f"stalled:{stall.reason}"] += 1
        log.warning("%s %s stands still: %s: %s", head.name, head.id, stall.reason, stall.description)

    def count(self, what: str) -> None:
        self.counts[what] += 1

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

    def cancel_attempt(self, address: Address) -> None:
        self.attempts.cancel(address)
        if self._in_queue:
            self.queues.leave(address)

    def offers(self, address: Address) -> bool:
        """Whether a slot is offered to the wait, which no turn has taken yet."""
        return self.queues.offers(address)

    def queued(self, address: Address, wait: Wait) -> None:
        """A wait in a queue is durable in the state that it has now."""
        if self.commands_only:
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
        return StreamOutlet(self.store, self.clock, self.shard, address, attempt, self.committer.append, appended)

    # -- recovery -------------------------------------------------------------------------------------------------

    def _restore(self, loaded: Loaded) -> Instance:
        self._wakes(loaded.head.id)
        return Instance.restore(self, loaded)

    def _lost(self, why: str) -> None:
        self._on_lost(self, why)

    def _wakes(self, id: str) -> None:
        if self._is_recovering:
            self._awake.add(id)

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

    async def _stalled(self) -> Stalled:
        """Who stands still: those to be tried again because their code is another than the one that stalled."""
        cursor: str | None = None
        curable: list[str] = []
        quarantined: list[str] = []
        while True:
            page = await self.store.find(Query(app=self.lease.app, stalled=True, kind=None), cursor, 200)
            for head in page.heads:
                if is_quarantined(head):
                    quarantined.append(head.id)
                elif head.stalled is not None and self._is_curable(head, head.stalled):
                    curable.append(head.id)
            cursor = page.cursor
            if cursor is None:
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
            return None
        self._examined = page[-1]
        return EXAMINE_PAUSE_SECONDS

    def __repr__(self) -> str:
        return f"<Shard {self.shard} of {self.lease.app}, epoch {self.lease.epoch}: {self.host!r}, {self.attempts!r}>"


def _examine(actor: Any) -> None:
    if actor is not None:
        actor.examine()


class Stalled(NamedTuple):
    """Ids of instances that stand still, as the store told when the shard was opened."""

    curable: list[str]
    quarantined: frozenset[str]


def _unstall(actor: Any) -> None:
    if actor is not None:
        actor.unstall()
