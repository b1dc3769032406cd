"""Propagated history as bytes of a PropagatedHistory, which one flavour has. It is not signed."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.remote.requests import Heritage
from perdure.remote.wire.events import DAPR_EVENTS
from perdure.remote.wire.framing import VARINT, framed, tag, varint

_SCOPE, _CHUNKS = tag(1, VARINT), tag(2)
_EVENT, _APP, _INSTANCE, _NAME = (tag(number) for number in (1, 2, 3, 4))


def lineage_bytes(scope: int, runs: Sequence[Heritage]) -> bytes:
    """A PropagatedHistory with a chunk for each run. Raises NotDecodable for packed payloads."""
    return _SCOPE + varint(scope) + b"".join([_CHUNKS + framed(_chunk(run)) for run in runs])


def _chunk(run: Heritage) -> bytes:
    events = DAPR_EVENTS.history(run.events, run.instance, run.execution, run.app)
    names = ((_APP, run.app), (_INSTANCE, run.instance), (_NAME, run.name))
    return b"".join([_EVENT + event for event in events]) + b"".join(
        [key + framed(text.encode()) for key, text in names]
    )
