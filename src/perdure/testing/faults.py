"""What a simulated store does to its engine: it dies, it lies, it repeats, reorders and keeps silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar, cast

from msgspec.structs import replace

from perdure.engine.engine import Engine
from perdure.errors import Fenced, InstanceExists, StoreError, StoreUnavailable
from perdure.history.accept import COMMANDS
from perdure.history.events import EventRaised, MessagePublished, decode_event
from perdure.stores.contract import (
    Append,
    Awaited,
    Backlog,
    Batch,
    Beat,
    Creation,
    Delivery,
    Due,
    End,
    EngineStore,
    Head,
    Holder,
    Item,
    Lease,
    Letter,
    Loaded,
    Mail,
    Member,
    Notice,
    Notices,
    OpenCall,
    Outcome,
    Page,
    Permit,
    Posted,
    Query,
    Report,
    Segment,
    Stream,
    Suspect,
    Touch,
    Turn,
    Wait,
    shard_number,
)
from perdure.testing.cables import Cables, Loss
from perdure.testing.tape import Tape
from perdure.testing.witness import Witness

T = TypeVar("T")


class Fault(StrEnum):
    """What happens at one operation of a store."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    ANSWER_LOST = "executed, then error"
    FAILED = "failed"


class Plan(Protocol):
    """Decides over faults. `operation` is called once for each operation of any store, in order."""

    evicts: bool
    """Whether evictions may happen at all."""

    def stop(self) -> None:
        """No fault any more."""

    def operation(self, name: str) -> Fault | None: ...
    def delay(self) -> float | None:
        """Seconds until an operation begins; None: at once, without giving way to others."""

    def happens(self, what: str) -> bool:
        """Whether other mischief happens now: "twice", "created twice", "late page", "evict" and so on."""


class Calm:
    """No fault at all."""

    evicts = False

    def stop(self) -> None:
        """There is nothing to stop."""

    def operation(self, name: str) -> Fault | None:
        return None

    def delay(self) -> float | None:
        return None

    def happens(self, what: str) -> bool:
        return False


class Script(Calm):
    """Faults at operations by their number, from 0; nothing else."""

    def __init__(self, faults: Mapping[int, Fault], evictions: bool = False) -> None:
        self.operations: list[str] = []
        self._faults = dict(faults)
        self.evicts = evictions

    def operation(self, name: str) -> Fault | None:
        self.operations.append(name)
        return self._faults.get(len(self.operations) - 1)

    def happens(self, what: str) -> bool:
        return self.evicts and what == "evict"


RATES = (0.0, 0.0, 0.005, 0.02, 0.1)


class Weather(Plan, Protocol):
    """A plan that may pause. `delays` are those that operations may have."""

    delays: tuple[float | None, ...]

    def pause(self, is_paused: bool) -> None:
        """No fault for now, or as before."""


