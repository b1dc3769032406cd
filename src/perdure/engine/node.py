"""What the parts that serve callers ask of the engine around them."""

from __future__ import annotations

from typing import Protocol

from perdure.clock import Clock
from perdure.engine.shard import Shard
from perdure.stores.contract import EngineStore


class Node(Protocol):
    """The engine around: which app, which store, and which shards are its own."""

    app: str
    store: EngineStore
    clock: Clock

    def shard_of(self, id: str) -> int: ...
    def owner_of(self, id: str) -> Shard | None: ...
    def runs(self, id: str, execution: str | None) -> bool:
        """Whether an unfinished activation of the instance (and of that execution) is in this node's memory."""
