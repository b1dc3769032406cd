"""A subscription on a broker: it tells that it lives, takes its share of the parts and reads them."""

from __future__ import annotations

import asyncio
import logging

from perdure.blocks.pubsub import Handle, SubscribeOptions
from perdure.cancellation import cancel_and_wait
from perdure.clock import Clock
from perdure.engine.topic_lane import Lane
from perdure.errors import StoreError
from perdure.remote.brokers.handling import Handling
from perdure.remote.brokers.parts import parts_of
from perdure.remote.brokers.port import Group, Part

log = logging.getLogger("perdure")
BEATS_PER_LEASE = 4
"""How often a lease is renewed while it lasts."""
FETCH_PAUSE_SECONDS = 1.0
"""Pause after a broker gave no messages because it gave no answer."""


class Subscriber:
    """One member of a group, from `start` to `close`."""

    def __init__(
        self,
        name: str,
        member: str,
        group: Group,
        handle: Handle,
        options: SubscribeOptions,
        clock: Clock,
        lease_seconds: float,
        lane: Lane,
    ) -> None:
        self._name = name
        self._member = member
        self._group = group
        self._handle = handle
        self._options = options
        self._clock = clock
        self._lease = lease_seconds
        self._lane = lane
        self._slots = asyncio.Semaphore(options.in_hand_max)
        self._reading: dict[int, _Reading] = {}
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is this member's share by now. Raises StoreError."""
        await self._round()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"perdure-subscriber {self._name}")

    @property
    def is_closed(self) -> bool:
        """Whether it was told to close."""
        return self._closing.is_set()

    async def close(self) -> None:
        """Take no more, return when none is being handled; the next reader has the rest."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # which a caller that is cancelled does not cancel
            self._task.result()

    async def _run(self) -> None:
        while not await self._is_closed_within(self._lease / BEATS_PER_LEASE):
            try:
                await self._round()
            except StoreError as error:
                log.warning("%r: %s", self, error)
            except Exception:  # because a subscription that ends unseen gets nothing any more
                log.exception("%r had a defect, and goes on", self)
            self._drop_what_ran_out()
        await self._end()

    async def _is_closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return self._closing.is_set()
        return True

    async def _round(self) -> None:
        for part, reading in list(self._reading.items()):
            await self._keep(part, reading)
        members = await self._group.beat()
        wanted = parts_of(self._member, members, self._group.parts, self._name)
        for part in [part for part in self._reading if part not in wanted]:
            self._release(part)
        for part in [part for part in wanted if part not in self._reading]:
            await self._take(part)

    async def _keep(self, part: int, reading: _Reading) -> None:
        begun = asyncio.get_running_loop().time()
        if await self._group.keep(part):
            reading.until = begun + self._lease
        else:
            log.warning("%r: part %d is read by somebody else by now", self, part)
            self._drop(part)

    async def _take(self, part: int) -> None:
        begun = asyncio.get_running_loop().time()
        found = await self._group.take(part)
        if found is not None:
            handling = Handling(found, self._handle, self._options, self._slots, self._clock, self._lane)
            self._reading[part] = _Reading(repr(self), found, handling, begun + self._lease)

    def _release(self, part: int) -> None:
        """Hand a part over in peace; it is kept until nothing of it is being handled."""
        reading = self._reading[part]
        if reading.ending is None:
            reading.ending = asyncio.get_running_loop().create_task(self._hand_over(part, reading))

    async def _hand_over(self, part: int, reading: _Reading) -> None:
        await reading.finish()
        if self._reading.get(part) is reading:  # else it was lost meanwhile
            try:
                await reading.part.close()
                await self._group.give_back(part)
            except StoreError as error:
                log.warning("%r: part %d goes to the next reader when its lease runs out: %s", self, part, error)
            self._reading.pop(part, None)

    def _drop_what_ran_out(self) -> None:
        """A broker that gives no answer may have given a part to somebody else."""
        now = asyncio.get_running_loop().time()
        for part, reading in list(self._reading.items()):
            if now >= reading.until:
                log.warning("%r: the broker gave no answer for a whole lease, so part %d is given up", self, part)
                self._drop(part)
            elif (why := reading.defect) is not None:
                log.error("%r: part %d is begun again when its lease has run out", self, part, exc_info=why)
                self._drop(part)

    def _drop(self, part: int) -> None:
        self._reading.pop(part).abandon()

    async def _end(self) -> None:
        for part in list(self._reading):
            self._release(part)
        while endings := [reading.ending for reading in self._reading.values() if reading.ending is not None]:
            await asyncio.wait(endings, timeout=self._lease / BEATS_PER_LEASE)
            for part, reading in list(self._reading.items()):
                try:
                    await self._keep(part, reading)
                except StoreError as error:
                    log.warning("%r: %s", self, error)
            self._drop_what_ran_out()
        try:
            await self._group.leave()
        except StoreError as error:
            log.warning("%r: %s", self, error)

    def __repr__(self) -> str:
        return f"<Subscriber {self._name}: reads {sorted(self._reading) or 'nothing'} of {self._group.parts} parts>"


class _Reading:
    """A part that is read. `until`: when its lease runs out, by the loop's clock."""

    def __init__(self, name: str, part: Part, handling: Handling, until: float) -> None:
        self.part = part
        self.until = until
        self.ending: asyncio.Task[None] | None = None
        self._name = name
        self._handling = handling
        self._is_over = False
        self._task = asyncio.get_running_loop().create_task(self._read(), name="perdure-reader")

    async def _read(self) -> None:
        while True:
            room = await self._handling.room()
            try:
                found = await self.part.fetch(room)
            except StoreError as error:
                log.warning("%s: %s", self._name, error)
                await asyncio.sleep(FETCH_PAUSE_SECONDS)
                continue
            if self._is_over:
                # because the `wait_for` of Python 3.11, which clients of brokers use, swallows a cancellation that
                # comes with its answer; what was fetched the next reader claims
                return
            for delivery in found:
                self._handling.put(delivery)

    @property
    def defect(self) -> BaseException | None:
        """Why it reads no more although nobody told it to end."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    async def finish(self) -> None:
        """Read no more, and wait for what is being handled."""
        self._is_over = True
        await cancel_and_wait(self._task)
        await self._handling.finish()

    def abandon(self) -> None:
        """Break off at once."""
        self._is_over = True
        self._task.cancel()
        self._handling.abandon()
