"""Spans as OpenTelemetry has them, handed to its exporters in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from perdure.history.spans import Span
from perdure.telemetry.trace_context import TraceContext

SCOPE = InstrumentationScope("perdure")
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_NANOSECONDS = 1_000
APPS_KNOWN_MAX = 1_000


class Export:
    """The way to an exporter, by default the one of OTLP. A span's resource is its app."""

    def __init__(self, exporter: SpanExporter | None) -> None:
        self._batches = BatchSpanProcessor(exporter or _otlp())

    def send(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._batches.on_end(readable(span))

    def flush(self, seconds: float) -> None:
        """Return when what was sent is out, or after so long."""
        self._batches.force_flush(round(seconds * 1_000))


def readable(span: Span) -> ReadableSpan:
    """A span that has ended, as exporters read it."""
    return ReadableSpan(
        name=span.name,
        context=_context(span.context, span.state),
        parent=_context(span.parent, span.state, is_remote=True) if span.parent is not None else None,
        resource=_resource(span.app),
        attributes=span.attributes,
        events=[Event(moment.name, moment.attributes, moment.at * _NANOSECONDS) for moment in span.moments],
        links=[Link(_context(span.link, None, is_remote=True))] if span.link is not None else (),
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error is not None else Status(StatusCode.OK),
        start_time=span.start * _NANOSECONDS,
        end_time=span.end * _NANOSECONDS,
        instrumentation_scope=SCOPE,
    )


def _context(found: TraceContext, state: str | None, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        trace_id=int(found.trace_id, 16),
        span_id=int(found.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(found.sampled),
        trace_state=TraceState.from_header([state]) if state else TraceState(),
    )


@lru_cache(maxsize=APPS_KNOWN_MAX)
def _resource(app: str) -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say; the app's id where they name no service."""
    resource = Resource.create()
    if os.environ.get("OTEL_SERVICE_NAME") or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return resource
    return resource.merge(Resource({SERVICE_NAME: app}))


def _otlp() -> SpanExporter:
    """OTLP over HTTP, or over gRPC where OTEL_EXPORTER_OTLP_PROTOCOL asks for it and its exporter is installed."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
