"""Which runs are traced, and how their spans are made: beside the event loop, from history that is durable."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from perdure.errors import InvalidArgument
from perdure.history.events import decode_segment
from perdure.history.options import Trace
from perdure.history.spans import Span, spans_of
from perdure.history.traced import TracedRun
from perdure.telemetry.trace_context import TraceContext, creation_span, is_chosen, trace_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from perdure.remote.tracing.export import Export

log = logging.getLogger("perdure")
RUNS_QUEUED_MAX = 10_000
"""Runs that have ended and whose spans are still to be made; the spans of what is beyond are lost."""
FLUSH_SECONDS = 5.0
"""How long a close waits for spans to be taken."""

Make = Callable[[], list[Span]]


class Tracing:
    """Traces a share of all runs, and those that somebody started within a trace that is recorded.

    `sample` is that share, from 0 to 1: of runs that begin no trace but their own. Spans go to `exporter`, without one
    over OTLP as the variables OTEL_EXPORTER_OTLP_... say. Give it to `App(tracing=...)`; it may serve several apps.
    Needs the extra `otel`. Raises InvalidArgument.
    """

    def __init__(self, sample: float = 1.0, *, exporter: SpanExporter | None = None) -> None:
        if not 0 <= sample <= 1:
            raise InvalidArgument(f"sample is {sample!r}; give the share of runs to trace, from 0 to 1")
        self.sample = sample
        self.lost = 0
        self._export = _export(exporter)
        self._queue: queue.Queue[Make | threading.Event] = queue.Queue(RUNS_QUEUED_MAX)
        self._thread: threading.Thread | None = None
        self._pid = 0

    # -- asked by the engine --------------------------------------------------------------------------------------

    def begin(self, execution: str) -> Trace | None:
        """What a run is told that is part of no trace: that it begins one, if it is among those that are traced."""
        trace_id = trace_of(execution, 1)
        if not is_chosen(trace_id, self.sample):
            return None
        return Trace(parent=TraceContext(trace_id, creation_span(execution), sampled=True).traceparent)

    def ended(self, run: TracedRun, segments: Sequence[bytes]) -> None:
        """A run is over, and its history is this."""
        self._put(partial(_run, run, segments))

    # -- beside the event loop ------------------------------------------------------------------------------------

    def _put(self, make: Make) -> None:
        if self._thread is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._work, name="perdure-traces", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(make)
        except queue.Full:
            self.lost += 1
            if self.lost == 1:
                log.warning("spans of runs are lost, because more than %d runs wait for theirs", RUNS_QUEUED_MAX)

    def _work(self) -> None:
        while True:
            make = self._queue.get()
            if isinstance(make, threading.Event):
                make.set()
                continue
            try:
                self._export.send(make())
            except Exception:
                log.exception("the spans of a run could not be made")

    async def flush(self) -> None:
        """Return when the spans of all runs that have ended are taken, or after a few seconds."""
        if self._thread is None:
            return
        done = threading.Event()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(done)
            await asyncio.to_thread(done.wait, FLUSH_SECONDS)
        await asyncio.to_thread(self._export.flush, FLUSH_SECONDS)

    def __repr__(self) -> str:
        return f"<Tracing {self.sample:.0%} of runs, {self._queue.qsize()} wait, {self.lost} lost>"


def _export(exporter: SpanExporter | None) -> Export:
    """OpenTelemetry is loaded by those who trace."""
    try:
        from perdure.remote.tracing.export import Export
    except ImportError as error:
        raise InvalidArgument(f'traces are sent by OpenTelemetry: pip install "perdure[otel]" ({error})') from error
    return Export(exporter)


def _run(run: TracedRun, segments: Sequence[bytes]) -> list[Span]:
    return spans_of(run, (event for segment in segments for event in decode_segment(segment)))
