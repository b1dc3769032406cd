"""A network namespace for one node, whose packets to and from the store the kernel loses on demand. Needs root.

A packet is lost by sending it to a hardware address that nobody has: one neighbour for each way, so that either can be
cut alone, and neither side is told.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.cable import TO_NODE, TO_STORE, Mode

STORE_HOST = "10.219.0.1"
"""Where nodes find the store: an address on the loopback interface, so that it is the same for all."""
NOBODY = "02:00:00:00:00:fe"
_numbers = itertools.count(1)


class Namespace:
    """A `Cable` of the kernel's. What is lost is sent again by TCP."""

    modes = frozenset({Mode.OPEN, Mode.CUT, Mode.DEAF, Mode.MUTE})
    host = STORE_HOST

    def __init__(self, target: int) -> None:
        number = next(_numbers)
        assert number < 250, "no more networks have a number of their own"
        self.port = target
        self._name = f"perdure-{os.getpid()}-{number}"
        self._outer, self._inner = f"pc{os.getpid() % 100_000}-{number}", "store"
        self._here, self._there = f"10.219.{number}.1", f"10.219.{number}.2"
        self.prefix = ("ip", "netns", "exec", self._name)

    async def start(self) -> None:
        _ip("netns", "add", self._name)
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", self._inner, "netns", self._name)
        _ip("addr", "add", f"{self._here}/30", "dev", self._outer)
        _ip("link", "set", self._outer, "up")
        self._inside("addr", "add", f"{self._there}/30", "dev", self._inner)
        self._inside("link", "set", self._inner, "up")
        self._inside("link", "set", "lo", "up")
        self._inside("route", "add", STORE_HOST, "via", self._here)
        self._address_outer = _hardware(_ip("link", "show", self._outer))
        self._address_inner = _hardware(self._inside("link", "show", self._inner))
        self.turn(Mode.OPEN)

    def turn(self, mode: Mode) -> None:
        assert mode in self.modes, mode
        to_store = self._address_outer if mode in TO_STORE else NOBODY
        to_node = self._address_inner if mode in TO_NODE else NOBODY
        self._inside("neigh", "replace", self._here, "lladdr", to_store, "dev", self._inner, "nud", "permanent")
        _ip("neigh", "replace", self._there, "lladdr", to_node, "dev", self._outer, "nud", "permanent")

    def drop(self) -> None:
        raise NotImplementedError("the kernel resets no connections here")

    async def stop(self) -> None:
        _ip("netns", "delete", self._name)  # and with it both ends of its cable

    def _inside(self, *command: str) -> str:
        return _ip("-n", self._name, *command)


@contextmanager
def prepared() -> Iterator[None]:
    """Give this machine the address of the store, for the time of the block."""
    _ip("addr", "replace", f"{STORE_HOST}/32", "dev", "lo")
    try:
        yield
    finally:
        _ip("addr", "delete", f"{STORE_HOST}/32", "dev", "lo")


def _ip(*command: str) -> str:
    done = subprocess.run(("ip", *command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(command)}: {done.stderr}"
    return done.stdout


def _hardware(shown: str) -> str:
    """The hardware address in what `ip link show` prints."""
    return shown.split("link/ether ")[1].split(maxsplit=1)[0]
