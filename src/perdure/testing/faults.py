"""What a simulated store does to its engine: it dies, it lies, it repeats, reorders and keeps silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from perdure.engine.engine import Engine
from perdure.errors import Fenced, StoreUnavailable
from perdure.history.accept import COMMANDS
from perdure.history.events import EventRaised, decode_event
from perdure.stores.contract import (
    Append,
    Creation,
    Delivery,
    Due,
    EngineStore,
    Head,
    Holder,
    Item,
    Lease,
    Loaded,
    Mail,
    OpenCall,
    Outcome,
    Page,
    Permit,
    Query,
    Segment,
    Stream,
    Suspect,
    Turn,
    Wait,
)
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
        self.evicts = self.rates["evict"] > 0
        self.active = True
        self.allowed: int | None = None
        self._chance = tape.stream("faults")
        self._mischief = tape.stream("mischief")

    def stop(self) -> None:
        self.active = False

    def operation(self, name: str) -> Fault | None:
        if not self.active:
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
        return rate > 0 and self.active and self._mischief.random() < rate


class FaultyStore:
    """An engine's view of a store on which a plan works.

    `crash` kills the process that holds it; `usurp` lets another node have its lease, and it does not know.
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
    ) -> None:
        self._inner = inner
        self._plan = plan
        self._witness = witness
        self._chance = tape.stream("disorder of mail")
        self._crash = crash
        self._usurp = usurp
        self._log = log

    # -- the one way to an operation ------------------------------------------------------------------------

    async def _do(self, name: str, call: Callable[[], Awaitable[T]], seen: Callable[[T], None] | None = None) -> T:
        fault = self._plan.operation(name)
        delay = self._plan.delay()
        if delay is not None:
            await asyncio.sleep(delay)
        if fault is not None:
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

    async def heads(self, shard: int, ids: Sequence[str]) -> list[Head]:
        return await self._do("heads", lambda: self._inner.heads(shard, ids))

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

    async def commit(
        self, lease: Lease, turns: Sequence[Turn], token: str, appends: Sequence[Append] = ()
    ) -> list[Outcome]:
        def seen(outcomes: list[Outcome]) -> None:
            of_turns, of_appends = outcomes[: len(turns)], outcomes[len(turns) :]
            self._witness.appended(lease, appends, of_appends)
            self._witness.committed(lease, turns, of_turns)
            told = [*map(_told, turns, of_turns), *map(_told_of, appends, of_appends)]
            self._log(f"commit, epoch {lease.epoch}: " + ", ".join(told))
            self._witness.probes["commit fenced"] += outcomes[0] == Outcome.FENCED
            self._repeat(lease, turns, of_turns)

        return await self._do("commit", lambda: self._inner.commit(lease, turns, token, appends), seen)

    def _repeat(self, lease: Lease, turns: Sequence[Turn], outcomes: Sequence[Outcome]) -> None:
        for turn, outcome in zip(turns, outcomes, strict=True):
            if outcome != Outcome.COMMITTED:
                continue
            others = [mail for mail in turn.mail if mail.instance != turn.id]
            if others and self._plan.happens("twice"):
                self._twice(partial(self._deliver_again, lease.shard, others), "mail delivered twice")
            for creation in turn.created:
                if self._plan.happens("created twice"):
                    self._twice(partial(self._create_again, lease.shard, creation), "creation delivered twice")

    async def _deliver_again(self, shard: int, mail: Sequence[Mail]) -> None:
        outcomes = await self._inner.deliver(shard, mail)
        self._witness.probes["duplicate mail refused"] += outcomes.count(Delivery.DUPLICATE)

    async def _create_again(self, shard: int, creation: Creation) -> None:
        if creation.head.id not in self._witness.tracks:
            return  # because a purge has ended the story, and its outbox with it
        await self._inner.create(shard, creation)
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

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        return await self._do("purge", lambda: self._inner.purge(shard, ids), self._witness.purged)

    # -- Leases ---------------------------------------------------------------------------------------------

    async def acquire(self, app: str, owner: str, at: int | None = None) -> list[Lease]:
        return await self._do("acquire", lambda: self._inner.acquire(app, owner, at), self._witness.acquired)

    async def release(self, leases: Sequence[Lease]) -> None:
        await self._do("release", lambda: self._inner.release(leases))

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

    async def mail(self, lease: Lease, limit: int = 1000, after: str = "") -> list[Mail]:
        return self._reordered(await self._late(await self._do("mail", lambda: self._inner.mail(lease, limit, after))))

    async def due(
        self, lease: Lease, until: int, limit: int = 1000, after: tuple[int, str, int] = (-1, "", 0)
    ) -> list[Due]:
        return await self._late(await self._do("due", lambda: self._inner.due(lease, until, limit, after)))

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
        """Replies and events in any order, as other senders may bring them; commands keep their place."""
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
    return isinstance(event, EventRaised) or not isinstance(event, COMMANDS)


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
