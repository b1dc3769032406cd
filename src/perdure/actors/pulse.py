"""The beats by which a node keeps its leases, from a thread of their own, so that a busy event loop loses none."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from perdure.actors.rounds import Rounds
from perdure.errors import StoreError, StoreUnavailable
from perdure.stores.contract import Beat, Heart, Lease, Member

log = logging.getLogger("perdure")
BEATS_PER_LEASE = 6
"""Beats in the time of a lease: several may be lost before it is, and a node that died is missed soon."""


class Standing(NamedTuple):
    """What a node tells with a beat: immutable, because a thread reads it."""

    member: Member
    leases: tuple[Lease, ...]


class Heard(NamedTuple):
    """What it heard, and of which leases it had told; an error in place of an answer. `sent` is when it told, in
    seconds of a loop's clock, which all loops of a process share."""

    asked: tuple[Lease, ...]
    beat: Beat | StoreError
    sent: float


Told = Callable[[], Standing]
Hears = Callable[[Heard], None]


class Pulse(Protocol):
    """Beats until it is stopped. `told` may be called from any thread, `hears` is called on the engine's loop."""

    def start(self, heart: Heart, app: str, told: Told, hears: Hears, seconds: float) -> None:
        """`seconds` pass between two beats."""

    def beat(self) -> None:
        """Beat now."""

    async def stop(self) -> None: ...


def is_certain(answered: float, now: float, lease_seconds: float) -> bool:
    """Whether a node's leases hold for all that it knows: its last beat that was answered was sent within a lease.

    `answered` is when that was, in seconds of the clock that `now` is of.
    """
    return now - answered <= lease_seconds


class LoopPulse:
    """Beats on the engine's own event loop: for simulators, which have no threads."""

    def __init__(self) -> None:
        self._rounds: Rounds | None = None

    def start(self, heart: Heart, app: str, told: Told, hears: Hears, seconds: float) -> None:
        async def one() -> float:
            hears(await _beat(heart, app, told()))
            return seconds

        self._rounds = Rounds("pulse", one)
        self._rounds.start()

    def beat(self) -> None:
        if self._rounds is not None:
            self._rounds.wake()

    async def stop(self) -> None:
        if self._rounds is not None:
            await self._rounds.stop()


class ThreadPulse:
    """Beats on a thread with an event loop and a connection of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted: asyncio.Event | None = None
        self._is_over = False

    def start(self, heart: Heart, app: str, told: Told, hears: Hears, seconds: float) -> None:
        listening = asyncio.get_running_loop()

        async def beats() -> None:
            self._loop, self._wanted = asyncio.get_running_loop(), asyncio.Event()
            try:
                while not self._is_over:
                    heard = await _beat(heart, app, told())
                    try:
                        listening.call_soon_threadsafe(hears, heard)
                    except RuntimeError:
                        if listening.is_closed():
                            return  # because nobody is left who listens
                        raise
                    self._wanted.clear()
                    await _either(self._wanted, seconds)
            finally:
                await heart.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(beats()), name="perdure-pulse", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        loop, wanted = self._loop, self._wanted
        if loop is not None and wanted is not None and not loop.is_closed():
            loop.call_soon_threadsafe(wanted.set)

    async def stop(self) -> None:
        self._is_over = True
        self.beat()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join)


async def _beat(heart: Heart, app: str, standing: Standing) -> Heard:
    sent = asyncio.get_running_loop().time()
    try:
        return Heard(standing.leases, await heart.beat(app, standing.member, standing.leases), sent)
    except StoreError as error:
        return Heard(standing.leases, error, sent)
    except Exception as error:
        # because a pulse that ends takes all leases with it, whatever the reason, and nobody would see why
        log.exception("a beat of app %s failed in a way that it must not", app)
        return Heard(standing.leases, StoreUnavailable(f"a beat failed: {error!r}"), sent)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
