"""The table of all metrics. What is scraped, the reference and the checks of dashboards and alerts are made from it.

Names that begin with `dapr_` are Dapr's, with its labels and units (milliseconds), so that its dashboards go on
working; the others are in seconds, as Prometheus recommends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from perdure.clock import SECOND
from perdure.remote.exposition.source import Source
from perdure.telemetry.metrics import NAMES_MAX, ByEnd, Histogram

MILLISECOND = 1_000

Labels = tuple[str, ...]
Value = float | Histogram


class Kind(StrEnum):
    """As Prometheus has them. UNTYPED are counters that have Dapr's names, because a counter's has to end in _total."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    UNTYPED = "unknown"


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `read` gives the values by their labels; those of a histogram are divided by `unit`."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    read: Callable[[Source], Iterable[tuple[Labels, Value]]]
    unit: int = 1

    @property
    def is_dapr(self) -> bool:
        return self.name.startswith("dapr_")

    @property
    def is_of_topics(self) -> bool:
        return "topic" in self.labels

    @property
    def all_labels(self) -> Labels:
        """Those that every sample has come first."""
        return ("app_id", "namespace", *self.labels) if self.is_dapr else ("app_id", *self.labels)


STATUSES = {"completed": "success"}
"""Final statuses in Dapr's words, where those are others."""


def _of(value: Callable[[Source], float]) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    """One value of the app."""
    return lambda source: iter([((), value(source))])


def _whole(value: Callable[[Source], Histogram]) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    return lambda source: iter([((), value(source))])


def _ends(groups: Mapping[str, ByEnd], *, count: bool) -> Iterator[tuple[Labels, Value]]:
    for name, spans in list(groups.items()):
        for end, histogram in list(spans.ends.items()):
            yield (name, STATUSES.get(end, end)), histogram.count if count else histogram


def _workflow_ends(source: Source, *, count: bool) -> Iterator[tuple[Labels, Value]]:
    return _ends({name: each.spans for name, each in list(source.metrics.workflows.items())}, count=count)


def _executions(source: Source) -> Iterator[tuple[Labels, Value]]:
    yield from _workflow_ends(source, count=True)
    for name, each in list(source.metrics.workflows.items()):
        if each.stalls:
            yield (name, "recoverable"), each.stalls.total()


def _activity_ends(source: Source, *, count: bool) -> Iterator[tuple[Labels, Value]]:
    return _ends({name: each.spans for name, each in list(source.metrics.activities.items())}, count=count)


def _per_workflow(field: str) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    """A field of WorkflowMetrics, by name."""

    def read(source: Source) -> Iterator[tuple[Labels, Value]]:
        for name, each in list(source.metrics.workflows.items()):
            yield (name,), getattr(each, field)

    return read


def _per_activity(field: str) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    def read(source: Source) -> Iterator[tuple[Labels, Value]]:
        for name, each in list(source.metrics.activities.items()):
            yield (name,), getattr(each, field)

    return read


def _started(source: Source) -> Iterator[tuple[Labels, Value]]:
    for name, each in list(source.metrics.workflows.items()):
        yield (name,), each.delay.count


def _stalls(source: Source) -> Iterator[tuple[Labels, Value]]:
    for name, each in list(source.metrics.workflows.items()):
        for reason, count in list(each.stalls.items()):
            yield (name, reason), count


def _commits(source: Source) -> Iterator[tuple[Labels, Value]]:
    for end, histogram in list(source.metrics.commits.ends.items()):
        yield (end,), histogram


def _leases(source: Source) -> Iterator[tuple[Labels, Value]]:
    for change in ("acquired", "handed over", "lost"):
        yield (change.replace(" ", "_"),), source.metrics.leases[change]


def _dropped(source: Source) -> Iterator[tuple[Labels, Value]]:
    for why, count in list(source.metrics.dropped.items()):
        yield (why,), count


def _load(field: str) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    """A field of Load, if the store has answered."""

    def read(source: Source) -> Iterator[tuple[Labels, Value]]:
        if source.load is not None:
            yield (), getattr(source.load, field)

    return read