class Swarm:
    """Each seed enables some kinds of fault at rates of its own; `stop` ends them, so that all must finish"""

    def __init__(self, tape: Tape) -> None:
        chance = tape.stream("swarm")
        self.rates: dict[str, float] = {fault: chance.choice(RATES) for fault in Fault}
        self.rates |= {what: chance.choice((0.0, 0.02, 0.25)) for what in ("twice", "reorder", "evict")}
        self.rates["created twice"] = chance.choice((0.0, 0.25, 1.0))
        self.rates["late page"] = chance.choice((0.0, 0.5))
        self.rates["usurp"] = chance.choice((0.0, 0.5))
        self.rates["hint lost"] = chance.choice((0.0, 1.0))
        self.delays: tuple[float | None, ...] = chance.choice(
            ((None,), (None, 0.0), (0.0, 0.0, 0.001, 0.02), (None, 0.0, 0.01, 0.3))
        )
        self.rates["beat lost"] = chance.choice((0.0, 0.1, 0.5))
        self.evicts = self.rates["evict"] > 0
        self.active = True
        self.paused = False
        self.allowed: int | None = None
        self._chance = tape.stream("faults")
        self._mischief = tape.stream("mischief")

    def stop(self) -> None:
        self.active = False

    def pause(self, is_paused: bool) -> None:
        self.paused = is_paused

    def soften(self, fault_max: float) -> None:
        """No kind of fault is more frequent than this, where nodes have more to do before they are open."""
        for fault in Fault:
            self.rates[fault] = min(self.rates[fault], fault_max)

    def operation(self, name: str) -> Fault | None:
        if not self.active or self.paused:
            return None
        drawn = self._chance.random()
        for fault in Fault:
            drawn -= self.rates[fault]
            if drawn < 0:
                return self._permitted(fault)
        return None

    def _permitted(self, fault: Fault) -> Fault | None:
        """Only the first `allowed` faults of the seed happen (None: all), to find the one that matters."""
        if self.allowed is None:
            return fault
        self.allowed -= 1
        return fault if self.allowed >= 0 else None

    def delay(self) -> float | None:
        return self._mischief.choice(self.delays)

    def happens(self, what: str) -> bool:
        rate = self.rates[what]
        return rate > 0 and self.active and not self.paused and self._mischief.random() < rate


