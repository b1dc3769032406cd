"""What the receivers of an app's subscriptions ask of the node that they are on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from perdure.codec import Writer
from perdure.engine.node import Node


class Surroundings:
    """One node, and the code that runs on it. `in_thread` runs a plain function in a thread of the app."""

    def __init__(
        self,
        node: Node,
        writer: Writer,
        in_thread: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Awaitable[Any]],
    ) -> None:
        self._node = node
        self.writer = writer
        self._in_thread = in_thread

    async def in_thread(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._in_thread(function, args, kwargs)

    async def status_of(self, id: str) -> str | None:
        """Where an instance is in its life; None if there is none."""
        head = await self._node.store.head(self._node.shard_of(id), id)
        return head.status if head is not None else None

    def __repr__(self) -> str:
        return f"<Surroundings on {self._node!r}>"
