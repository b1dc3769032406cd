"""Deliveries many at a time: messages wait for each other for a moment, and the program answers for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from perdure.blocks.pubsub import Message, ReceiverDied, Verdict
from perdure.clock import SystemClock
from perdure.remote.cloudevents import write_event
from perdure.remote.pubsub.declared import Declared
from perdure.remote.pubsub.port import Bulk, Event, ProgramPort
from perdure.remote.pubsub.routes import Routes

MESSAGES_MAX = 100
"""Messages of one delivery, if the subscription does not say."""
WAIT_SECONDS = 1.0
"""How long the first of them waits for others, if the subscription does not say."""


class _Waiting(msgspec.Struct, frozen=True):
    event: Event
    verdict: asyncio.Future[Verdict]


class BulkDelivery:
    """Gathers messages by the path that they go to."""

    def __init__(self, declared: Declared, routes: Routes, port: ProgramPort) -> None:
        bulk = declared.bulk
        assert bulk is not None, "this subscription wants many at a time"
        self._most = bulk.messages_max or MESSAGES_MAX
        self._seconds = WAIT_SECONDS if bulk.wait_milliseconds is None else bulk.wait_milliseconds / 1_000
        self._declared = declared
        self._more = {"pubsubname": declared.pubsub, "topic": declared.topic}
        self._routes = routes
        self._port = port
        self._token = SystemClock().token
        self._waiting: dict[str, list[_Waiting]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def __call__(self, message: Message) -> Verdict:
        json = write_event(message, self._more)
        path = self._routes.path_for(json)
        if path is None:
            return Verdict.SUCCESS
        loop = asyncio.get_running_loop()
        waiting = _Waiting(Event(id=self._token(), message=message, json=json), loop.create_future())
        together = self._waiting.setdefault(path, [])
        together.append(waiting)
        if len(together) >= self._most:
            self._send(path)
        elif path not in self._timers:
            self._timers[path] = loop.call_later(self._seconds, self._send, path)
        return await waiting.verdict

    def _send(self, path: str) -> None:
        timer = self._timers.pop(path, None)
        if timer is not None:
            timer.cancel()
        task = asyncio.get_running_loop().create_task(self._post(path, self._waiting.pop(path)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _post(self, path: str, together: list[_Waiting]) -> None:
        verdicts: Mapping[str, Verdict] = {}
        bulk = Bulk(id=self._token(), events=[one.event for one in together])
        try:
            verdicts = await self._port.deliver_all(path, bulk, self._declared)
        except ReceiverDied as died:
            for waiting in together:
                if not waiting.verdict.done():
                    waiting.verdict.set_exception(died)
        finally:
            for waiting in together:
                if not waiting.verdict.done():
                    waiting.verdict.set_result(verdicts.get(waiting.event.id, Verdict.RETRY))
