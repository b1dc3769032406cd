"""What one node counts of the work of one app: plain numbers, written where things happen and read at a scrape.

Durations are microseconds, as everywhere. Counters begin at 0 with the process and only grow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Protocol, TypeVar

from perdure.clock import SECOND

NAMES_MAX = 200
"""Names of workflows, and of activities, that are counted by themselves; what comes later is counted as OTHER, so that
names which somebody makes up do not fill the memory of who keeps the metrics."""
OTHER = "other"
CREATE = "create_workflow"
"""The operation that starts a workflow."""
ASIDE_MAX = 4_096
"""Values that are put aside before they are counted; of a histogram that is observed, and of all others together for
each thing that a commit or a claim brings."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
"""Upper bounds of what takes anything from a moment to days."""
SHORT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Upper bounds of what is over in a moment, unless something is wrong."""
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
LENGTHS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 1_000_000)

T = TypeVar("T")


def _micros(seconds: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(round(bound * SECOND) for bound in seconds)


LONG, SHORT = _micros(SECONDS), _micros(SHORT_SECONDS)


class Appended(Protocol):
    """What a commit adds to a stream."""

    @property
    def values(self) -> Sized: ...


class Written(Protocol):
    """What a commit writes of one shard."""

    @property
    def turns(self) -> Sized: ...
    @property
    def appends(self) -> Iterable[Appended]: ...


class Histogram:
    """How often a value was at most each of `bounds`, by the interval; the last of the counts is of what is beyond.

    `add` puts a value aside, which costs next to nothing; `fold` counts what was put aside. Who adds sees to it that
    `Metrics.added` hears of it; `observe` folds by itself. A value below 0 is 0, because a clock may be set back.
    """

    __slots__ = ("_aside", "_counts", "_total", "add", "bounds")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0
        self._aside: list[int] = []
        self.add = self._aside.append

    def observe(self, value: int) -> None:
        """Count a value, where nobody tells `Metrics.added`."""
        self.add(value)
        if len(self._aside) >= ASIDE_MAX:
            self.fold()

    def fold(self) -> None:
        aside = self._aside
        if not aside:
            return
        aside.sort()
        before = 0
        for place, bound in enumerate(self.bounds):
            upto = bisect_right(aside, bound, before)
            self._counts[place] += upto - before
            before = upto
        self._counts[-1] += len(aside) - before
        self._total += sum(aside[bisect_right(aside, 0) :])
        aside.clear()

    @property
    def counts(self) -> list[int]:
        self.fold()
        return self._counts

    @property
    def total(self) -> int:
        """The sum of the values."""
        self.fold()
        return self._total

    @property
    def count(self) -> int:
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}>"


class ByEnd:
    """How long things took, by how they ended."""

    __slots__ = ("_bounds", "ends")

    def __init__(self, bounds: tuple[int, ...] = LONG) -> None:
        self.ends: dict[str, Histogram] = {}
        self._bounds = bounds

    def of(self, end: str) -> Histogram:
        found = self.ends.get(end)
        return found if found is not None else self.ends.setdefault(end, Histogram(self._bounds))

    def __repr__(self) -> str:
        return f"<ByEnd {self.ends!r}>"


class WorkflowMetrics:
    """Of the workflows of one name.

    `delay` is from when a run was asked for, or due, to its first turn; `spans` from creation to end, by final status,
    of which `completed` is at hand; `turns` from when a turn is taken until it is durable; `lengths` are the events of
    histories that have ended.
    """

    __slots__ = ("_warm", "completed", "continued", "delay", "lengths", "node", "replays", "spans", "stalls", "turns")

    def __init__(self, node: Metrics) -> None:
        self.node = node
        self.delay = Histogram(LONG)
        self.spans = ByEnd()
        self.completed = self.spans.of("completed")
        self.turns = Histogram(LONG)
        self.lengths = Histogram(LENGTHS)
        self.continued = 0
        self.replays = 0
        self._warm = 0
        self.stalls: Counter[str] = Counter()

    @property
    def warm(self) -> int:
        """Turns that found the code of their run in memory, or needed none."""
        # never less than before, because a replay is counted when it begins and its turn when it is durable
        self._warm = max(self._warm, self.turns.count - self.delay.count - self.continued - self.replays)
        return self._warm


class ActivityMetrics:
    """Of the activities of one name: `delay` from when an attempt was due until it began, `spans` of its running, of
    which those that went well are at hand."""

    __slots__ = ("delay", "retries", "spans", "success")

    def __init__(self) -> None:
        self.delay = Histogram(LONG)
        self.spans = ByEnd()
        self.success = self.spans.of("success")
        self.retries = 0


class TopicMetrics:
    """Of the topics of one name: messages that were appended, and by group those that were done, attempts that failed
    and come again, and messages that were given up."""

    __slots__ = ("dead", "delivered", "failed", "published")

    def __init__(self) -> None:
        self.published = 0
        self.delivered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()

    def add(self, more: TopicMetrics) -> None:
        """Count what a turn has brought, now that it is durable."""
        self.published += more.published
        self.delivered += more.delivered
        self.failed += more.failed
        self.dead += more.dead


class Metrics:
    """Of one app on this node.

    `lateness` is by how much timers fired after they were due; `commits` how long the store took for a transaction and
    `sizes` how many turns it held; `dropped` are messages and turns that came to nothing, by why.
    """

    def __init__(self) -> None:
        self.workflows: dict[str, WorkflowMetrics] = {}
        self.activities: dict[str, ActivityMetrics] = {}
        self.topics: dict[str, TopicMetrics] = {}
        self.operations: dict[str, ByEnd] = {}
        self.created = self.operations.setdefault(CREATE, ByEnd()).of("success")
        self.lateness = Histogram(LONG)
        self.commits = ByEnd(SHORT)
        self._commits = self.commits.of("success")
        self.sizes = Histogram(SIZES)
        self.items = 0
        self.leases: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.now = 0
        self._left = ASIDE_MAX

    def workflow(self, name: str) -> WorkflowMetrics:
        """To be asked for once, by whoever will count."""
        return self.workflows.get(name) or _of(self.workflows, name, lambda: WorkflowMetrics(self))

    def activity(self, name: str) -> ActivityMetrics:
        """Likewise."""
        return self.activities.get(name) or _of(self.activities, name, ActivityMetrics)

    def topic(self, name: str) -> TopicMetrics:
        """Likewise."""
        return self.topics.get(name) or _of(self.topics, name, TopicMetrics)

    def committed(self, now: int, micros: int, batches: Sequence[Written]) -> None:
        """A transaction has ended; what it brought is measured by `now`, because to ask the clock each time is dear."""
        turns = 0
        for batch in batches:
            turns += len(batch.turns)
            for append in batch.appends:
                self.items += len(append.values)
        self.now = now
        self._commits.add(micros)
        self.sizes.add(turns)
        self.added(turns + 1)

    def added(self, count: int) -> None:
        """So many things have happened, or will at once, whose values are put aside."""
        self._left -= count
        if self._left <= 0:
            self._left = ASIDE_MAX
            self.fold()

    def fold(self) -> None:
        """Count what was put aside."""
        for histogram in (self.lateness, self.created, self.sizes, self._commits):
            histogram.fold()
        for workflow in self.workflows.values():
            for histogram in (workflow.delay, workflow.turns, workflow.lengths, *workflow.spans.ends.values()):
                histogram.fold()
        for activity in self.activities.values():
            for histogram in (activity.delay, *activity.spans.ends.values()):
                histogram.fold()

    def operation(self, name: str, end: str, micros: int) -> None:
        """Somebody asked for something, and has an answer. The names are the engine's own, so they are few."""
        spans = self.operations.get(name)
        if spans is None:
            spans = self.operations[name] = ByEnd()
        spans.of(end).observe(micros)

    def __repr__(self) -> str:
        return f"<Metrics of {len(self.workflows)} workflows, {len(self.activities)} activities>"


def _of(known: dict[str, T], name: str, make: Callable[[], T]) -> T:
    """What counts for a name that was not met before."""
    if len(known) >= NAMES_MAX:
        name = OTHER
    return known.setdefault(name, known.get(name) or make())
