"""Servers with one safeguard taken out each: what worlds of servers and workers must catch."""

from __future__ import annotations

from typing import Any

from perdure.actors.host import Host
from perdure.engine.instance import Instance
from perdure.engine.shard import Shard
from perdure.remote.dispatch import turn as turns
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.stream import WorkerStream
from perdure.stores.contract import IN_FLIGHT, Outcome
from perdure.stores.memory import MemoryStore
from perdure.testing.mutants import Mutant


def _finding_by_old_tokens(peek: Any) -> Any:
    """Who had a piece of work once may answer it for ever."""

    def mutated(self: Any, token: str) -> Any:
        known = self.__dict__.setdefault("_ever_out", {})
        for now, stream in self._out.items():
            known.setdefault(stream.in_flight[now].instance, []).append(now)
        for tokens in known.values():
            if token in tokens:
                out = next((now for now in tokens if now in self._out), None)
                return peek(self, out) if out is not None else None
        return peek(self, token)

    return mutated


def _without_leases(tick: Any) -> Any:
    def mutated(self: Any) -> None:
        for leased in self._leased.values():
            leased.clear()
        tick(self)

    return mutated


def _forgetting_work(disconnect: Any) -> Any:
    def mutated(self: Any, stream: Any) -> None:
        for work in list(stream.in_flight.values()):
            self._recall(work, stream)
        disconnect(self, stream)

    return mutated


def _leaving_calls_in_flight(report: Any) -> Any:
    """The end of an attempt is written as mail, and its call is still to be made."""

    def mutated(self: Any, shard: int, told: Any) -> Any:
        found = self._instances[shard].get(told.mail.instance)
        wait = found.waits.get(told.number) if found is not None else None
        outcome = report(self, shard, told)
        if outcome is Outcome.COMMITTED and found is not None:
            found.waits[told.number] = wait
        return outcome

    return mutated


def _taking_any_end(report: Any) -> Any:
    """A report is taken whichever attempt the call is at, and whether it is still open."""

    def mutated(self: Any, shard: int, told: Any) -> Any:
        found = self._instances[shard].get(told.mail.instance)
        wait = found.waits.get(told.number) if found is not None else None
        if wait is not None and wait.state in IN_FLIGHT and wait.attempt != told.attempt:
            told = told.__class__(told.number, wait.attempt, told.mail)
        return report(self, shard, told)

    return mutated


def _remembering_what_was_taken_back(_: Any) -> Any:
    def mutated(self: Any) -> None:
        self._mailbox.give_back()
        self._busy = False
        self._take_turn()

    return mutated


def _leaving_it_out(_: Any) -> Any:
    def mutated(self: Any, work: Any, *, tells: bool = False) -> None:
        """Nobody wants the answer, and the worker keeps the work."""

    return mutated


def _rousing_those_in_memory(_: Any) -> Any:
    def mutated(self: Any) -> None:
        for actor in list(self._actors.values()):
            actor.rouse()

    return mutated


def _taking_what_comes_first(_: Any) -> Any:
    return lambda self: False


def _last_part_only(_: Any) -> Any:
    return lambda chunks: chunks[-1]


def _with_all_the_room(_: Any) -> Any:
    return lambda self, kind: not self.is_closed


def _doing_nothing(_: Any) -> Any:
    return lambda self, *args: None


SERVER_MUTANTS = (
    Mutant("token of an answer not checked", Dispatcher, "peek", _finding_by_old_tokens),
    Mutant("a lease never runs out", Dispatcher, "tick", _without_leases, seed=8),
    Mutant("work of a worker that is gone forgotten", Dispatcher, "disconnect", _forgetting_work, seed=15),
    Mutant("work that nobody wants stays out", Dispatcher, "withdraw", _leaving_it_out),
    Mutant("a worker gets more than it has room for", WorkerStream, "has_room", _with_all_the_room),
    Mutant("the end of any attempt taken", MemoryStore, "_report", _taking_any_end),
    Mutant("answered calls run again after a crash", MemoryStore, "_report", _leaving_calls_in_flight),
    Mutant("what was taken back counts as seen", Instance, "_begin_again", _remembering_what_was_taken_back, seed=230),
    Mutant("nobody told that workers are there", Shard, "rouse", _doing_nothing),
    Mutant("only those in memory told that workers are there", Host, "rouse", _rousing_those_in_memory, seed=24),
    Mutant("events taken before the start", Instance, "_awaits_start", _taking_what_comes_first, seed=14),
    Mutant("an answer is its last part", turns, "whole", _last_part_only, seed=12),
)