def _waiting(source: Source) -> Iterator[tuple[Labels, Value]]:
    load = source.load
    if load is not None:
        yield ("turn",), load.ready
        yield ("slot_of_any_node",), load.offered
        yield ("activity_claimed",), load.claimed
        yield ("activity_or_queue",), load.calls
        yield ("worker",), load.in_line


def _in_memory(source: Source) -> Iterator[tuple[Labels, Value]]:
    for reason, count in source.vitals.waiting.items():
        yield (reason,), count


def _published(source: Source) -> Iterator[tuple[Labels, Value]]:
    for name, each in list(source.metrics.topics.items()):
        yield (name,), each.published


def _per_group(field: str) -> Callable[[Source], Iterator[tuple[Labels, Value]]]:
    """A field of TopicMetrics, by topic and group."""

    def read(source: Source) -> Iterator[tuple[Labels, Value]]:
        for name, each in list(source.metrics.topics.items()):
            for group, count in list(getattr(each, field).items()):
                yield (name, group), count

    return read


def _left(source: Source) -> Iterator[tuple[Labels, Value]]:
    for topic in source.topics[:NAMES_MAX]:
        if not topic.groups:
            yield (topic.name, ""), topic.published
        for group in topic.groups:
            yield (topic.name, group.name), group.left


def _oldest(source: Source) -> Iterator[tuple[Labels, Value]]:
    now = datetime.now(UTC)
    for topic in source.topics[:NAMES_MAX]:
        for group in topic.groups:
            age = max((now - group.oldest).total_seconds(), 0.0) if group.oldest is not None else 0.0
            yield (topic.name, group.name), age


def _workers(source: Source) -> Iterator[tuple[Labels, Value]]:
    if source.workers is not None:
        yield (), source.workers


_WORKFLOW = ("workflow_name",)
_ACTIVITY = ("activity_name",)
_STATUS = ("status",)
_GROUP = ("topic", "group")

