"""What a process tells systemd, if that started it: that it is up, that it lives, that it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

PINGS_PER_TERM = 3
"""How often a process says that it lives within the time after which systemd ends it."""
TERM_SECONDS_MIN = 0.1
"""The shortest such time that is kept up with."""

log = logging.getLogger(__name__)


class Systemd:
    """Where systemd listens. `address` None: it does not. `term` is the time without a word after which it ends the
    process, in seconds; None: never."""

    def __init__(self, address: str | None, term: float | None) -> None:
        self._address = address
        self._term = term

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Systemd:
        """As it says in the variables of the process that it started."""
        address = environment.get("NOTIFY_SOCKET") or None
        return cls(address, term_of(environment, pid) if address else None)

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """Tell it that the process is up, and from then on that its loop turns."""
        self._tell("READY=1")
        pinging = asyncio.create_task(self._ping())
        try:
            yield
        finally:
            pinging.cancel()
            await asyncio.wait({pinging})

    def stopping(self) -> None:
        """Tell it that the process stops by itself."""
        self._tell("STOPPING=1")

    async def _ping(self) -> None:
        while self._term is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._term / PINGS_PER_TERM)

    def _tell(self, word: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
                own.setblocking(False)
                own.sendto(word.encode(), path_of(self._address))
        except OSError as error:
            # because a node that is not heard is a node all the same
            log.warning("systemd does not hear %s: %s", word, error)


def term_of(environment: Mapping[str, str], pid: int) -> float | None:
    """The time without a word after which this process is ended, in seconds; None if that is never. Pure."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        term = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return None
    return max(term, TERM_SECONDS_MIN) if term > 0 else None


def path_of(address: str) -> str:
    """The address of a socket as the system takes it: `@` begins one that is in no file system. Pure."""
    return "\0" + address[1:] if address.startswith("@") else address


def own() -> Systemd:
    """That of this process."""
    return Systemd.of(os.environ, os.getpid())
