"""Who waits for the answer to which update, and how the answer is found: from its owner or from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from perdure.actors.rounds import Rounds
from perdure.engine.node import Node
from perdure.errors import PerdureError, UpdateNotAnswered
from perdure.history.entities import is_entity
from perdure.history.events import UpdateAnswered, decode_event
from perdure.history.published import answer_name
from perdure.scheduler.pace import LookPause
from perdure.stores.contract import FINISHED

Key = tuple[str, str]
"""An instance's id and the key of an update."""


class Answers:
    """The updates that callers in this process wait for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: dict[Key, asyncio.Future[UpdateAnswered]] = {}
        self._callers: dict[Key, int] = {}
        self._poll = Rounds("answers", self._poll_round)
        self._pause = LookPause()

    def start(self) -> None:
        self._poll.start()

    async def stop(self) -> None:
        await self._poll.stop()
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    async def ask(
        self, id: str, execution: str | None, key: str, send: Callable[[], Awaitable[None]], *, is_repeatable: bool
    ) -> UpdateAnswered:
        """Send an update and wait for its answer. Raises UpdateNotAnswered once the run has ended without one.

        `is_repeatable`: the key is the caller's own, so that this may be the second time.
        """
        slot = (id, key)
        future = self._waiting.setdefault(slot, asyncio.get_running_loop().create_future())
        self._callers[slot] = self._callers.get(slot, 0) + 1
        try:
            await send()
            if not future.done() and (is_repeatable or not self._node.runs(id, execution)):
                await self._look(slot, execution)
                self._pause.restart()
                self._poll.wake()
            return await asyncio.shield(future)
        finally:
            self._callers[slot] -= 1
            if not self._callers[slot]:
                del self._callers[slot]
                self._waiting.pop(slot, None)

    def tell(self, id: str, answers: Sequence[UpdateAnswered]) -> None:
        """A turn of this node with these answers is durable."""
        for answer in answers:
            self._resolve((id, answer.key), answer)

    def ended(self, id: str) -> None:
        """A run of this node has ended; what it did not answer it never will."""
        if self._waiting:
            for slot in [slot for slot in self._waiting if slot[0] == id]:
                self._fail(slot)

    def give_up(self, error: PerdureError) -> None:
        """Tell everybody who waits that nothing will come."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    def taken_over(self) -> None:
        """This node owns more shards now: the last owner may have answered between two looks."""
        self._poll.wake()

    async def _poll_round(self) -> float | None:
        if not self._waiting:
            return None
        before = sum(future.done() for future in self._waiting.values())
        for slot in list(self._waiting):
            if not self._node.runs(slot[0], None):
                await self._look(slot, None)
        found = sum(future.done() for future in self._waiting.values()) > before
        return self._pause.after(found)

    async def _look(self, slot: Key, execution: str | None) -> None:
        id, key = slot
        store, shard = self._node.store, self._node.shard_of(id)
        head = await store.head(shard, id)
        name = answer_name(key)
        found = (await store.published(shard, id, [name])).get(name)
        if found is not None:
            self._resolve(slot, decode_event(found))
        elif is_entity(id):
            return  # because it may come to be with this very call, and never ends while one waits
        elif head is None or head.status in FINISHED or execution not in (None, head.execution):
            self._fail(slot)

    def _resolve(self, slot: Key, answer: UpdateAnswered) -> None:
        future = self._waiting.get(slot)
        if future is not None and not future.done():
            future.set_result(answer)

    def _fail(self, slot: Key) -> None:
        future = self._waiting.get(slot)
        if future is not None and not future.done():
            id, _ = slot
            future.set_exception(
                UpdateNotAnswered(f"{id!r} ended before it answered the update; `perdure show` says how it ended", id)
            )

    def __repr__(self) -> str:
        return f"<Answers: {len(self._waiting)} updates waited for>"
