"""Spans of runs that have ended, sent to where OpenTelemetry sends them."""

from perdure.remote.tracing.tracing import Tracing

__all__ = ["Tracing"]
