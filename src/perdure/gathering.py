"""What comes while a write is under way: gathered, and written together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

LETTERS_PER_WRITE_MAX = 500
"""Bound of one write: what comes beyond it waits for the next."""

T = TypeVar("T")
R = TypeVar("R")


class Gathering(Generic[T, R]):
    """Letters that come while a write is under way go together with the next one."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, letter: T) -> R:
        """What `write` gave for the letter. A caller that is cancelled does not take its letter back."""
        return await self._put(letter)

    async def add_all(self, letters: Sequence[T]) -> list[R]:
        """What `write` gave for each of some letters, which go one behind the other."""
        return await asyncio.gather(*map(self._put, letters))

    def _put(self, letter: T) -> asyncio.Future[R]:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[R] = loop.create_future()
        self._waiting.append((letter, written))
        if self._task is None:
            self._task = loop.create_task(self._run(), name="perdure-gathering")
        return written

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:LETTERS_PER_WRITE_MAX]
                del self._waiting[:LETTERS_PER_WRITE_MAX]
                await self._write_batch(batch)
        finally:
            self._task = None

    async def _write_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._write([letter for letter, _ in batch])
        except Exception as error:  # noqa: BLE001 because each caller is told, whatever it was
            for _, written in batch:
                if not written.done():
                    written.set_exception(error)
            return
        for (_, written), answer in zip(batch, answers, strict=True):
            if not written.done():
                written.set_result(answer)
