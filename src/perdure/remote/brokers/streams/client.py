"""The connection to Redis: what it is asked, and its failures as errors of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from perdure.errors import StoreError, StoreFull, StoreNotUsable, StoreUnavailable
from perdure.remote.brokers.settings import BrokerSettings
from perdure.stores.options import shown

CONNECTIONS_MAX = 200
"""Each part that is read holds one; the rest is shared by what is written."""
ANSWER_SECONDS = 10.0
"""How long an answer may take beyond what was asked to be waited."""


def connected(settings: BrokerSettings) -> redis.asyncio.Redis:
    """A client, that connects when it is first used."""
    scheme, _, rest = settings.url.partition("://")
    return redis.asyncio.Redis.from_url(
        f"{scheme.replace('valkey', 'redis')}://{rest}",
        protocol=2,
        max_connections=CONNECTIONS_MAX,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        # because a read that was answered to a connection that broke has to be noticed: its messages are in hand
        retry=Retry(NoBackoff(), 0),
    )


def script(client: redis.asyncio.Redis, name: str) -> Any:
    """One of the scripts beside this module; called with `keys` and `args`."""
    return client.register_script(resources.files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8"))


@asynccontextmanager
async def asking(settings: BrokerSettings) -> AsyncIterator[None]:
    """Failures of what is asked inside as errors of the store."""
    try:
        yield
    except RedisError as error:
        raise failure(error, settings) from error


def failure(error: RedisError, settings: BrokerSettings) -> StoreError:
    """What a failure of Redis means."""
    place = f"Redis at {shown(settings.url)}"
    if isinstance(error, OutOfMemoryError):
        return StoreFull(f"{place} has no memory left; nothing was published: {error}")
    if isinstance(error, NotConnected | TooLate):
        return StoreUnavailable(f"{place} gives no answer: {error}")
    if isinstance(error, ResponseError):
        return StoreNotUsable(f"{place} refuses it: {error}")
    return StoreUnavailable(f"{place} does not do it now: {error}")


def is_without_group(error: BaseException | None) -> bool:
    """Whether the group is gone, as it is from a server that lost its data."""
    return isinstance(error, ResponseError) and str(error).startswith("NOGROUP")
