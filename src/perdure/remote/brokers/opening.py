"""A broker by its address."""

from __future__ import annotations

from urllib.parse import urlsplit

from perdure.blocks.pubsub import Broker
from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.remote.brokers.settings import read_settings
from perdure.stores.options import shown

REDIS = ("redis", "rediss", "valkey", "valkeys")
NATS = ("nats", "tls", "ws", "wss")


def open_broker(address: str) -> Broker:
    """The broker at redis://HOST:6379/0 or nats://HOST:4222; the query has its options, as in `?parts=4&lease=30`.

    `parts` is the number of parts of topics that nobody has used yet (1), `lease` the seconds after which a dead
    reader's messages go to others (10), `keep` the seconds that a topic keeps its messages (7 days), `keep_messages`
    about how many at most, `dedup` the seconds within which the same source and id are published once (600). It
    connects when it is first used. Raises InvalidArgument, UnknownConfiguration.
    """
    settings = read_settings(address)
    scheme = urlsplit(address).scheme
    try:
        if scheme in REDIS:
            from perdure.remote.brokers.streams import RedisBroker  # because each library is an extra

            return RedisBroker(settings)
        if scheme in NATS:
            from perdure.remote.brokers.jetstream import NatsBroker

            return NatsBroker(settings)
    except ModuleNotFoundError as error:
        extra = "redis" if scheme in REDIS else "nats"
        raise UnknownConfiguration(f"this broker needs a library: pip install 'perdure[{extra}]'") from error
    raise InvalidArgument(f"{shown(address)!r} is no address of a broker; begin it with redis:// or nats://")