class FaultyStore:
    """An engine's view of a store on which a plan works.

    `crash` kills the process that holds it; `usurp` lets another node have its lease, and it does not know. `cables`
    are the way of the node `name` to the store, None where it cannot be cut. `harmed` hears of each fault, and for how
    many seconds it keeps its caller waiting; `gave_back` hears of leases that are released.
    """

    def __init__(
        self,
        inner: EngineStore,
        plan: Plan,
        witness: Witness,
        tape: Tape,
        *,
        crash: Callable[[str], None],
        usurp: Callable[[], None],
        log: Callable[[str], None],
        name: str = "",
        cables: Cables | None = None,
        harmed: Callable[[float], None] = lambda seconds: None,
        gave_back: Callable[[Sequence[Lease]], None] = lambda leases: None,
    ) -> None:
        self._inner = inner
        self._plan = plan
        self._witness = witness
        self._chance = tape.stream("disorder of mail")
        self._crash = crash
        self._usurp = usurp
        self._log = log
        self._name = name
        self._cables = cables
        self._harmed = harmed
        self._gave_back = gave_back

    # -- the one way to an operation ------------------------------------------------------------------------

    async def _do(self, name: str, call: Callable[[], Awaitable[T]], seen: Callable[[T], None] | None = None) -> T:
        fault = self._plan.operation(name) if name != "beat" else self._of_beat()
        delay = self._plan.delay()
        if delay is not None:
            await asyncio.sleep(delay)
        if self._cables is not None:
            await self._travel(name, call, seen, self._cables)
        if fault is not None:
            self._harmed(0.0)
            self._log(f"{name}: {fault}")
            self._witness.probes[_probe(name, fault)] += 1
        if fault is Fault.CRASH_BEFORE:
            await self._die(name)
        if fault is Fault.FAILED:
            raise StoreUnavailable(f"simulated: {name} failed")
        result = await call()
        if seen is not None:
            seen(result)
        if fault is Fault.CRASH_AFTER:
            await self._die(name)
        if fault is Fault.ANSWER_LOST:
            if name == "commit" and self._plan.happens("usurp"):
                self._usurp()  # because else hardly a lease is ever lost just then
            raise StoreUnavailable(f"simulated: the answer to {name} was lost")
        if delay:
            await asyncio.sleep(delay)
        return result

    def _of_beat(self) -> Fault | None:
        """A beat may be lost and kills nobody, because there are so many of them."""
        return Fault.FAILED if self._plan.happens("beat lost") else None

    async def _travel(
        self, name: str, call: Callable[[], Awaitable[T]], seen: Callable[[T], None] | None, cables: Cables
    ) -> None:
        """Go to the store. Raises StoreUnavailable if the way there or back fails, after what has happened then."""
        loss = cables.loss(self._name, name)
        if loss is None:
            return
        timeout = cables.timeout()
        self._harmed(timeout)
        self._log(f"{name}: {loss}")
        if loss is Loss.ANSWER:
            with suppress(StoreError):
                _hear(await call(), seen)
        elif loss is Loss.LATE:
            self._arrive_late(name, call, seen, timeout + cables.delay())
        await asyncio.sleep(timeout)
        raise StoreUnavailable(f"simulated: {name}: {loss}")

    def _arrive_late(
        self, name: str, call: Callable[[], Awaitable[T]], seen: Callable[[T], None] | None, delay: float
    ) -> None:
        """Let it happen when its caller has given up, or has died."""

        async def late() -> None:
            await asyncio.sleep(delay)
            with suppress(StoreError):
                self._log(f"{name} of {self._name} arrives late")
                _hear(await call(), seen)

        asyncio.get_running_loop().create_task(late(), name="second delivery of a request", context=Context())

    async def _die(self, name: str) -> None:
        self._crash(name)
        await asyncio.get_running_loop().create_future()

    def _twice(self, call: Callable[[], Awaitable[Any]], probe: str) -> None:
        """Do it again a little later, as an outbox does that died before it took note."""

        async def again() -> None:
            await asyncio.sleep(self._chance.choice((0.0, 0.01, 1.0)))
            await call()
            self._witness.probes[probe] += 1

        asyncio.get_running_loop().create_task(again(), name="second delivery")

    # -- Store ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._do("open", self._inner.open)

    async def close(self) -> None:
        await self._inner.close()

    async def shards(self, app: str) -> list[int]:
        return await self._do("shards", lambda: self._inner.shards(app))

    async def apps(self) -> list[str]:
        return await self._do("apps", self._inner.apps)

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        def seen(holder: Holder | None) -> None:
            if holder is None:
                self._witness.created(creation)

        self._witness.asked(creation)
        return await self._do("create", lambda: self._inner.create(shard, creation), seen)

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        return await self._do("renew", lambda: self._inner.renew(shard, holder, mail, wait, at))

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        return await self._do("queued", lambda: self._inner.queued(shard, after, limit))

    async def permits(self, shard: int, after: int) -> list[Permit]:
        return await self._do("permits", lambda: self._inner.permits(shard, after))

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        found = await self._do("load", lambda: self._inner.load(shard, ids))
        return [replace(one, mail=self._reordered(one.mail)) for one in found]

    async def head(self, shard: int, id: str) -> Head | None:
        return await self._do("head", lambda: self._inner.head(shard, id))

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        return await self._do("heads", lambda: self._inner.heads(places))

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        return await self._do("ends", lambda: self._inner.ends(awaited))

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        return await self._do("history", lambda: self._inner.history(shard, id, after, limit))

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        return await self._do("last_segment", lambda: self._inner.last_segment(shard, id))

    async def waits(self, shard: int, id: str) -> list[Wait]:
        return await self._do("waits", lambda: self._inner.waits(shard, id))

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        return await self._do("published", lambda: self._inner.published(shard, id, names))

    async def streams(self, shard: int, id: str) -> list[Stream]:
        return await self._do("streams", lambda: self._inner.streams(shard, id))

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        return await self._do("items", lambda: self._inner.items(shard, id, generation, number, after, limit))

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        return await self._do("last_item", lambda: self._inner.last_item(shard, id, generation, number))

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        return await self._do("find", lambda: self._inner.find(query, cursor, limit))

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        def seen(outcomes: list[Outcome]) -> None:
            told = iter(outcomes)
            of_turns: list[list[Outcome]] = []
            for batch in batches:
                of_turns.append(list(islice(told, len(batch.turns))))
                self._witnessed(batch, of_turns[-1], list(islice(told, len(batch.appends))))
            for batch, decided in zip(batches, of_turns, strict=True):
                self._witness.brought(batch.lease, batch.turns, decided)
                self._repeat(batch.lease, batch.turns, decided)
            fenced = {outcome == Outcome.FENCED for outcome in outcomes}
            self._witness.probes["commit fenced beside others that were taken"] += len(fenced) == 2

        return await self._do("commit", lambda: self._inner.commit(batches, token), seen)

    def _witnessed(self, batch: Batch, of_turns: list[Outcome], of_appends: list[Outcome]) -> None:
        lease, turns, appends = batch.lease, batch.turns, batch.appends
        self._witness.appended(lease, appends, of_appends)
        self._witness.committed(lease, turns, of_turns)
        told = [*map(_told, turns, of_turns), *map(_told_of, appends, of_appends)]
        self._log(f"commit, epoch {lease.epoch}: " + ", ".join(told))
        self._witness.probes["commit fenced"] += (of_turns + of_appends)[0] == Outcome.FENCED

    def _repeat(self, lease: Lease, turns: Sequence[Turn], outcomes: Sequence[Outcome]) -> None:
        if not self._inner.spans_shards:
            return  # because its outbox repeats, and nothing may overtake that
        for turn, outcome in zip(turns, outcomes, strict=True):
            if outcome != Outcome.COMMITTED:
                continue
            others = [mail for mail in turn.mail if mail.instance != turn.id]
            if others and self._plan.happens("twice"):
                self._twice(partial(self._send_again, lease.app, others), "mail delivered twice")
            for creation in turn.created:
                if self._plan.happens("created twice"):
                    self._twice(partial(self._create_again, creation), "creation delivered twice")

    async def _home(self, app: str, id: str) -> int:
        shards = await self._inner.shards(app)
        return shards[shard_number(id, len(shards))]

    async def _send_again(self, app: str, mail: Sequence[Mail]) -> None:
        for one in mail:
            await self._deliver_again(await self._home(one.app or app, one.instance), [one])

    async def _deliver_again(self, shard: int, mail: Sequence[Mail]) -> None:
        outcomes = await self._inner.deliver(shard, mail)
        self._witness.probes["duplicate mail refused"] += outcomes.count(Delivery.DUPLICATE)

    async def _create_again(self, creation: Creation) -> None:
        if creation.head.id not in self._witness.tracks:
            return  # because a purge has ended the story, and its outbox with it
        with suppress(InstanceExists):  # because it was refused the first time too
            await self._inner.create(await self._home(creation.head.app, creation.head.id), creation)
        self._witness.probes["repeated creation ignored"] += 1

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        try:
            happened = await self._do("settle_unknown", lambda: self._inner.settle_unknown(lease, token))
        except Fenced:
            self._witness.probes["unknown outcome fenced"] += 1
            raise
        answer = "it happened" if happened else "it did not"
        self._witness.probes[f"unknown outcome: {answer}"] += 1
        return happened

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        def seen(outcomes: list[Delivery]) -> None:
            for one, outcome in zip(mail, outcomes, strict=True):
                self._log(f"deliver: {one.key[-12:]} to {one.instance}: {outcome}")
            self._witness.probes["duplicate mail refused"] += outcomes.count(Delivery.DUPLICATE)
            if self._plan.happens("twice"):
                self._twice(lambda: self._deliver_again(shard, mail), "mail delivered twice")

        return await self._do("deliver", lambda: self._inner.deliver(shard, mail), seen)

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        def seen(outcomes: list[Outcome]) -> None:
            for told, outcome in zip(reports, outcomes, strict=True):
                self._log(f"report: call {told.number} of {told.mail.instance}: {outcome}")
            self._witness.reported(reports, outcomes)
            self._witness.probes["late report refused"] += outcomes.count(Outcome.CONFLICT)

        return await self._do("report", lambda: self._inner.report(shard, reports), seen)

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        return await self._do("purge", lambda: self._inner.purge(shard, ids), self._witness.purged)

    # -- Notices --------------------------------------------------------------------------------------------

    @property
    def _board(self) -> Notices:
        """Of all stores that are simulated."""
        return cast(Notices, self._inner)

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        def seen(ids: list[str]) -> None:
            self._witness.purged_told(shard, gone, ids)

        return await self._do("purge", lambda: self._board.purge_told(shard, gone), seen)

    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        return await self._do("notices", lambda: self._board.notices(shard, after, limit, pending=pending))

    async def newest_notice(self, shard: int) -> int:
        return await self._do("newest_notice", lambda: self._board.newest_notice(shard))

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        await self._do("told", lambda: self._board.told(shard, numbers))

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        await self._do("give_up", lambda: self._board.give_up(shard, number, failure))

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        return await self._do("given_up", lambda: self._board.given_up(shard, limit))

    async def tell_again(self, shard: int) -> int:
        return await self._do("tell_again", lambda: self._board.tell_again(shard))

    async def trim(self, shard: int, keep: int) -> None:
        await self._do("trim", lambda: self._board.trim(shard, keep))

    # -- Leases ---------------------------------------------------------------------------------------------

    @property
    def spans_shards(self) -> bool:
        return self._inner.spans_shards

    @property
    def lease_seconds(self) -> float | None:
        return self._inner.lease_seconds

    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        return await self._do("acquire", lambda: self._inner.acquire(app, owner, at, limit), self._witness.acquired)

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        return await self._do("beat", lambda: self._inner.beat(app, member, leases), self._witness.beaten)

    def heart(self) -> FaultyStore:
        return self

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        """Without faults, because nothing depends on it."""
        await self._inner.tell(app, owner, about)

    async def leave(self, app: str, owner: str) -> None:
        await self._do("leave", lambda: self._inner.leave(app, owner))

    async def members(self, app: str) -> list[Member]:
        return await self._do("members", lambda: self._inner.members(app))

    async def release(self, leases: Sequence[Lease]) -> None:
        def seen(_: None) -> None:
            self._witness.released(leases)
            self._gave_back(leases)

        await self._do("release", lambda: self._inner.release(leases), seen)

    async def holder(self, app: str) -> str | None:
        return await self._do("holder", lambda: self._inner.holder(app))

    async def suspects(self, shard: int) -> list[Suspect]:
        return await self._do("suspects", lambda: self._inner.suspects(shard))

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        await self._do("accuse", lambda: self._inner.accuse(lease, instance, place))
        self._witness.probes["suspect accused"] += 1

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        await self._do("acquit", lambda: self._inner.acquit(lease, instances))

    # -- Wake -----------------------------------------------------------------------------------------------

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        return await self._late(await self._do("recover", lambda: self._inner.recover(lease, after, limit)))

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        page = await self._late(await self._do("mail", lambda: self._inner.mail(leases, limit, after)))
        shards = {letter.mail.instance: letter.shard for letter in page}
        new = {letter.mail.instance: letter.new for letter in page if letter.new is not None}
        mail = self._reordered([letter.mail for letter in page])
        return [Letter(shards[one.instance], one, new.pop(one.instance, None)) for one in mail]

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        return await self._late(await self._do("due", lambda: self._inner.due(leases, until, limit, after)))

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        def seen(calls: list[OpenCall]) -> None:
            self._witness.claimed(calls, seconds)

        return await self._do("claim", lambda: self._inner.claim(app, owner, token, names, limit, seconds), seen)

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        def seen(alive: list[bool]) -> None:
            self._witness.touched(touches, alive, seconds)

        return await self._do("touch", lambda: self._inner.touch(touches, seconds), seen)

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        return await self._do("backlog", lambda: self._inner.backlog(app, until))

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return await self._do("stranded", lambda: self._inner.stranded(lease, after, limit))

    async def watch(self) -> AsyncIterator[None]:
        async for _ in self._inner.watch():
            if self._plan.happens("hint lost"):
                self._witness.probes["hints lost"] += 1
            else:
                yield

    async def _late(self, page: list[T]) -> list[T]:
        """A page that arrives when others have gone on, so that what it says is old."""
        if page and self._plan.happens("late page"):
            self._witness.probes["page late"] += 1
            await asyncio.sleep(self._chance.choice((0.0, 0.01, 0.3)))
        return page

    def _reordered(self, mail: list[Mail]) -> list[Mail]:
        """Replies and events in any order, as other senders may bring them; commands, and messages of topics, of which
        one sender's keep their order, have their place."""
        if len(mail) < 2 or not self._plan.happens("reorder"):
            return mail
        loose = [place for place, one in enumerate(mail) if _is_loose(one)]
        shuffled = self._chance.sample(loose, len(loose))
        ordered = list(mail)
        for place, source in zip(loose, shuffled, strict=True):
            ordered[place] = mail[source]
        self._witness.probes["mail reordered"] += ordered != mail
        return ordered

    def __repr__(self) -> str:
        return f"<FaultyStore over {self._inner!r}>"


