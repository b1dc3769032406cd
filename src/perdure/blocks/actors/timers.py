"""The timers of one actor in memory: which run, and the message by which each has its method run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import NamedTuple

from perdure.codec import Payload, Writer, decode

TICK = "@timer"
"""The operation by which a timer has its method run: it waits in the actor's queue as every other."""
TIMERS_MAX = 1_000
"""Timers of one actor; the method that sets one more fails."""

Tick = Callable[[str, Payload], None]
"""Sends a tick to an actor, with its input."""


class _Running(NamedTuple):
    method: str
    input: Payload
    period: float | None


class Timers:
    """The timers of one activation, by name. They end with it, and so do their ticks that are on the way."""

    def __init__(self, actor: str, writer: Writer, tick: Tick) -> None:
        self._actor = actor
        self._writer = writer
        self._tick = tick
        self._token = secrets.token_hex(8)
        self._running: dict[str, _Running] = {}
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def start(self, name: str, method: str, input: Payload, due: float, period: float | None) -> None:
        """Have a method run in `due` seconds, and each `period` seconds after it was run."""
        self.stop(name)
        self._running[name] = _Running(method, input, period)
        self._wait(name, due)

    def stop(self, name: str) -> None:
        """Nothing if there is none of that name."""
        self._running.pop(name, None)
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def stop_all(self) -> None:
        """The activation is over."""
        for name in list(self._running):
            self.stop(name)

    def asked(self, input: Payload | None) -> tuple[str, Payload] | None:
        """The method and the input of a tick, after which the next is waited for; None for a tick of a timer that was
        stopped, or was of an earlier activation."""
        token, name = decode(input, tuple[str, str])
        found = self._running.get(name) if token == self._token else None
        if found is None:
            return None
        if found.period is None:
            self.stop(name)
        else:
            self._wait(name, found.period)
        return found.method, found.input

    @property
    def names(self) -> frozenset[str]:
        """Of those that run."""
        return frozenset(self._running)

    def _wait(self, name: str, seconds: float) -> None:
        input = self._writer.encode([self._token, name])
        self._handles[name] = asyncio.get_running_loop().call_later(seconds, self._tick, self._actor, input)

    def __repr__(self) -> str:
        return f"<Timers of {self._actor}: {len(self._running)}>"
