"""Spans from events alone: the same events give the same spans, wherever they are read."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.codec import encode
from perdure.history import traced
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Failure,
    Parent,
    RunStarted,
    TimerCancelled,
    TimerCreated,
    TurnStarted,
)
from perdure.history.options import Trace
from perdure.history.spans import Span, spans_of
from perdure.history.traced import History, TracedRun
from perdure.stores.contract import Head, Status
from perdure.telemetry.trace_context import TraceContext, call_span, creation_span, parse, run_span, trace_of

CALLER = TraceContext("a" * 32, "b" * 16, True)
STARTED = RunStarted(at=5, name="main", execution="e", trace=Trace(parent=CALLER.traceparent))
HEAD = Head("i", "shop", "main", Status.PENDING, "e", 1, 0, 5, 5)


def run_of(started: RunStarted = STARTED, status: str = "completed", generation: int = 1) -> TracedRun:
    started = replace(started, generation=generation)
    context = parse(traced.begun(started, replace(HEAD, generation=generation))[traced.TRACEPARENT])
    assert context is not None
    return TracedRun("shop", "i", "main", "e", generation, context, None, status, 100)


def read(*events: object, run: TracedRun | None = None, started: RunStarted = STARTED) -> dict[str, Span]:
    spans = spans_of(run or run_of(started), [TurnStarted(at=10), started, *events])
    assert len({span.context.span_id for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def test_ids_follow_from_what_a_span_is_of():
    found = read(ActivityScheduled(at=10, number=3, name="pack"), ActivityCompleted(at=20, number=3, started=12))
    start, ran, packed = found["create_orchestration||main"], found["orchestration||main"], found["activity||pack"]
    assert (start.parent, start.context.span_id, start.start, start.end) == (CALLER, creation_span("e"), 5, 10)
    assert (ran.parent, ran.context.span_id, ran.start, ran.end) == (start.context, run_span("e", 1), 10, 100)
    assert (packed.parent, packed.context.span_id) == (ran.context, call_span("e", 1, 3))
    assert (packed.start, packed.end) == (12, 20)
    assert {span.context.trace_id for span in found.values()} == {CALLER.trace_id}


def test_what_an_attempt_is_told_is_the_span_that_is_made_of_it():
    head = replace(HEAD, more=traced.begun(STARTED, HEAD))
    told = traced.call_trace(head, head.more, 3)
    found = read(ActivityScheduled(at=10, number=3, name="pack"), ActivityCompleted(at=20, number=3))
    assert told == Trace(parent=found["activity||pack"].context.traceparent)


def test_a_call_with_retries_lasts_from_when_it_was_asked_for():
    failure = Failure("ValueError", "no such luck")
    found = read(
        ActivityScheduled(at=10, number=3, name="pack"),
        ActivityFailed(at=40, number=3, failure=failure, attempt=2, started=30),
    )["activity||pack"]
    assert (found.start, found.end, found.error) == (10, 40, "ValueError: no such luck")
    assert (found.attributes["perdure.attempt"], [moment.at for moment in found.moments]) == (2, [30])


def test_what_a_run_leaves_open_ends_with_it():
    found = read(ActivityScheduled(at=10, number=3, name="pack"), run=run_of(status="terminated"))
    assert found["activity||pack"].end == 100
    assert found["activity||pack"].attributes["perdure.left_open"] is True


def test_a_timer_that_is_cancelled_says_so():
    timer = read(TimerCreated(at=10, number=3, due=2_000_000), TimerCancelled(at=20, number=3))["timer"]
    assert (timer.end, timer.attributes["perdure.cancelled"]) == (20, True)
    assert timer.attributes["durabletask.fire_at"] == "1970-01-01T00:00:02+00:00"


def test_a_child_is_part_of_its_parents_run_and_has_no_start_of_its_own():
    started = replace(STARTED, parent=Parent("p", "pe", 1, 4))
    found = read(started=started)
    assert list(found) == ["orchestration||main"]
    assert found["orchestration||main"].parent == CALLER


def test_a_run_that_begins_a_trace_has_no_parent():
    head, started = HEAD, replace(STARTED, trace=None)
    rooted = traced.rooted(started, head, lambda execution: Trace(parent=_root(execution)))
    found = read(started=rooted, run=run_of(rooted))
    assert list(found) == ["orchestration||main"]
    assert (found["orchestration||main"].parent, found["orchestration||main"].link) == (None, None)
    child = replace(started, parent=Parent("p", "pe", 1, 4))
    assert traced.rooted(child, head, lambda execution: Trace(parent=_root(execution))) is child
    assert traced.rooted(STARTED, head, lambda execution: Trace(parent=_root(execution))) is STARTED


def test_a_later_generation_is_a_trace_of_its_own_with_a_link():
    found = read(run=run_of(generation=2), started=replace(STARTED, generation=2))["orchestration||main"]
    assert (found.context.trace_id, found.parent, found.link) == (trace_of("e", 2), None, CALLER)


def test_no_payload_is_in_a_span():
    secret = encode("hunter2")
    spans = spans_of(
        run_of(),
        [
            TurnStarted(at=10),
            replace(STARTED, input=secret),
            ActivityScheduled(at=10, number=3, name="pack", input=secret),
            ActivityCompleted(at=20, number=3, result=secret),
        ],
    )
    assert "hunter2" not in repr(spans)


def test_a_history_is_kept_up_to_its_bound(monkeypatch):
    monkeypatch.setattr(traced, "SEGMENTS_MAX", 3)
    history = History([b"[]"])
    for _ in range(2):
        history.add(b"[]")
    assert history.is_whole
    history.add(b"[]")
    assert (len(history.segments), history.is_whole) == (3, False)
    run = replace(run_of(), is_whole=False)
    assert spans_of(run, [TurnStarted(at=10), STARTED])[1].attributes["perdure.truncated"] is True


def _root(execution: str) -> str:
    return TraceContext(trace_of(execution, 1), creation_span(execution), True).traceparent
