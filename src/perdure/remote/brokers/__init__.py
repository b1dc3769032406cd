"""Brokers that users have beside the store: Redis Streams and NATS JetStream, behind the port of pub/sub."""

from perdure.remote.brokers.opening import open_broker

__all__ = ["open_broker"]
