"""Nodes with a safeguard taken out: what the suite must find, or its silence proves nothing."""

from __future__ import annotations

from typing import Any

from perdure.engine.ownership import Ownership
from perdure.engine.shard import Shard
from perdure.stores.sql import store
from perdure.stores.sql.store import SqlStore


def unfence() -> None:
    """A node that never hears that its shards are lost, and writes without being asked whose they are."""
    hears, steps = Ownership._hears, store.steps_together

    def deaf(self: Any, heard: Any) -> None:
        hears(self, heard._replace(asked=()))

    def unfenced(*of: Any) -> Any:
        return steps(*of)[1:]

    Ownership._hears = deaf  # type: ignore[method-assign]
    SqlStore._is_held = lambda *_: True  # type: ignore[method-assign]
    store.steps_together = unfenced


def forget() -> None:
    """A node that takes up shards and not what ran there."""

    async def nothing(self: Any, quarantined: Any) -> None:
        return None

    Shard._recover_calls = nothing  # type: ignore[method-assign]


MUTANTS = {"unfence": unfence, "forget": forget}
