"""The event loop of a user's test: virtual time that ends when nobody has work left, and no world outside."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, NoReturn

from perdure.errors import NotInVirtualTime
from perdure.scheduler.pace import Pace
from perdure.testing.loop import Deadlock, SimLoop, Spin

HORIZON_SECONDS = 1e11
"""Timers set for later than three thousand years from the start are the engine's own looks, and nobody's work."""
UNHURRIED = Pace(mail_seconds=1e12, standby_seconds=1e12, window_seconds=4e11)
"""Every look of the engine lies beyond the horizon, because one store in memory loses no hint."""
STEPS_MAX = 500_000
"""Callbacks that one await of a test may take: more is a workflow without an end. Ten thousand calls take 30,000."""
CLEANUP_STEPS_MAX = 1_000
"""Callbacks for what a test gave up to unwind in."""

log = logging.getLogger("asyncio")


class VirtualLoop(SimLoop):
    """A `SimLoop` that runs in pieces, one for each await of a test.

    `wrongs` are errors that the test must hear of: the first is raised out of the await in which it came up.
    """

    steps_per_instant_max = STEPS_MAX
    horizon = HORIZON_SECONDS

    def __init__(self, chance: random.Random, disorder: float = 0.0) -> None:
        super().__init__(chance, disorder)
        self.wrongs: list[Exception] = []
        self._watched: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._idle: list[asyncio.Future[None]] = []

    @property
    def is_current(self) -> bool:
        """Whether the code that asks runs in this loop."""
        return asyncio._get_running_loop() is self

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after each callback."""
        if not condition():
            future = self.create_future()
            self._watched.append((condition, future))
            await future

    async def idle(self) -> None:
        """Wait until nothing is ready and no timer is left."""
        future = self.create_future()
        self._idle.append(future)
        await future

    def _complete(self, task: asyncio.Task[Any]) -> None:
        """Raises Deadlock, Spin or the first of `wrongs`; the task is then cancelled."""
        ends = self.steps + STEPS_MAX
        try:
            while not task.done():
                self._step()
                if self._watched:
                    self._look()
                if self.wrongs:
                    raise self.wrongs.pop(0)
                if self.steps > ends:
                    raise Spin(f"{STEPS_MAX:,} callbacks were not enough")
        except Exception:
            self._give_up(task)
            raise

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        try:
            for _ in range(CLEANUP_STEPS_MAX):
                if task.done():
                    return
                self._step()
        except (Deadlock, Spin):
            return  # because what does not end when it is cancelled waits for what never comes

    def _look(self) -> None:
        for condition, future in list(self._watched):
            if future.done() or condition():
                self._watched.remove((condition, future))
                if not future.done():
                    future.set_result(None)

    def _jump(self) -> None:
        try:
            super()._jump()
        except Deadlock:
            waiting, self._idle = self._idle, []
            if not waiting:
                raise
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def refuse(self, what: str) -> NoReturn:
        """Raise NotInVirtualTime where it was asked, and out of the test's await, whatever the asker makes of it."""
        error = NotInVirtualTime(
            f"{what} is not there in virtual time; stub the activity that needs it: env.stub(activity, returns=...)"
        )
        self.wrongs.append(error)
        raise error

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As any loop: what nobody retrieved is logged."""
        log.error("%s", context.get("message"), exc_info=context.get("exception"))


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: VirtualLoop, *_: Any, **__: Any) -> NoReturn:
        self.refuse(f"asyncio's {name}")

    return refuse


OUTSIDE = (
    "create_connection", "create_server", "create_datagram_endpoint", "create_unix_connection", "create_unix_server",
    "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe", "subprocess_exec", "subprocess_shell",
    "getaddrinfo", "getnameinfo", "start_tls", "sendfile", "sock_accept", "sock_connect", "sock_recv", "sock_recv_into",
    "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendfile", "sock_sendto", "add_reader", "add_writer",
    "add_signal_handler",
)  # fmt: skip
"""What leads out of the process, and so out of virtual time."""
for _name in OUTSIDE:
    setattr(VirtualLoop, _name, _refusing(_name))
