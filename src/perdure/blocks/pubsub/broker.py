"""What a program needs of whoever carries messages: the port that the store, Redis Streams and NATS fulfil."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from perdure.blocks.pubsub.message import Message
from perdure.engine.topic_lane import Lane
from perdure.history.subscribing import DEFAULTS, SubscribeOptions, Verdict

__all__ = ["DEFAULTS", "Broker", "Handle", "ReceiverDied", "Subscription"]

Handle = Callable[[Message], Awaitable[Verdict]]
"""Handles one message; what it raises means RETRY, but for ReceiverDied."""


class ReceiverDied(Exception):
    """The process that had a message in hand is gone, and nothing was heard of the message: it may be what kills."""


class Subscription(Protocol):
    """A handler that is given the messages of a group."""

    async def close(self) -> None:
        """Take no more messages, and return when none is being handled. The group and its place stay."""


class Broker(Protocol):
    """Carries messages from those who publish to every group that subscribes, at least once."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Messages, in their order; durable when this returns. If it raises, some of them may be published.

        Raises InvalidArgument for what is no message, MailboxFull, StoreError.
        """

    async def subscribe(
        self,
        topic: str,
        group: str,
        handle: Handle,
        options: SubscribeOptions = DEFAULTS,
        lane: Lane | None = None,
    ) -> Subscription:
        """Have `handle` called for each message of the topic that this group has not handled; durable for the group.

        Subscriptions of one group share its messages; each message goes to one of them at a time. `lane` is that of the
        process which `handle` asks, if it is not this one: what may kill it is handled with no other such message.
        """

    async def close(self) -> None:
        """Close all subscriptions and let go of the connection."""
