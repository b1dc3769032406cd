"""What one scrape reads: the counters of a node, what the node holds, and what the store says there is to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from perdure.engine.engine import Engine
from perdure.engine.load import Load, load_of
from perdure.engine.vitals import Vitals
from perdure.errors import NotOpen
from perdure.history.topic_state import TopicState
from perdure.remote.loads import Loads
from perdure.telemetry.metrics import Metrics

DEFAULT_NAMESPACE = "default"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An app on a node at one moment. `load` None: the store did not answer. `workers` are connected to this server.
    `topics` are what the store has of them; empty if it did not answer. `shared` has those that all apps share."""

    app: str
    metrics: Metrics
    vitals: Vitals
    load: Load | None = None
    topics: Sequence[TopicState] = ()
    workers: int | None = None
    shared: Source | None = None


class Sources(Protocol):
    """Whom a page asks."""

    async def source(self, app: str) -> Source:
        """What is to be shown of the app now. Raises PerdureError if it has no metrics."""


class EngineSources:
    """Of an engine that an app runs in this process. `engine` gives it, None while there is none."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        self._engine = engine
        self._loads = Loads(self._load, time.monotonic)
        self._topics = Loads(self._topics_of, time.monotonic)

    async def source(self, app: str) -> Source:
        engine = self._opened(app)
        if engine.metrics is None:
            raise NotOpen(f"app {app!r} counts nothing, because it was made with metrics=False")
        load, topics = await self._loads.known(app), await self._topics.known(app)
        return Source(app=app, metrics=engine.metrics, vitals=engine.vitals(), load=load, topics=topics or ())

    async def _load(self, app: str) -> Load:
        engine = self._opened(app)
        return await load_of(engine.store, app, engine.clock.now())

    async def _topics_of(self, app: str) -> list[TopicState]:
        return await self._opened(app).operations.topics()

    def _opened(self, app: str) -> Engine:
        engine = self._engine()
        if engine is None:
            raise NotOpen(f"app {app!r} has no engine here: open it, or ask the server that it works for")
        return engine


def namespace() -> str:
    """What Dapr's dashboards select by: that of the pod, where its manifest says so."""
    return os.environ.get("NAMESPACE") or os.environ.get("POD_NAMESPACE") or DEFAULT_NAMESPACE
