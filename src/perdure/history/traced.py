"""What a run tells of its trace to those that it calls. A run that was given none tells nothing, and costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from perdure.history.events import RunStarted
from perdure.history.options import Trace
from perdure.stores.contract import Head, Turn
from perdure.telemetry.trace_context import TraceContext, call_span, parse, run_span, trace_of

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
"""Where a head keeps the span of its run, as W3C writes it."""


SEGMENTS_MAX = 10_000
"""Segments of a traced run that are kept in memory for its spans."""
WORKFLOW = "workflow"
"""The kind of instances that are traced."""
CONTINUED = "continued"
"""How a run has ended whose next generation begins."""


class TracedRun(msgspec.Struct, frozen=True, gc=False):
    """A run that has ended, with what its spans tell. `status` is a final one, or `continued`; times in microseconds.

    `is_whole` tells whether the history that comes with it is all there was.
    """

    app: str
    instance: str
    name: str
    execution: str
    generation: int
    context: TraceContext
    state: str | None
    status: str
    ended: int
    is_whole: bool = True


def rooted(started: RunStarted, head: Head, begin: Callable[[str], Trace | None]) -> RunStarted:
    """The start of a run that nobody has made part of a trace; `begin` may begin one for it.

    A child of a run that is not traced is not either, nor is a later generation: each trace is whole.
    """
    is_root = started.trace is None and started.parent is None and started.generation == 1 and head.kind == WORKFLOW
    trace = begin(head.execution) if is_root else None
    return started if trace is None else msgspec.structs.replace(started, trace=trace)


def begun(started: RunStarted, head: Head) -> dict[str, Any]:
    """What the head of a run that begins keeps of its trace, with what it keeps already.

    The first generation goes on in the trace of who started it; each later one begins its own, linked to the last.
    """
    found = parse(started.trace.parent) if started.trace is not None else None
    if started.trace is None or found is None:
        return head.more
    execution, generation = head.execution, started.generation
    trace_id = found.trace_id if generation == 1 else trace_of(execution, generation)
    own = TraceContext(trace_id, run_span(execution, generation), found.sampled)
    kept = {**head.more, TRACEPARENT: own.traceparent}
    return {**kept, TRACESTATE: started.trace.state} if started.trace.state else kept


def ended(more: Mapping[str, Any], dropped: tuple[str, ...]) -> dict[str, Any]:
    """What the next generation keeps: nothing of this one's trace."""
    return {key: value for key, value in more.items() if key not in (TRACEPARENT, TRACESTATE, *dropped)}


def run_trace(more: Mapping[str, Any]) -> Trace | None:
    """The span of the run, as a child or the next generation is told of it."""
    parent = more.get(TRACEPARENT)
    return Trace(parent=parent, state=more.get(TRACESTATE)) if parent is not None else None


def call_trace(head: Head, more: Mapping[str, Any], number: int) -> Trace | None:
    """The span of a call, as its attempts are told of it."""
    own = context_of(more)
    if own is None:
        return None
    span = TraceContext(own.trace_id, call_span(head.execution, head.generation, number), own.sampled)
    return Trace(parent=span.traceparent, state=more.get(TRACESTATE))


def context_of(more: Mapping[str, Any]) -> TraceContext | None:
    """The span of the run whose head keeps this."""
    parent = more.get(TRACEPARENT)
    return parse(parent) if parent is not None else None


class History:
    """What a traced run has lived through so far, by segment."""

    __slots__ = ("is_whole", "segments")

    def __init__(self, segments: list[bytes]) -> None:
        self.is_whole = True
        self.segments = segments

    def add(self, segment: bytes) -> None:
        """Beyond the bound it is kept no more, and the spans of what comes then are not made."""
        if len(self.segments) < SEGMENTS_MAX:
            self.segments.append(segment)
        else:
            self.is_whole = False


def traced_run(head: Head, turn: Turn, *, is_whole: bool) -> TracedRun | None:
    """The run of this head, which a turn has ended; None if nobody records it."""
    context = context_of(head.more)
    if context is None or not context.sampled:
        return None
    return TracedRun(
        app=head.app,
        instance=head.id,
        name=head.name,
        execution=head.execution,
        generation=head.generation,
        context=context,
        state=head.more.get(TRACESTATE),
        status=CONTINUED if turn.erase else head.status,
        ended=turn.at,
        is_whole=is_whole,
    )
