"""Every operation of the store in a canonical workflow, failed in every way: a proof by enumeration."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from perdure.history.events import TurnStarted, decode_segment
from perdure.testing.canonical import OF_ACTORS, OF_DATABASES, OF_TOPICS, ROLES, banked, definitions, subscribed
from perdure.testing.faults import Fault, Script
from perdure.testing.inspection import inspect
from perdure.testing.scenario import Report, Scenario
from perdure.testing.tape import Tape
from perdure.testing.world import World


@dataclass(frozen=True)
class Point:
    """One fault at one operation, counted from the start of the world."""

    workflow: str
    operation: int
    fault: Fault
    sqlite: bool = False
    quarantine_deaths: int | None = None

    def __str__(self) -> str:
        return f"{self.workflow}, operation {self.operation}, {self.fault}{', sqlite' if self.sqlite else ''}"


def world(workflow: str, plan: Script, **settings: Any) -> World:
    """`settings` are those of a `Scenario`."""
    if workflow in OF_TOPICS:  # whose partitions stay
        return World(Tape(0), Scenario((OF_TOPICS[workflow],), subscribed(), **settings), plan)
    if workflow in OF_ACTORS:  # whose actors stay
        return World(Tape(0), Scenario((OF_ACTORS[workflow],), banked(), **settings), plan)
    return World(Tape(0), Scenario(((ROLES | OF_DATABASES)[workflow],), definitions(), purges=True, **settings), plan)


def operations(workflow: str, **settings: Any) -> list[str]:
    """The operations of an undisturbed run, in order."""
    plan = Script({})
    report = world(workflow, plan, **settings).run(inspect)
    assert not report.violations, report.violations
    return plan.operations


def points(workflow: str, *, sqlite: bool = False, quarantine_deaths: int | None = None) -> list[Point]:
    """All faults at all operations."""
    count = len(operations(workflow, sqlite=sqlite, quarantine_deaths=quarantine_deaths))
    return [Point(workflow, number, fault, sqlite, quarantine_deaths) for number in range(count) for fault in Fault]


def run_point(point: Point) -> Report:
    plan = Script({point.operation: point.fault})
    return world(point.workflow, plan, sqlite=point.sqlite, quarantine_deaths=point.quarantine_deaths).run(inspect)


def run_pairs(workflow: str, seed: int, count: int) -> list[tuple[dict[int, Fault], Report]]:
    """`count` pairs of faults, the second during or after the recovery from the first."""
    chance = random.Random(seed)
    length = len(operations(workflow))
    found = []
    for _ in range(count):
        first = chance.randrange(length)
        faults = {
            first: chance.choice(list(Fault)),
            first + chance.randint(1, 15): chance.choice(list(Fault)),
        }
        found.append((faults, world(workflow, Script(faults)).run(inspect)))
    return found


def told(workflow: str, *, evicted: bool) -> tuple[list[tuple[Any, ...]], Counter[int], Report]:
    """What a run's histories hold apart from times and turns, its effects by mark, and the report."""
    made = world(workflow, Script({}, evictions=evicted), activations_max=1 if evicted else 2_000)
    report = made.run(inspect)
    stories = []
    for (instance, _, generation), record in made.witness.records.items():
        events = [event for _, segment in record.segments for event in decode_segment(segment)]
        story = [(type(e).__name__, getattr(e, "number", None)) for e in events if not isinstance(e, TurnStarted)]
        stories.append((instance, generation, tuple(story)))
    effects: Counter[int] = Counter()
    for (_, mark), count in made.ledger.begun_marks.items():
        effects[mark] += count
    return sorted(stories), effects, report
