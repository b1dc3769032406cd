"""What a durable turn adds to the metrics of its workflow."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.history.actions import START_WAIT
from perdure.stores.contract import Head, Status, Turn, Wait
from perdure.telemetry.metrics import WorkflowMetrics


def count_turn(
    metrics: WorkflowMetrics, turn: Turn, head: Head, waits: Mapping[int, Wait], at: int, events: int
) -> None:
    """`head` and `waits` are those before the turn, which began at `at`; `events` is how many history has with it."""
    taken = metrics.node.now - at
    metrics.turns.add(taken)
    new = turn.head
    if new is None or head.finished is not None:
        return  # because the run neither begins nor ends with it
    if turn.expected is None:
        metrics.node.created.add(taken)  # because who asked for it hears of it now
    if head.status == Status.PENDING and new.status != Status.PENDING:
        asked = waits.get(START_WAIT)
        metrics.delay.add(at - (head.created if asked is None else max(head.created, asked.due or 0)))
    if new.finished is not None:
        metrics.lengths.add(events)
        spans = metrics.completed if new.status == Status.COMPLETED else metrics.spans.of(new.status)
        spans.add(new.finished - head.created)
    elif turn.erase:
        metrics.lengths.add(events)
        metrics.continued += 1
