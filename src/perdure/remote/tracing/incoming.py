"""The span that a call is part of, as its headers or metadata tell."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.history.options import Trace
from perdure.telemetry.trace_context import parse

PARENT, STATE = "traceparent", "tracestate"
STATE_CHARACTERS_MAX = 512
"""A longer `tracestate` is left behind, as W3C allows."""


def trace_in(told: Iterable[tuple[str, str | bytes]]) -> Trace | None:
    """What pairs of lower-case names and values say of it; None for nothing, or nothing that W3C allows."""
    parent, state = None, None
    for name, value in told:
        if name == PARENT and isinstance(value, str) and parse(value) is not None:
            parent = value
        elif name == STATE and isinstance(value, str) and len(value) <= STATE_CHARACTERS_MAX:
            state = value
    return Trace(parent=parent, state=state) if parent is not None else None
