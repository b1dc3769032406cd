"""A worker's stream of work, begun again after every break."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable

from perdure.cancellation import cancel_and_wait
from perdure.errors import NotAuthenticated, NotPermitted, PerdureError

log = logging.getLogger("perdure")
WORK = "/TaskHubSidecarService/GetWorkItems"
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 10.0
"""Between two tries to connect: the first pause, and how far it grows. Each is shortened by chance, by up to half."""


class WorkStream:
    """`take` gets each message of what `messages` begins, `begins` is called before each try."""

    def __init__(
        self,
        messages: Callable[[], AsyncIterator[bytes]],
        take: Callable[[bytes], None],
        begins: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._messages = messages
        self._take = take
        self._begins = begins
        self._chance = chance
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_open = False

    async def open(self, seconds: float) -> None:
        """Begin; return when the first message has come, the first try was in vain, or after `seconds`."""
        self._task = asyncio.get_running_loop().create_task(self._go(), name="perdure-worker")
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._tried.wait()
        except TimeoutError:
            log.warning("the server is silent; the worker goes on trying")

    async def close(self) -> None:
        """Hang up."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _go(self) -> None:
        tries = 0
        while True:
            was_open = False
            try:
                self._begins()
                async for data in self._messages():
                    self.is_open = was_open = True
                    self._tried.set()
                    self._take(data)
            except (NotAuthenticated, NotPermitted) as error:
                log.error("the server refuses this worker: %s", error)  # because it may be told another token later
            except (PerdureError, TimeoutError) as error:
                log.warning("the stream of work broke, and is begun again: %s", error)
            except Exception:
                log.exception("work could not be taken, a defect of Perdure")  # because the next one may be well
            finally:
                self.is_open = False
                self._tried.set()
            tries = 0 if was_open else tries + 1
            await asyncio.sleep(pause(tries, self._chance()))

    def __repr__(self) -> str:
        return f"<WorkStream, {'open' if self.is_open else 'not open'}>"


def pause(tries: int, chance: float) -> float:
    """Seconds before the next try to connect; `chance` in [0, 1) takes up to half of it away."""
    longest: float = min(PAUSE_SECONDS * 2.0 ** min(tries, 20), PAUSE_SECONDS_MAX)
    return longest * (1 - chance / 2)
