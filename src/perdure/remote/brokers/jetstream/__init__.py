"""Pub/sub on NATS JetStream."""

from perdure.remote.brokers.jetstream.broker import NatsBroker

__all__ = ["NatsBroker"]
