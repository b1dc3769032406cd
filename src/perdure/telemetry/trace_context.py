"""W3C trace context, and the ids of spans that follow from what a span is of, so that nobody has to keep them."""

from __future__ import annotations

import re
from hashlib import blake2b

import msgspec

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_LOWER = (1 << 64) - 1


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A span as others refer to it: 32 and 16 hex digits, and whether the trace is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As W3C writes it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


def parse(traceparent: str) -> TraceContext | None:
    """What a `traceparent` says; None if it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return TraceContext(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))


def trace_of(execution: str, generation: int) -> str:
    """The id of the trace that a run begins which is part of no other."""
    return _hash(f"trace {execution}.{generation}", 16)


def creation_span(execution: str) -> str:
    """The id of the span of who started the execution."""
    return _hash(f"create {execution}", 8)


def run_span(execution: str, generation: int) -> str:
    """The id of the span of a run."""
    return _hash(f"run {execution}.{generation}", 8)


def call_span(execution: str, generation: int, number: int) -> str:
    """The id of the span of an action of a run: a call, all attempts of it, or a timer."""
    return _hash(f"call {execution}.{generation}.{number}", 8)


def is_chosen(trace_id: str, share: float) -> bool:
    """Whether a trace is among the `share` (0 to 1) that is recorded: the same on every node, by its id alone."""
    return int(trace_id, 16) & _LOWER < share * (_LOWER + 1)


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode(), digest_size=size).hexdigest()
