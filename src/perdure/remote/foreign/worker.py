"""A worker of ours at a server that is no Perdure, by the public protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.errors import MalformedMessage, NotSupportedByServer, PerdureError
from perdure.history.options import Label
from perdure.history.work import Attempt, Outlet
from perdure.remote.foreign.arguments import inward
from perdure.remote.foreign.translation import told_by
from perdure.remote.foreign.turns import ForeignTurns
from perdure.remote.native.attempts import Making, WorkerAttempts
from perdure.remote.native.channel import Channel
from perdure.remote.native.codec import AttemptItem
from perdure.remote.native.stream import WORK, WorkStream
from perdure.remote.requests import ActivityItem, ActivityResult, Capability, Flavour, OpenStream, TurnItem
from perdure.remote.wire.codec import Codec
from perdure.sdk.worker import Worker

log = logging.getLogger("perdure")
TURN_DONE = "/TaskHubSidecarService/CompleteOrchestratorTask"
ATTEMPT_DONE = "/TaskHubSidecarService/CompleteActivityTask"
IN_FLIGHT_MAX = 100
"""Turns, and attempts, that the worker asks for at once."""
ANSWER_SECONDS = 60.0


class ForeignWorker:
    """Serves from `open` to `close`. What the server did not hear it hands out again."""

    def __init__(
        self,
        channel: Channel,
        codec: Codec,
        app: str,
        worker: Worker,
        *,
        id: str,
        slots: int,
        drain_seconds: float,
    ) -> None:
        self._channel = channel
        self._codec = codec
        self._app = app
        self._worker = worker
        self._id = id
        self._slots = min(slots, IN_FLIGHT_MAX)
        self._drain_seconds = drain_seconds
        self._turns = ForeignTurns(app, worker, codec)
        self._attempts = WorkerAttempts(worker, self._attempt_ended, _unheard, _no_outlet)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stream = WorkStream(self._work, self._take, lambda: None)

    async def open(self, seconds: float) -> None:
        """Begin to serve; the server tells nobody that a worker is there, so that there is nothing to wait for."""
        await self._stream.open(0.0)

    async def close(self) -> None:
        """Let attempts end within the bound, say what is decided, go."""
        await self._attempts.drain(self._drain_seconds)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(self._drain_seconds, 1.0))
        await self._stream.close()
        for task in list(self._tasks):
            task.cancel()

    @property
    def is_connected(self) -> bool:
        return self._stream.is_open

    def _work(self) -> AsyncIterator[bytes]:
        return self._channel.stream(WORK, self._opening())

    def _opening(self) -> bytes:
        return self._codec.peer.write_open_stream(
            OpenStream(
                turns_max=IN_FLIGHT_MAX,
                activities_max=self._slots,
                worker=self._id,
                capabilities=frozenset((Capability.HEALTH_PING,)),
            )
        )

    def _take(self, data: bytes) -> None:
        try:
            item = self._codec.read_item(data)
            if isinstance(item, TurnItem):
                result = self._turns.take(item)
                self._spawn(self._tell(TURN_DONE, self._codec.peer.write_turn_result(result)))
            elif isinstance(item, ActivityItem):
                self._attempts.take(AttemptItem(self._attempt(item), item.token))
        except MalformedMessage as error:
            log.error("a piece of work cannot be read, so the server has to decide: %s", error)

    def _attempt(self, item: ActivityItem) -> Attempt:
        first, attempt = told_by(item.number)
        return Attempt(
            app=self._app,
            instance=item.instance,
            name=item.name,
            attempt=attempt,
            key=item.key or f"{item.instance}/{item.execution}/{first}",
            input=inward(item.input),
            timeout=self._worker.timeout_of(item.name),
            details=None,
            execution=item.execution,
            number=item.number,
            label=Label(trace=item.trace) if item.trace is not None else None,
        )

    def _attempt_ended(self, making: Making, result: ActivityResult) -> None:
        told = msgspec.structs.replace(result, token=making.token)
        self._attempts.heard(making)
        self._spawn(self._tell(ATTEMPT_DONE, self._codec.peer.write_activity_result(told)))

    async def _tell(self, path: str, data: bytes) -> None:
        try:
            await self._channel.send(path, data, ANSWER_SECONDS)
        except (PerdureError, TimeoutError) as error:
            log.info("an answer was not heard, so the work goes out again: %s", error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __repr__(self) -> str:
        return f"<ForeignWorker {self._id} at {self._channel!r} ({self._codec.flavour}): {self._attempts!r}>"


def _unheard(token: str, details: Payload | None) -> None:
    """Such a server has no ear for heartbeats, and needs none: it has no timeout for them."""


def _no_outlet(token: Callable[[], str], overtaken: Callable[[], None]) -> Outlet:
    raise NotSupportedByServer("the server has no streams, so that an activity cannot yield")


def flavour_at(knows_dapr: bool) -> Flavour:
    """Which protocol a server speaks that is no Perdure: Dapr's own calls are known to Dapr alone."""
    return Flavour.DAPR if knows_dapr else Flavour.MICROSOFT