class FaultyTransactions(FaultyStore):
    """The same of a store that carries steps."""

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        def seen(outcome: Outcome) -> None:
            self._witness.probes["step done"] += outcome == Outcome.COMMITTED
            self._witness.probes["step done before"] += outcome == Outcome.CONFLICT
            self._log(f"transact, epoch {lease.epoch}: {outcome} [{id} call {number} attempt {attempt}]")

        inner: Any = self._inner
        return await self._do("transact", lambda: inner.transact(lease, id, number, attempt, work), seen)


def _hear(result: T, seen: Callable[[T], None] | None) -> None:
    if seen is not None:
        seen(result)


def put_idle_away(engine: Engine) -> int:
    """Evict every instance that has nothing to do, so that its next turn begins with a replay; how many."""
    count = 0
    for shard in list(engine.owned.values()):
        for actor in [actor for actor in shard.host._actors.values() if actor.is_idle]:
            shard.host.drop(actor)
            count += 1
    return count


def _is_loose(mail: Mail) -> bool:
    event = decode_event(mail.event)
    return isinstance(event, EventRaised) or not isinstance(event, (*COMMANDS, MessagePublished))


def _probe(name: str, fault: Fault) -> str:
    where = "a commit" if name == "commit" else "another operation" if fault.startswith("crash") else "other operation"
    match fault:
        case Fault.CRASH_BEFORE | Fault.CRASH_AFTER:
            return f"{fault} a commit" if name == "commit" else f"crash at {where}"
        case Fault.ANSWER_LOST:
            return f"{where.removeprefix('a ')} executed, then error"
        case Fault.FAILED:
            return f"{where.removeprefix('a ')} failed"


def _told_of(append: Append, outcome: Outcome) -> str:
    offsets = f"{append.after + 1} to {append.after + len(append.values)}"
    return f"{outcome} [{append.id} call {append.number} attempt {append.attempt} yields {offsets}]"


def _told(turn: Turn, outcome: Outcome) -> str:
    parts = [f"{turn.id} turn {turn.expected}"]
    if turn.opened:
        parts.append("opens " + " ".join(f"{wait.number}:{wait.name}" for wait in turn.opened))
    if turn.closed:
        parts.append("closes " + " ".join(map(str, turn.closed)))
    if turn.changed:
        parts.append("changes " + " ".join(f"{wait.number} attempt {wait.attempt}" for wait in turn.changed))
    if turn.consumed:
        parts.append(f"consumes {len(turn.consumed)}")
    if turn.mail:
        parts.append("sends " + " ".join(mail.instance for mail in turn.mail))
    if turn.head is not None:
        parts.append(
            f"-> {turn.head.status}"
            + (" suspended" if turn.head.suspended else "")
            + (" stalled" if turn.head.stalled else "")
        )
    return f"{outcome} [{'; '.join(parts)}]"
