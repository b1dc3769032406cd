"""What the parts that serve callers ask of the engine around them."""

from __future__ import annotations

from typing import Protocol

from perdure.clock import Clock
from perdure.engine.ownership import Refusal
from perdure.engine.shard import Shard
from perdure.stores.contract import EngineStore
from perdure.telemetry.metrics import Metrics


class Node(Protocol):
    """The engine around: which app, which store, and which shards are its own."""

    app: str
    store: EngineStore
    clock: Clock
    metrics: Metrics | None
    owned: dict[int, Shard]
    """The shards that this node owns, by id."""

    @property
    def is_remote(self) -> bool:
        """Whether the app's code runs elsewhere: then everything that reaches a run is durable first, as mail."""

    @property
    def announces(self) -> bool:
        """Whether notices are written of what happens to instances."""

    @property
    def refusal(self) -> Refusal | None:
        """Why the store gives this node nothing at present. None: it does, or this node asks for nothing."""

    @property
    def leads(self) -> bool:
        """Whether this node owns the app's first shard, and does what one node has to do for all."""

    def shard_of(self, id: str) -> int: ...
    def owner_of(self, id: str) -> Shard | None: ...
    def runs(self, id: str, execution: str | None) -> bool:
        """Whether an unfinished activation of the instance (and of that execution) is in this node's memory."""
