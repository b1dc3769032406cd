"""The subscriptions of a program that is reached over its port: found when it listens, kept while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from perdure.blocks.pubsub import Message, Subscription, Verdict
from perdure.cancellation import cancel_and_wait
from perdure.errors import PerdureError, ServerUnavailable
from perdure.remote.cloudevents import write_event
from perdure.remote.pubsub.bulk import BulkDelivery
from perdure.remote.pubsub.declared import Declared, together
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.pubsub.port import LOOK_SECONDS, Event, ProgramPort
from perdure.remote.pubsub.routes import Routes
from perdure.remote.pubsub.streamed import options_of

log = logging.getLogger("perdure")
TRY_SECONDS = 5.0
"""Pause after a subscription that could not be made."""

Place = tuple[str, str]
"""Pubsub and topic."""


class Deliveries:
    """Those of one app, from `start` to `close`."""

    def __init__(self, app: str, port: ProgramPort, desk: PubsubDesk, declared: Sequence[Declared]) -> None:
        self._app = app
        self._port = port
        self._desk = desk
        self._declared = declared
        self._open: dict[Place, tuple[Declared, Subscription]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._lacks: dict[Place, str] = {}
        """Why those that are missing are."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for the program; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"perdure-deliveries {self._app}")

    async def close(self) -> None:
        """Deliver no more."""
        self._port.close()
        if self._task is not None:
            await cancel_and_wait(self._task)
        for place in list(self._open):
            self._end(place)
        while self._ending:
            await asyncio.wait(self._ending)

    async def _run(self) -> None:
        """Each time that the program comes it is asked, because it may be another version of itself."""
        while True:
            wanted = {(one.pubsub, one.topic): one for one in await self._wanted()}
            self._port.listens()
            for place in [place for place, (declared, _) in self._open.items() if wanted.get(place) != declared]:
                self._end(place)
            while not await self._is_gone_within(await self._begin_all(wanted)):
                pass

    async def _begin_all(self, wanted: Mapping[Place, Declared]) -> float | None:
        """Seconds until those are tried again that could not be begun; None if all are."""
        for place, declared in wanted.items():
            if place not in self._open:
                await self._begin(place, declared)
        return TRY_SECONDS if len(self._open) < len(wanted) else None

    async def _is_gone_within(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._port.gone.wait()
        except TimeoutError:
            return self._port.gone.is_set()
        return True

    async def _wanted(self) -> list[Declared]:
        while True:
            try:
                return together(await self._port.subscriptions(), self._declared)
            except ServerUnavailable:
                await asyncio.sleep(LOOK_SECONDS)
            except PerdureError as error:
                log.error("app %s gets what files declare alone: %s", self._app, error)
                return list(self._declared)

    async def _begin(self, place: Place, declared: Declared) -> None:
        try:
            handler = self._handler(declared)
            channel = await self._desk.channel(self._app, declared.pubsub)
            subscription = await channel.broker.subscribe(
                declared.topic, channel.group, handler, options_of(declared.dead_letter), channel.lane
            )
        except PerdureError as error:
            if self._lacks.get(place) != str(error):  # because it is tried again and again
                log.error("app %s does not get %s of %s: %s", self._app, declared.topic, declared.pubsub, error)
            self._lacks[place] = str(error)
        else:
            self._lacks.pop(place, None)
            self._open[place] = (declared, subscription)
            self._desk.began(self._app, declared.shown)
            log.info("app %s gets %s of %s", self._app, declared.topic, declared.pubsub)

    def _end(self, place: Place) -> None:
        """Not waited for, because what is being handled may wait for the program, and only the run sees it come."""
        declared, subscription = self._open.pop(place)
        self._desk.ended(self._app, declared.shown)
        ending = asyncio.get_running_loop().create_task(subscription.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Task[None]) -> None:
        self._ending.discard(ending)
        if not ending.cancelled() and ending.exception() is not None:
            log.error("a subscription of app %s did not end well", self._app, exc_info=ending.exception())

    def _handler(self, declared: Declared) -> Delivery | BulkDelivery:
        routes = Routes(declared.rules)
        if declared.bulk is not None:
            return BulkDelivery(declared, routes, self._port)
        return Delivery(declared, routes, self._port)

    def __repr__(self) -> str:
        return f"<Deliveries of {self._app}: {len(self._open)} subscriptions>"


class Delivery:
    """Sends each message where its route leads."""

    def __init__(self, declared: Declared, routes: Routes, port: ProgramPort) -> None:
        self._declared = declared
        self._more = {"pubsubname": declared.pubsub, "topic": declared.topic}
        self._routes = routes
        self._port = port

    async def __call__(self, message: Message) -> Verdict:
        event = write_event(message, self._more)
        path = self._routes.path_for(event)
        if path is None:
            return Verdict.SUCCESS  # because the program has said that it does not want it
        return await self._port.deliver(path, Event(message=message, json=event), self._declared)
