"""Programs that workflows perform: trees of steps drawn from a seed, with a result known beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeAlias

import msgspec


class How(StrEnum):
    """What an activity does before it returns its mark, or instead."""

    OK = "ok"
    SLOW = "slow"
    THREAD = "thread"
    FLAKY = "flaky"
    BEATS = "beats"
    FAILS = "fails"
    OVERDUE = "overdue"
    SILENT = "silent"
    YIELDS = "yields"
    DRAWS = "draws"


FAILING = frozenset((How.FAILS, How.OVERDUE, How.SILENT))
YIELDING = frozenset((How.YIELDS, How.DRAWS))
YIELDED = 5
"""Items of each stream."""
ATTEMPTS_MAX = {How.FLAKY: 4, How.BEATS: 2, How.FAILS: 2, How.OVERDUE: 2, How.YIELDS: 3}
"""Attempts that the policy of each allows; 1 where nothing is said."""


class Node(msgspec.Struct, frozen=True, tag=True):
    """One step of a program; every step has an integer result."""


class Effect(Node, frozen=True):
    """An activity. One that fails is caught and gives its mark negated."""

    mark: int
    how: How = How.OK


class Sleep(Node, frozen=True):
    seconds: float


class Event(Node, frozen=True):
    """Wait for an event that a client raises with `value`."""

    name: str
    value: int


class Missed(Node, frozen=True):
    """Wait for an event that nobody raises, `seconds` long."""

    name: str
    seconds: float


class Sent(Node, frozen=True):
    """Raise an event on oneself, then take it."""

    name: str
    value: int


class Rolled(Node, frozen=True):
    """As many effects as the workflow's own random numbers say, at most three."""

    mark: int


class Child(Node, frozen=True):
    """`body` in a child workflow; a detached one is not waited for and counts nothing. One that fails is caught."""

    mark: int
    body: Step
    detached: bool = False
    fails: bool = False


class Chain(Node, frozen=True):
    parts: list[Step]


class Together(Node, frozen=True):
    """All parts at once; `way` is gather, group (TaskGroup) or wait."""

    way: str
    parts: list[Step]


class Quickest(Node, frozen=True):
    """The first of a quick part and one that hangs, which is then cancelled."""

    quick: Step
    mark: int


class Broken(Node, frozen=True):
    """A TaskGroup of which one member fails, so that the others are cancelled."""

    mark: int


class InTime(Node, frozen=True):
    """`body` under a timeout that is far away."""

    body: Step


class Overdue(Node, frozen=True):
    """An activity that hangs, under a timeout that comes."""

    mark: int


class Compensated(Node, frozen=True):
    """`enter`, then `body`, then `undo` whatever happens; `way` is saga or finally.

    A saga is not cut short by a cancellation that arrives while it undoes; what `finally` awaits is, in all of asyncio.
    """

    way: str
    enter: int
    body: Step
    undo: int


Step: TypeAlias = (
    Effect
    | Sleep
    | Event
    | Missed
    | Sent
    | Rolled
    | Child
    | Chain
    | Together
    | Quickest
    | Broken
    | InTime
    | Overdue
    | Compensated
)


class Program(msgspec.Struct, frozen=True):
    """What one instance does: `rounds` times `body`, each round a generation of its own; then it may fail."""

    body: Step
    rounds: int = 1
    fails: bool = False


def expected(step: Step) -> int:
    """The result of a step, whatever happens to the engine meanwhile."""
    match step:
        case Effect(mark=mark, how=how):
            return -mark if how in FAILING else mark
        case Sleep():
            return 1
        case Event(value=value) | Sent(value=value):
            return value
        case Missed() | Overdue():
            return -3
        case Rolled():
            return 5
        case Child(mark=mark, body=body, detached=detached, fails=fails):
            return 0 if detached else -mark if fails else expected(body) + 1
        case Chain(parts=parts):
            return sum(expected(part) for part in parts)
        case Together(parts=parts):
            return sum((place + 1) * expected(part) for place, part in enumerate(parts))
        case Quickest(quick=body) | InTime(body=body):
            return expected(body)
        case Broken():
            return -7
        case Compensated(body=body):
            return expected(body)


def outcome(program: Program) -> int:
    return program.rounds * expected(program.body)


def steps(step: Step) -> Iterator[Step]:
    """The step and all within it."""
    yield step
    for field in ("body", "quick"):
        inner = getattr(step, field, None)
        if inner is not None:
            yield from steps(inner)
    for part in getattr(step, "parts", ()):
        yield from steps(part)


class Author:
    """Writes programs by chance, of activities as in `hows` and of steps but those in `without`."""

    def __init__(
        self, chance: random.Random, hows: tuple[How, ...] = tuple(How), without: tuple[type[Node], ...] = ()
    ) -> None:
        self._chance = chance
        self._hows = hows
        self._without = without
        self._mark = 0
        self._left = 0

    def program(self) -> Program:
        self._left = self._chance.choice((3, 6, 10, 14))
        rounds = self._chance.choice((1, 1, 1, 2, 3))
        return Program(self._chain(0, events=True), rounds, self._chance.random() < 0.08)

    def _next(self) -> int:
        self._mark += 1
        return self._mark

    def _chain(self, depth: int, events: bool) -> Step:
        parts = [self._step(depth + 1, events) for _ in range(self._chance.randint(1, 4))]
        return parts[0] if len(parts) == 1 else Chain(parts)

    def _step(self, depth: int, events: bool) -> Step:
        self._left -= 1
        chance = self._chance
        simple = depth >= 4 or self._left <= 0 or chance.random() < 0.5
        step = self._leaf(events) if simple else self._branch(depth, events)
        return Effect(self._next(), chance.choice(self._hows)) if isinstance(step, self._without) else step

    def _leaf(self, events: bool) -> Step:
        chance = self._chance
        match chance.randrange(12):
            case 0:
                return Sleep(chance.choice((0.0, 0.01, 0.5, 3.0)))
            case 1 | 2 if events:
                mark = self._next()
                return Event(f"Event-{mark}", mark)
            case 3:
                return Missed(f"missed-{self._next()}", chance.choice((0.05, 1.0)))
            case 4:
                mark = self._next()
                return Sent(f"sent-{mark}", mark)
            case 5:
                return Rolled(self._next())
            case 6:
                return Overdue(self._next())
            case 7:
                return Broken(self._next())
            case _:
                return Effect(self._next(), chance.choice(self._hows))

    def _branch(self, depth: int, events: bool) -> Step:
        chance = self._chance
        match chance.randrange(7):
            case 0:
                body = self._chain(depth + 1, events=False)
                return Child(self._next(), body, chance.random() < 0.3, chance.random() < 0.2)
            case 1 | 2 | 3:
                way = chance.choice(("gather", "group", "wait"))
                return Together(way, [self._chain(depth + 1, events) for _ in range(chance.randint(2, 4))])
            case 4:
                return Quickest(self._chain(depth + 1, events), self._next())
            case 5:
                return InTime(self._chain(depth + 1, events))
            case _:
                body = Chain([Effect(self._next()), self._chain(depth + 1, events)])
                return Compensated(chance.choice(("saga", "finally")), self._next(), body, self._next())
