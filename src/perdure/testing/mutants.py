"""Engines with one safeguard taken out each: what the simulator must catch, or its silence proves nothing.

A mutant replaces one function from outside, for the time of a `with`; the engine knows nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import msgspec

from perdure.actors.committer import Committer
from perdure.actors.message import Message
from perdure.engine import calls
from perdure.engine import shard as shards
from perdure.engine.instance import Instance
from perdure.engine.outlet import StreamOutlet
from perdure.engine.quarantine import Lane
from perdure.engine.queues import Queues
from perdure.engine.shard import Shard
from perdure.errors import StoreUnavailable
from perdure.history import accept, reports
from perdure.history.accept import REPLIES, Verdict
from perdure.history.events import RunCancelRequested
from perdure.scheduler.limiter import Limiter
from perdure.sdk import run as runs
from perdure.sdk import saga
from perdure.stores import instance
from perdure.stores.contract import FINISHED, Item, Outcome
from perdure.stores.memory import MemoryStore
from perdure.testing.scenario import Report

SEEDS_MAX = 400
"""A mutant that so many seeds do not catch has survived."""


@dataclass(frozen=True)
class Mutant:
    """`make` gets the original function and gives the one that takes its place at `owner.attribute`."""

    name: str
    owner: Any
    attribute: str
    make: Callable[[Any], Any]
    seed: int = 0
    """One that catches it, which is tried first; where the code has changed since, those from 0 on find another."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        with patch.object(self.owner, self.attribute, self.make(getattr(self.owner, self.attribute))):
            yield


def _with_epoch_of_the_store(write: Any) -> Any:
    def mutated(self: Any, batch: Any, token: str) -> Any:
        lease, shard = batch.lease, self._shards[batch.lease.shard]
        owner, shard.owner = shard.owner, shard.owner or lease.owner
        try:
            lease = msgspec.structs.replace(lease, epoch=shard.epoch)
            return write(self, msgspec.structs.replace(batch, lease=lease), token)
        finally:
            shard.owner = owner

    return mutated


def _with_epochs_that_stand_still(acquire: Any) -> Any:
    async def mutated(self: Any, app: str, owner: str, *rest: Any) -> Any:
        leases = await acquire(self, app, owner, *rest)
        for lease in leases:
            self._shards[lease.shard].epoch = 1
        return [msgspec.structs.replace(lease, epoch=1) for lease in leases]

    return mutated


def _starting_first(submit: Any) -> Any:
    def mutated(self: Any, turn: Any, settled: Any) -> None:
        for wait in turn.opened:
            if wait.kind == "activity":
                self.start_attempt((turn.id, turn.execution, turn.generation, wait.number), wait)
        submit(self, turn, settled)

    return mutated


def _settling_first(submit: Any) -> Any:
    def mutated(self: Any, turn: Any, settled: Any) -> None:
        submit(self, turn, lambda outcome: None)
        settled(Outcome.COMMITTED)

    return mutated


def _forgetful(judge: Any) -> Any:
    return lambda head, waits, answered, seen, *rest: judge(head, waits, answered, (), *rest)


def _open_to_closed_waits(judge: Any) -> Any:
    def mutated(head: Any, *rest: Any) -> Any:
        _, _, _, event, _, *run = rest
        if type(event) in REPLIES and run == [head.execution, head.generation]:
            return Verdict.TAKE if head.status not in FINISHED else Verdict.STALE
        return judge(head, *rest)

    return mutated


def _blind_to_runs(tell: Any) -> Any:
    def mutated(self: Any, message: Any) -> None:
        if message.execution is not None:
            message.execution, message.generation = self.head.execution, self.head.generation
        tell(self, message)

    return mutated


