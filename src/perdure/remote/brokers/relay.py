"""Brings the messages of a broker to the topics of an app, where they start workflows and raise events once."""

from __future__ import annotations

import logging

import msgspec

from perdure.blocks.pubsub import Broker, Message, SubscribeOptions, Subscription, Verdict
from perdure.blocks.pubsub.store import published
from perdure.clock import SystemClock
from perdure.errors import UsageError
from perdure.sdk.client import Client

log = logging.getLogger("perdure")
RELAYED = SubscribeOptions(attempts_max=1_000_000)
"""A message comes again until the app's store has taken it."""


async def relay(
    broker: Broker,
    client: Client,
    topic: str,
    *,
    group: str,
    to: str | None = None,
    options: SubscribeOptions = RELAYED,
) -> Subscription:
    """Bring what comes on a topic of a broker to the topic `to` of an app, by default that of the same name.

    The broker is told that a message is done when the app's store has it. One that the broker hands out again is the
    same event, so what `app.subscribe` makes of it happens once. What the app cannot take is dropped, with a line in
    the log. Raises StoreError.
    """
    clock = SystemClock()

    async def bring(message: Message) -> Verdict:
        found = msgspec.structs.replace(message, topic=to or topic)
        try:
            await client.gateway.publish([published(found, clock.now())])
        except UsageError as error:  # because it will fit as little the next time
            log.error("message %s of %s is dropped: %s", message.id, message.topic, error)
            return Verdict.DROP
        return Verdict.SUCCESS

    return await broker.subscribe(topic, group, bring, options)
