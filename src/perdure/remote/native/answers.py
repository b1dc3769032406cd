"""Answers on their way to the server: one call at a time, with all that have come since."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from perdure.errors import PayloadTooLarge, PerdureError

BATCH_MAX = 500
"""Answers of one call."""
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""What a call brings, at most one answer beyond it."""

Heard = Callable[[Exception | None], None]
"""Told how it went: None if the server took the answer, else what stands against it."""
Send = Callable[[list[tuple[int, bytes]]], Awaitable[dict[int, Exception]]]


class Answers:
    """Collects answers and hands them to `send`, which gives those that were refused by their place, or raises."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[tuple[int, bytes, Heard]] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, kind: int, data: bytes, heard: Heard) -> None:
        """Send an answer as soon as the call before has ended."""
        self._waiting.append((kind, data, heard))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._go())

    async def flush(self, seconds: float) -> None:
        """Return when all is said, or after `seconds`."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)

    def close(self) -> None:
        """Say no more."""
        if self._task is not None:
            self._task.cancel()

    async def _go(self) -> None:
        try:
            while self._waiting:
                await self._say(self._batch())
        finally:
            self._task = None

    def _batch(self) -> list[tuple[int, bytes, Heard]]:
        count = size = 0
        while count < min(len(self._waiting), BATCH_MAX) and size < BATCH_BYTES_MAX:
            size += len(self._waiting[count][1])
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _say(self, batch: list[tuple[int, bytes, Heard]]) -> None:
        try:
            refused = await self._send([(kind, data) for kind, data, _ in batch])
        except (PerdureError, TimeoutError) as error:
            if isinstance(error, PayloadTooLarge) and len(batch) > 1:
                for answer in batch:
                    await self._say([answer])  # because the others are not too large for it
                return
            for _, _, heard in batch:
                heard(error)
            return
        for place, (_, _, heard) in enumerate(batch):
            heard(refused.get(place))

    def __repr__(self) -> str:
        return f"<Answers: {len(self._waiting)} waiting>"