FAMILIES: tuple[Family, ...] = (
    # -- Dapr's ---------------------------------------------------------------------------------------------------
    Family(
        name="dapr_runtime_workflow_operation_count",
        kind=Kind.UNTYPED,
        help="What clients have asked for: create_workflow, get_workflow, add_event, purge_workflow and others.",
        labels=("operation", *_STATUS),
        read=lambda source: _ends(source.metrics.operations, count=True),
    ),
    Family(
        name="dapr_runtime_workflow_operation_latency",
        kind=Kind.HISTOGRAM,
        help="Until they had an answer, in milliseconds.",
        labels=("operation", *_STATUS),
        read=lambda source: _ends(source.metrics.operations, count=False),
        unit=MILLISECOND,
    ),
    Family(
        name="dapr_runtime_workflow_execution_count",
        kind=Kind.UNTYPED,
        help="Workflows that have ended: success, failed, terminated, canceled; and stalls (recoverable).",
        labels=(*_WORKFLOW, *_STATUS),
        read=_executions,
    ),
    Family(
        name="dapr_runtime_workflow_execution_latency",
        kind=Kind.HISTOGRAM,
        help="From the creation of a workflow to its end, in milliseconds.",
        labels=(*_WORKFLOW, *_STATUS),
        read=lambda source: _workflow_ends(source, count=False),
        unit=MILLISECOND,
    ),
    Family(
        name="dapr_runtime_workflow_scheduling_latency",
        kind=Kind.HISTOGRAM,
        help="From the creation of a workflow, or its due start, to its first turn, in milliseconds.",
        labels=_WORKFLOW,
        read=_per_workflow("delay"),
        unit=MILLISECOND,
    ),
    Family(
        name="dapr_runtime_workflow_activity_execution_count",
        kind=Kind.UNTYPED,
        help="Attempts of activities that have ended here: success, failed, cancelled, blocked (no code could run it).",
        labels=(*_ACTIVITY, *_STATUS),
        read=lambda source: _activity_ends(source, count=True),
    ),
    Family(
        name="dapr_runtime_workflow_activity_execution_latency",
        kind=Kind.HISTOGRAM,
        help="From the beginning of an attempt to its end, in milliseconds.",
        labels=(*_ACTIVITY, *_STATUS),
        read=lambda source: _activity_ends(source, count=False),
        unit=MILLISECOND,
    ),
    # -- workflows ------------------------------------------------------------------------------------------------
    Family(
        name="perdure_workflows_started",
        kind=Kind.COUNTER,
        help="Workflows whose first turn is durable.",
        labels=_WORKFLOW,
        read=_started,
    ),
    Family(
        name="perdure_workflows_continued",
        kind=Kind.COUNTER,
        help="Generations that were begun by continue_as_new.",
        labels=_WORKFLOW,
        read=_per_workflow("continued"),
    ),
    Family(
        name="perdure_workflow_turn_seconds",
        kind=Kind.HISTOGRAM,
        help="From when a turn is taken until it is durable.",
        labels=_WORKFLOW,
        read=_per_workflow("turns"),
        unit=SECOND,
    ),
    Family(
        name="perdure_workflow_history_events",
        kind=Kind.HISTOGRAM,
        help="Events of a history when its generation ended.",
        labels=_WORKFLOW,
        read=_per_workflow("lengths"),
    ),
    Family(
        name="perdure_workflow_stalls",
        kind=Kind.COUNTER,
        help="Times that a workflow stood still because its code could not take a turn, by reason.",
        labels=(*_WORKFLOW, "reason"),
        read=_stalls,
    ),
    Family(
        name="perdure_workflow_replays",
        kind=Kind.COUNTER,
        help="Times that the code of a run came back into memory by a replay of its history.",
        labels=_WORKFLOW,
        read=_per_workflow("replays"),
    ),
    Family(
        name="perdure_workflow_cache_hits",
        kind=Kind.COUNTER,
        help="Turns that found the code of their run in memory, or needed none; others began or replayed it.",
        labels=_WORKFLOW,
        read=_per_workflow("warm"),
    ),
    Family(
        name="perdure_timer_lateness_seconds",
        kind=Kind.HISTOGRAM,
        help="By how much timers fired after they were due.",
        read=_whole(lambda source: source.metrics.lateness),
        unit=SECOND,
    ),
    Family(
        name="perdure_messages_dropped",
        kind=Kind.COUNTER,
        help="Messages to runs that came to nothing, and turns that the store refused, by reason.",
        labels=("reason",),
        read=_dropped,
    ),
    # -- activities -----------------------------------------------------------------------------------------------
    Family(
        name="perdure_activity_schedule_to_start_seconds",
        kind=Kind.HISTOGRAM,
        help="From when an attempt was due until it had a slot.",
        labels=_ACTIVITY,
        read=_per_activity("delay"),
        unit=SECOND,
    ),
    Family(
        name="perdure_activity_retries",
        kind=Kind.COUNTER,
        help="Attempts after the first one.",
        labels=_ACTIVITY,
        read=_per_activity("retries"),
    ),
    Family(
        name="perdure_slots",
        kind=Kind.GAUGE,
        help="Attempts that this node runs at once.",
        read=_of(lambda source: source.vitals.slots),
    ),
    Family(
        name="perdure_slots_busy",
        kind=Kind.GAUGE,
        help="Attempts that it runs now.",
        read=_of(lambda source: source.vitals.busy),
    ),
    Family(
        name="perdure_slots_line",
        kind=Kind.GAUGE,
        help="Attempts that wait in its memory for a slot.",
        read=_of(lambda source: source.vitals.in_line),
    ),
    # -- topics ---------------------------------------------------------------------------------------------------
    Family(
        name="perdure_topic_published",
        kind=Kind.COUNTER,
        help="Messages that this node has put into its partitions of a topic.",
        labels=("topic",),
        read=_published,
    ),
    Family(
        name="perdure_topic_delivered",
        kind=Kind.COUNTER,
        help="Messages of its partitions that a group has done.",
        labels=_GROUP,
        read=_per_group("delivered"),
    ),
    Family(
        name="perdure_topic_failed",
        kind=Kind.COUNTER,
        help="Attempts to handle a message that have failed, so that it comes again.",
        labels=_GROUP,
        read=_per_group("failed"),
    ),
    Family(
        name="perdure_topic_dead",
        kind=Kind.COUNTER,
        help="Messages that a group has given up: dead letters, or dropped.",
        labels=_GROUP,
        read=_per_group("dead"),
    ),
    # -- the store ------------------------------------------------------------------------------------------------
    Family(
        name="perdure_commit_seconds",
        kind=Kind.HISTOGRAM,
        help="How long the store took for a transaction, by whether it was written.",
        labels=_STATUS,
        read=_commits,
        unit=SECOND,
    ),
    Family(
        name="perdure_commit_turns",
        kind=Kind.HISTOGRAM,
        help="Turns that shared a transaction.",
        read=_whole(lambda source: source.metrics.sizes),
    ),
    Family(
        name="perdure_stream_items",
        kind=Kind.COUNTER,
        help="Items that activities have yielded and the store has taken.",
        read=_of(lambda source: source.metrics.items),
    ),
    # -- the node -------------------------------------------------------------------------------------------------
    Family(
        name="perdure_shards",
        kind=Kind.GAUGE,
        help="Shards of the app that this node owns; 0 on a standby.",
        read=_of(lambda source: source.vitals.shards),
    ),
    Family(
        name="perdure_lease_changes",
        kind=Kind.COUNTER,
        help="Leases of shards that this node has acquired, handed over, or lost.",
        labels=("change",),
        read=_leases,
    ),
    Family(
        name="perdure_activations",
        kind=Kind.GAUGE,
        help="Instances in memory.",
        read=_of(lambda source: source.vitals.activations),
    ),
    Family(
        name="perdure_activations_max",
        kind=Kind.GAUGE,
        help="How many there may be before idle ones leave.",
        read=_of(lambda source: source.vitals.activations_max),
    ),
    Family(
        name="perdure_activations_waiting",
        kind=Kind.GAUGE,
        help="Unfinished workflows in memory, by what they wait for; one that waits for several counts for each.",
        labels=("reason",),
        read=_in_memory,
    ),
    Family(
        name="perdure_evictions",
        kind=Kind.COUNTER,
        help="Instances that have left memory to make room, from shards that are owned now.",
        read=_of(lambda source: source.vitals.evictions),
    ),
    Family(
        name="perdure_workers_connected",
        kind=Kind.GAUGE,
        help="Remote workers of the app that are connected to this server.",
        read=_workers,
    ),
    # -- the app, the same on each of its nodes: take the max, not the sum -------------------------------------------
    Family(
        name="perdure_workflows_unfinished",
        kind=Kind.GAUGE,
        help="Workflows of the app that have not ended, as the store has it. The same on every node.",
        read=_load("unfinished"),
    ),
    Family(
        name="perdure_waiting",
        kind=Kind.GAUGE,
        help="What there is to do for the app, by what it waits for. The same on every node.",
        labels=("reason",),
        read=_waiting,
    ),
    Family(
        name="perdure_backlog",
        kind=Kind.GAUGE,
        help="Of that, what nobody does yet. The same on every node.",
        read=_load("waiting"),
    ),
    Family(
        name="perdure_backlog_age_seconds",
        kind=Kind.GAUGE,
        help="Age of what waits longest, 0 if nothing does. The same on every node.",
        read=_load("oldest_seconds"),
    ),
    Family(
        name="perdure_topic_left",
        kind=Kind.GAUGE,
        help="Messages that a group has not done; without a group all, if none subscribes. The same on every node.",
        labels=_GROUP,
        read=_left,
    ),
    Family(
        name="perdure_topic_oldest_seconds",
        kind=Kind.GAUGE,
        help="Age of the oldest message that a group has not done, 0 if there is none. The same on every node.",
        labels=_GROUP,
        read=_oldest,
    ),
    Family(
        name="perdure_nodes",
        kind=Kind.GAUGE,
        help="Nodes that have the app's code. The same on every node; 0 where the store has one owner.",
        read=_load("nodes"),
    ),
)


def sample_names(family: Family) -> tuple[str, ...]:
    """The names that its samples have in the text."""
    if family.kind is Kind.HISTOGRAM:
        return tuple(family.name + suffix for suffix in ("_bucket", "_count", "_sum"))
    return (family.name + "_total",) if family.kind is Kind.COUNTER else (family.name,)
