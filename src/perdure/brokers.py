"""Brokers beside the store, for programs that use them themselves or have their messages brought to an app."""

from perdure.blocks.pubsub import Begin, Broker, Message, SubscribeOptions, Subscription, Verdict
from perdure.remote.brokers import open_broker
from perdure.remote.brokers.relay import relay

__all__ = ["open_broker", "relay", "Broker", "Message", "Verdict", "SubscribeOptions", "Subscription", "Begin"]
