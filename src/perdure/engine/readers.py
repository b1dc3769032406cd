"""Who reads streams in this process, and when there may be more for them: told by the owner, or looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from perdure.engine.node import Node
from perdure.history.streams import Selection, StreamPage, choose
from perdure.scheduler.pace import LookPause
from perdure.stores.contract import FINISHED, Head, Item

FindHead = Callable[[str, str | None], Awaitable[Head]]


class Readers:
    """Reads pages of streams from the store. `head` finds an instance of an execution, or raises InstanceNotFound."""

    def __init__(self, node: Node, head: FindHead) -> None:
        self._node = node
        self._head = head
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def read(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        """A page after an offset. If `wait`, it has items, or the stream or the instance has ended."""
        pause = LookPause()
        with self._listening(id) as hint:
            while True:
                hint.clear()
                page = await self._look(id, execution, selection, after, limit)
                if page.items or page.ended or not wait:
                    return page
                pause.after(await _heard(hint, pause.seconds))

    def appended(self, id: str) -> None:
        """A stream of an instance of this node has more items."""
        for hint in self._waiting.get(id, ()):
            hint.set()

    async def _look(self, id: str, execution: str | None, selection: Selection, after: int, limit: int) -> StreamPage:
        if execution is not None and selection.run is not None and selection.number is not None:
            items = await self._items(id, selection.run, selection.number, after, limit)
            if items:
                await self._head(id, execution)  # after the items, because another instance may have taken the id
                return StreamPage(execution, selection.run, selection.number, items, False)
        head = await self._head(id, execution)
        page = await self._first_look(head, selection, after, limit)
        await self._head(id, head.execution)
        return page

    async def _first_look(self, head: Head, selection: Selection, after: int, limit: int) -> StreamPage:
        streams = await self._node.store.streams(self._node.shard_of(head.id), head.id)
        stream = choose(streams, head.generation, selection)
        if stream is None:
            ended = head.status in FINISHED or (selection.run or head.generation) < head.generation
            return StreamPage(head.execution, None, None, [], ended)
        items = await self._items(head.id, stream.generation, stream.number, after, limit)
        ended = not stream.is_open and after + len(items) >= stream.length
        return StreamPage(head.execution, stream.generation, stream.number, items, ended)

    async def _items(self, id: str, run: int, number: int, after: int, limit: int) -> list[Item]:
        return await self._node.store.items(self._node.shard_of(id), id, run, number, after, limit)

    @contextmanager
    def _listening(self, id: str) -> Iterator[asyncio.Event]:
        hint = asyncio.Event()
        hints = self._waiting.setdefault(id, set())
        hints.add(hint)
        try:
            yield hint
        finally:
            hints.discard(hint)
            if not hints and self._waiting.get(id) is hints:
                del self._waiting[id]

    def __repr__(self) -> str:
        return f"<Readers of streams of {len(self._waiting)} instances>"


async def _heard(hint: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await hint.wait()
    except TimeoutError:
        return False
    return True
