"""Batches of operations of actors that a worker of ours has under way, and their answers."""

from __future__ import annotations

from collections.abc import Callable

from perdure.engine.ports import Executor, LiveBatch
from perdure.history.events import Failure
from perdure.history.work import BatchResult, Stall
from perdure.remote.native.codec import BatchItem

BATCHES_MAX = 1_000
"""Batches of different actors that a worker has at once."""


class Batches:
    """Hands batches to the executor, and what became of each to `ended`, with its token."""

    def __init__(self, executor: Executor, ended: Callable[[str, BatchResult | Stall], None]) -> None:
        self._executor = executor
        self._ended = ended
        self._live: dict[str, tuple[str, LiveBatch]] = {}

    def take(self, item: BatchItem) -> None:
        """Begin a batch. An earlier one of the actor, which the server has given up, is taken back."""
        entity = item.batch.entity
        self._retract(entity)
        answered: list[str] = []

        def done(result: BatchResult | Stall) -> None:
            answered.append(item.token)
            if self._live.get(entity, ("",))[0] == item.token:
                del self._live[entity]
            self._ended(item.token, result)

        live = self._executor.operate(item.batch, done)
        if live is None:
            missing = f"no actor {item.batch.name!r} is here; start a worker that has it"
            self._ended(item.token, BatchResult(failure=Failure(type="ActorNotRegistered", message=missing)))
        elif not answered:
            self._live[entity] = (item.token, live)

    def close(self) -> None:
        """Take back what is under way: the server gives it to others."""
        for entity in list(self._live):
            self._retract(entity)

    def _retract(self, entity: str) -> None:
        before = self._live.pop(entity, None)
        if before is not None:
            before[1].retract()

    def __repr__(self) -> str:
        return f"<Batches: {len(self._live)} under way>"
