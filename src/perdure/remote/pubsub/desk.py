"""The pub/sub components of the apps of a server: opened when they are first used, and shared by its ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from perdure.blocks.pubsub import Broker, Message
from perdure.blocks.resources import Component, Resources
from perdure.clock import Clock
from perdure.engine.topic_lane import Lane
from perdure.errors import InvalidArgument, PubsubNotFound
from perdure.history.options import Trace
from perdure.remote.brokers import open_broker
from perdure.remote.pubsub.addresses import address_of, group_of
from perdure.remote.pubsub.publishing import Publish, message_of
from perdure.remote.requests import Metadata, TopicSubscription

PUBSUB = "pubsub"
BULK_MAX = 1_000
"""Events of one bulk."""


class Channel(msgspec.Struct, frozen=True):
    """A component as one app uses it: `group` is that of its subscriptions, `lane` the one of its program."""

    name: str
    broker: Broker
    group: str
    lane: Lane


class PubsubDesk:
    """Asked by the calls and routes of pub/sub. `own` opens the broker on the server's own store."""

    def __init__(
        self, resources_of: Callable[[str], Resources], own: Callable[[], Awaitable[Broker]], clock: Clock
    ) -> None:
        self.clock = clock
        self.subscriptions: dict[str, list[TopicSubscription]] = {}
        """By app, what is delivered at present."""
        self._resources_of = resources_of
        self._own = own
        self._brokers: dict[str | None, Broker] = {}
        self._lanes: dict[str, Lane] = {}
        self._opening = asyncio.Lock()

    async def channel(self, app: str, name: str) -> Channel:
        """Raises PubsubNotFound, InvalidArgument, StoreError."""
        component = self._component(app, name)
        lane = self._lanes.setdefault(app, Lane())
        return Channel(name, await self._broker(component), group_of(component, app), lane)

    async def publish(self, app: str, asked: Publish, trace: Trace | None = None) -> None:
        """Durable when it returns. Raises PubsubNotFound, InvalidArgument, StoreError."""
        channel = await self.channel(app, asked.pubsub)
        await channel.broker.publish([self._message(app, asked, trace)])

    async def publish_all(
        self, app: str, name: str, asked: Sequence[Publish], trace: Trace | None = None
    ) -> list[Exception | None]:
        """What became of each: None if it is durable. Raises PubsubNotFound."""
        if len(asked) > BULK_MAX:
            raise InvalidArgument(f"a bulk of {len(asked):,} events; send at most {BULK_MAX:,} at once")
        channel = await self.channel(app, name)
        outcomes: list[Exception | None] = [None] * len(asked)
        messages: dict[int, Message] = {}
        for place, one in enumerate(asked):
            try:
                messages[place] = self._message(app, one, trace)
            except InvalidArgument as error:
                outcomes[place] = error
        if messages:
            try:
                await channel.broker.publish(list(messages.values()))
            except Exception as error:  # noqa: BLE001 because the program hears of each event what became of it
                for place in messages:
                    outcomes[place] = error
        return outcomes

    def began(self, app: str, subscription: TopicSubscription) -> None:
        """It is delivered from now on."""
        self.subscriptions.setdefault(app, []).append(subscription)

    def ended(self, app: str, subscription: TopicSubscription) -> None:
        """It is delivered no more."""
        self.subscriptions[app].remove(subscription)

    def describe(self, told: Metadata) -> Metadata:
        """Add what is delivered to what is told of an app."""
        return msgspec.structs.replace(told, subscriptions=tuple(self.subscriptions.get(told.app, ())))

    async def close(self) -> None:
        """Let go of the brokers, and of what they still hand out."""
        brokers, self._brokers = list(self._brokers.values()), {}
        for broker in brokers:
            await broker.close()

    def _message(self, app: str, asked: Publish, trace: Trace | None) -> Message:
        return message_of(asked, app, self.clock.token(), self.clock.now(), trace)

    def _component(self, app: str, name: str) -> Component:
        found = {one.name: one for one in self._resources_of(app).block(PUBSUB)}
        if name not in found:
            known = ", ".join(found) or "none"
            raise PubsubNotFound(f"pubsub {name[:80]!r} is not found; app {app!r} has {known}")
        return found[name]

    async def _broker(self, component: Component) -> Broker:
        """One for each server that messages lie on, however many components name it."""
        address = address_of(component)
        async with self._opening:
            found = self._brokers.get(address)
            if found is None:
                found = await self._own() if address is None else open_broker(address)
                self._brokers[address] = found
        return found

    def __repr__(self) -> str:
        return f"<PubsubDesk: {len(self._brokers)} brokers>"
