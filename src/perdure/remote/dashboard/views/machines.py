"""Nodes and queues as rows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.clock import to_microseconds
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.remote.dashboard.views import moments


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `full` is the percentage of its slots that are busy; `busy` None: it does not tell."""

    owner: str
    where: str
    version: str
    up: str
    beat: str
    shards: str
    shard_count: int
    slots: int
    busy: int | None
    full: float
    has_code: bool
    workflows: list[str]
    activities: list[str]
    doors: list[str]
    unnamed: int


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue."""

    name: str
    waiting: int
    running: int
    oldest: str
    limits: str


def machine_of(node: NodeState, now: int) -> Machine:
    return Machine(
        owner=node.owner,
        where=f"{node.host}, process {node.pid}" if node.host else "",
        version=node.version,
        up=moments.span(now - to_microseconds(node.started)) if node.started is not None else "",
        beat=moments.ago(to_microseconds(node.beat), now) if node.beat is not None else "holds the lock",
        shards=ranges(node.shards),
        shard_count=len(node.shards),
        slots=node.slots,
        busy=node.busy if node.beat is not None else None,
        full=min(node.busy * 100 / node.slots, 100.0) if node.slots else 0.0,
        has_code=node.has_code,
        workflows=node.workflows,
        activities=node.activities,
        doors=node.doors,
        unnamed=node.unnamed,
    )


def queue_of(queue: QueueState, now: int) -> QueueRow:
    return QueueRow(
        name=queue.name,
        waiting=queue.waiting,
        running=queue.running,
        oldest=moments.span(now - to_microseconds(queue.oldest)) if queue.oldest is not None else "",
        limits=queue.limits,
    )


def ranges(numbers: Sequence[int]) -> str:
    """Numbers with runs of neighbours told by their ends: `0-3, 7`."""
    told: list[str] = []
    ordered = sorted(set(numbers))
    begin = 0
    for place, number in enumerate(ordered):
        if place + 1 == len(ordered) or ordered[place + 1] != number + 1:
            first = ordered[begin]
            told.append(str(first) if first == number else f"{first}-{number}")
            begin = place + 1
    return ", ".join(told)
