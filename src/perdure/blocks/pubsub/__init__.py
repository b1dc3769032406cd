"""Publish and subscribe: messages, and the port of those who carry them."""

from perdure.blocks.pubsub.broker import Broker, Handle, ReceiverDied, Subscription
from perdure.blocks.pubsub.message import Message
from perdure.history.subscribing import Begin, SubscribeOptions, Verdict

__all__ = [
    "Begin",
    "Broker",
    "Handle",
    "Message",
    "ReceiverDied",
    "SubscribeOptions",
    "Subscription",
    "Verdict",
]
