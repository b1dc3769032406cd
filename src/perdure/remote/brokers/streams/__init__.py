"""Pub/sub on Redis Streams."""

from perdure.remote.brokers.streams.broker import RedisBroker

__all__ = ["RedisBroker"]
