"""Has the messages of a part handled: those of one key one after the other, all others side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from perdure.blocks.pubsub import Handle, ReceiverDied, SubscribeOptions, Verdict
from perdure.clock import Clock
from perdure.engine.topic_lane import Lane
from perdure.errors import StoreError
from perdure.history.suspicion import ALONE_DEATHS, BESIDE_DEATHS
from perdure.remote.brokers.outcome import BURIED, DONE, Fate, Outcome, outcome_of, pause_after
from perdure.remote.brokers.port import Delivery, Part

log = logging.getLogger("perdure")
INSIST_SECONDS = 1.0
"""Pause before a broker that gave no answer is told the same again."""

T = TypeVar("T")


class Handling:
    """The messages of one part that are in hand: at most `options.in_hand_max`, of which `slots` may be handled.

    The `lane` is that of the process which handles them.
    """

    def __init__(
        self, part: Part, handle: Handle, options: SubscribeOptions, slots: asyncio.Semaphore, clock: Clock, lane: Lane
    ) -> None:
        self._part = part
        self._handle = handle
        self._options = options
        self._slots = slots
        self._clock = clock
        self._lane = lane
        self._held = 0
        self._keyed: dict[str, deque[Delivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._ends = asyncio.Event()

    async def room(self) -> int:
        """How many more there may be in hand; waits until one may."""
        while self._held >= self._options.in_hand_max:
            self._has_room.clear()
            await self._has_room.wait()
        return self._options.in_hand_max - self._held

    def put(self, delivery: Delivery) -> None:
        """Have one handled; those of its key that came before are first."""
        self._held += 1
        key = delivery.message.key
        waiting = self._keyed.get(key) if key is not None else None
        if waiting is not None:
            waiting.append(delivery)
            return
        waiting = deque([delivery])
        if key is not None:
            self._keyed[key] = waiting
        self._spawn(self._run(key, waiting))

    async def finish(self) -> None:
        """Wait for those that are being handled; the others stay as they are."""
        self._ends.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Break off at once, because they are somebody else's by now."""
        self._ends.set()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="perdure-handling")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str | None, waiting: deque[Delivery]) -> None:
        try:
            while waiting and not self._ends.is_set():
                if not await self._see_through(waiting[0]):
                    return
                waiting.popleft()
                self._held -= 1
                self._has_room.set()
        finally:
            if key is not None:
                del self._keyed[key]

    async def _see_through(self, delivery: Delivery) -> bool:
        """Whether its course is over."""
        attempts = delivery.attempts
        outcome = await self._first(delivery)
        while outcome.fate is Fate.AGAIN:
            if await self._ended_within(outcome.pause):
                return False
            attempts += 1
            await self._insist(partial(self._part.again, delivery, attempts))
            outcome = await self._next(delivery, attempts, outcome.deaths)
        topic = self._options.dead_letter
        if outcome.fate is Fate.BURIED and topic is not None:
            await self._insist(partial(self._part.bury, delivery, topic))
        else:
            await self._insist(partial(self._part.done, delivery))
        return True

    async def _first(self, delivery: Delivery) -> Outcome:
        expires = delivery.message.expires
        if expires is not None and self._clock.now() >= expires:
            return DONE
        if delivery.attempts > self._options.attempts_max:
            return await self._alone(delivery, delivery.attempts, 0)
        return await self._beside(delivery, delivery.attempts, 0)

    async def _next(self, delivery: Delivery, attempts: int, deaths: int) -> Outcome:
        """Of one whose receivers, which are programs elsewhere, have died so often running."""
        if deaths >= BESIDE_DEATHS or (deaths and attempts > self._options.attempts_max):
            return await self._alone(delivery, attempts, deaths)
        return await self._beside(delivery, attempts, deaths)

    async def _alone(self, delivery: Delivery, attempts: int, deaths: int) -> Outcome:
        """Of one that was in hand each time that a process died. So were others, which may have done nothing: it is
        handled with no other suspect, and given up when ALONE_DEATHS processes have died of that too."""
        await self._enter(is_suspect=True)
        try:
            if self._ends.is_set():
                return Outcome(Fate.AGAIN)  # by the next reader, because nobody waits for a whole lane
            is_judged = attempts > self._options.attempts_max
            if is_judged and await self._insist(partial(self._part.accuse, delivery, attempts)) > ALONE_DEATHS:
                return BURIED
            return await self._tried(delivery, attempts, deaths)
        finally:
            self._lane.leave()

    async def _beside(self, delivery: Delivery, attempts: int, deaths: int) -> Outcome:
        await self._enter(is_suspect=False)
        return await self._tried(delivery, attempts, deaths)

    async def _tried(self, delivery: Delivery, attempts: int, deaths: int) -> Outcome:
        try:
            verdict = await self._asked(delivery)
        except ReceiverDied as died:
            log.warning("message %s of %s comes again: %s", delivery.message.id, delivery.message.topic, died)
            return Outcome(Fate.AGAIN, pause_after(attempts, self._options), deaths + 1)
        return outcome_of(verdict, attempts, self._options)

    async def _enter(self, *, is_suspect: bool) -> None:
        has_room = asyncio.Event()
        while not self._lane.enter(is_suspect, has_room.set):
            await has_room.wait()
            has_room.clear()

    async def _asked(self, delivery: Delivery) -> Verdict:
        message = delivery.message
        async with self._slots:
            try:
                async with asyncio.timeout(self._options.timeout):
                    return await self._handle(message)
            except TimeoutError:
                log.warning("message %s of %s took too long; it comes again", message.id, message.topic)
            except ReceiverDied:
                raise
            except Exception:
                log.warning("message %s of %s failed; it comes again", message.id, message.topic, exc_info=True)
        return Verdict.RETRY

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ends.wait()
        except TimeoutError:
            return self._ends.is_set()
        return True

    async def _insist(self, tell: Callable[[], Awaitable[T]]) -> T:
        """Tell the broker until it has heard; who loses the part is broken off meanwhile."""
        while True:
            try:
                return await tell()
            except StoreError as error:
                log.warning("%s; it is told again in %g s", error, INSIST_SECONDS)
                await asyncio.sleep(INSIST_SECONDS)