def _below_high_water(turn_of: Any) -> Any:
    def mutated(self: Any, shard: int, turn: Any) -> Any:
        found = self._instances[shard].get(turn.id)
        there = list(found.mail) if found else []
        consumed = [place for place, key in enumerate(there) if key in turn.consumed]
        if consumed:
            turn.consumed = there[: max(consumed) + 1]
        if found and turn.expected is not None and not consumed and turn.segment:
            turn.consumed = [*turn.consumed, *there]
        return turn_of(self, shard, turn)

    return mutated


def _without_counting(plan: Any) -> Any:
    def mutated(draft: Any, event: Any, chance: float) -> None:
        plan(draft, event, chance)
        draft.changed = [msgspec.structs.replace(wait, attempt=1) for wait in draft.changed]

    return mutated


def _cancelling(close: Any) -> Any:
    def mutated(self: Any) -> None:
        if self._live is not None and not self._closed and not self._busy and self.head.status not in FINISHED:
            self.tell(Message(RunCancelRequested(at=self.head.updated), None, None, None))
        close(self)

    return mutated


def _letting_through(let: Any) -> Any:
    return lambda self, events: events


def _taking_silence_for(outcome: Outcome | None) -> Callable[[Any], Any]:
    """What a commit is taken for whose answer is lost; None: for one that has to be tried again."""

    def make(commit: Any) -> Any:
        async def mutated(self: Any, taken: Any) -> Any:
            while True:
                try:
                    outcomes = await self._store.commit([part.batch() for part in taken], self._clock.token())
                except StoreUnavailable:
                    if outcome is None:
                        continue
                    outcomes = [outcome] * sum(map(len, taken))
                return await self._settle(taken, outcomes)

        return mutated

    return make


def _without_recording(ask: Any) -> Any:
    def mutated(self: Any, name: str) -> Any:
        answer = ask(self, name)
        self._actions.pop(("patch", name), None)
        return answer

    return mutated


def _keeping_history(turn_of: Any) -> Any:
    def mutated(self: Any, shard: int, turn: Any) -> Any:
        turn.erase = False
        return turn_of(self, shard, turn)

    return mutated


def _finding_nothing(_: Any) -> Any:
    async def mutated(*args: Any) -> list[Any]:
        return []

    return mutated


def _recovering_blindly(_: Any) -> Any:
    return lambda self, id: None


def _impatient(_: Any) -> Any:
    async def mutated(undoing: Any) -> None:
        try:
            await asyncio.wait({undoing})
        except asyncio.CancelledError:
            undoing.cancel()
            await asyncio.wait({undoing})

    return mutated


def _accusing_last(_: Any) -> Any:
    async def mutated(self: Any, id: str) -> None:
        self._host.admit(id)
        self._host.visit(id, lambda actor: None)
        await self._comes_to_rest(id)
        await self._store.accuse(self._lease, id, 1)
        await self._store.acquit(self._lease, [id])

    return mutated


def _counting_no_deaths(_: Any) -> Any:
    def mutated(self: Any, id: int, shard: Any, at: int) -> None:
        shard.life = shard.epoch

    return mutated


def _taking_any_items(_: Any) -> Any:
    def mutated(self: Any, append: Any) -> Outcome:
        key = (append.generation, append.number)
        items = self.streams.setdefault(key, instance.Strand("?")).items
        items += [Item(len(items) + 1, value, append.attempt, append.at) for value in append.values]
        return Outcome.COMMITTED

    return mutated


def _yielding_from_the_start(_: Any) -> Any:
    async def mutated(self: Any) -> None:
        """What earlier attempts have yielded is not asked for."""

    return mutated


def _silent_about_ends(decide: Any) -> Any:
    return lambda before, turn, failure: [] if turn.head.status in FINISHED else decide(before, turn, failure)


def _forgetting_notices(take: Any) -> Any:
    return lambda self, shard, turn: take(self, shard, msgspec.structs.replace(turn, notices=()))


def _always(value: bool) -> Callable[[Any], Any]:
    return lambda _: lambda *args: value


