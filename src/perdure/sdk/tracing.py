"""The spans of the code around: the caller's at a start, the call's while an activity runs.

OpenTelemetry is used where the program has loaded it, and never loaded here: who has not, has no span to hand on.
"""

from __future__ import annotations

import sys

import msgspec

from perdure.history.options import Trace
from perdure.history.work import StartOptions
from perdure.telemetry.trace_context import parse


def traced(options: StartOptions) -> StartOptions:
    """Options of a start with the span that is current, unless they name one."""
    if "opentelemetry.trace" not in sys.modules or options.trace is not None:
        return options
    trace = caller()
    return options if trace is None else msgspec.structs.replace(options, trace=trace)


def caller() -> Trace | None:
    """The span that is current where this is called; None if there is none."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return Trace(parent=parent, state=context.trace_state.to_header() or None)


def enter(trace: Trace) -> None:
    """Make the span current in the calling task, for the rest of it: spans of the user's own are its children."""
    api, contexts = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.context")
    found = parse(trace.parent)
    if api is None or contexts is None or found is None:
        return
    context = api.SpanContext(
        trace_id=int(found.trace_id, 16),
        span_id=int(found.span_id, 16),
        is_remote=True,
        trace_flags=api.TraceFlags(found.sampled),
        trace_state=api.TraceState.from_header([trace.state]) if trace.state else None,
    )
    contexts.attach(api.set_span_in_context(api.NonRecordingSpan(context)))