MUTANTS = (
    Mutant("no fence", MemoryStore, "_write", _with_epoch_of_the_store, seed=16),
    Mutant("epochs that stand still", MemoryStore, "acquire", _with_epochs_that_stand_still),
    Mutant("activities started before the commit", Shard, "submit", _starting_first),
    Mutant("answered before the commit", Shard, "submit", _settling_first),
    Mutant("messages seen before taken again", accept, "judge", _forgetful, seed=5),
    Mutant("replies to closed waits taken", accept, "judge", _open_to_closed_waits),
    Mutant("run of a reply ignored", Instance, "tell", _blind_to_runs, seed=9),
    Mutant("mail deleted by a high-water mark", MemoryStore, "_turn", _below_high_water, seed=28),
    Mutant("retry count not durable", reports, "_plan_retry", _without_counting),
    Mutant("eviction cancels the code", Instance, "close", _cancelling),
    Mutant("suspension ignored", Instance, "_let_through", _letting_through),
    Mutant("silence taken for failure", Committer, "_commit", _taking_silence_for(None), seed=11),
    Mutant("silence taken for success", Committer, "_commit", _taking_silence_for(Outcome.COMMITTED)),
    Mutant("history not compared", runs, "compare", lambda _: lambda *args: None, seed=14),
    Mutant("patches not recorded", runs.Run, "patched", _without_recording),
    Mutant("history kept by continue-as-new", MemoryStore, "_turn", _keeping_history),
    Mutant("creation not idempotent", instance, "is_repetition", _always(False), seed=21),
    Mutant("timers forgotten by the next owner", MemoryStore, "due", _finding_nothing),
    Mutant("calls in flight not recovered", MemoryStore, "recover", _finding_nothing),
    Mutant("mail never polled", MemoryStore, "mail", _finding_nothing),
    Mutant("recovery from an old page", Shard, "_wakes", _recovering_blindly),
    Mutant("suspects accused when they have run", Lane, "_try", _accusing_last),
    Mutant("deaths not counted", MemoryStore, "_begin_life", _counting_no_deaths),
    Mutant("quarantined calls run when loaded", calls, "is_quarantined", _always(False), seed=7),
    Mutant("quarantined calls recovered", shards, "is_quarantined", _always(False), seed=7),
    Mutant("a full queue gives slots", Limiter, "_is_full", _always(False)),
    Mutant("a key has all slots", Limiter, "_has_room", _always(True)),
    Mutant("a rate never reached", Limiter, "_is_rated", _always(False)),
    Mutant("starts before the last owner's death not counted", MemoryStore, "permits", _finding_nothing, seed=7),
    Mutant("slots of calls not given back", Queues, "leave", lambda _: lambda self, address: None),
    Mutant("queues not recovered", MemoryStore, "queued", _finding_nothing, seed=7),
    Mutant("calls in queues run before they have a slot", Queues, "told", _always(True)),
    Mutant(
        "events of the last turn not carried over",
        runs.Run,
        "_continued",
        lambda _: lambda self: self._continuation,
        seed=12,
    ),
    Mutant("items taken from attempts that are over", instance.Instance, "append", _taking_any_items),
    Mutant("streams begun anew by each attempt", StreamOutlet, "begin", _yielding_from_the_start),
    Mutant("notices written apart from their turns, and lost", MemoryStore, "_turn", _forgetting_notices),
    Mutant("ends not told", shards, "notices_of", _silent_about_ends),
    Mutant("compensations cut short by a cancellation", saga, "_wait", _impatient, seed=9),
)


def seeds_to_kill(mutant: Mutant, run: Callable[[int], Report], seeds_max: int = SEEDS_MAX) -> int | None:
    """How many seeds it takes until the mutant is caught; None if it survives all."""
    with mutant.applied():
        for count, seed in enumerate((mutant.seed, *range(seeds_max)), 1):
            if run(seed).violations:
                return count
    return None
