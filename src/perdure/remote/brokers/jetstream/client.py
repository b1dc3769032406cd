"""The connection to NATS, and its failures as errors of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from perdure.errors import StoreError, StoreFull, StoreNotUsable, StoreUnavailable
from perdure.remote.brokers.settings import BrokerSettings
from perdure.stores.options import shown

log = logging.getLogger("perdure")
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0
"""How long an answer may take."""
PUBLISHING_MAX = 4_000
"""Messages that are published and not yet acknowledged."""
NO_ROOM = frozenset((10_023, 10_047, 10_077))
"""What JetStream calls it when a stream, or the server, has no room left."""


class Link:
    """One connection, made when it is first asked for and again whenever it was lost."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._context: JetStreamContext | None = None

    async def stream_context(self) -> JetStreamContext:
        """Where JetStream is asked. Raises StoreUnavailable."""
        await self.client()
        assert self._context is not None, "it is made with the connection"
        return self._context

    async def client(self) -> Client:
        """The connection. Raises StoreUnavailable."""
        async with self._connecting:
            if self._client is None:
                self._client = await self._connected()
                self._context = self._client.jetstream(timeout=ANSWER_SECONDS, publish_async_max_pending=PUBLISHING_MAX)
        return self._client

    async def close(self) -> None:
        """Send what is to be sent, and let go."""
        client, self._client, self._context = self._client, None, None
        if client is not None and not client.is_closed:
            try:
                await client.drain()
            except nats.errors.Error as error:
                log.warning("%s was left in haste: %s", self, error)
                await client.close()

    async def _connected(self) -> Client:
        async with asking(self._settings):
            return await nats.connect(
                self._settings.url,
                connect_timeout=int(CONNECT_SECONDS),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                error_cb=self._told,
                name="perdure",
            )

    async def _told(self, error: Exception) -> None:
        log.warning("%s: %s", self, error or type(error).__name__)

    def __str__(self) -> str:
        return f"NATS at {shown(self._settings.url)}"


@asynccontextmanager
async def asking(settings: BrokerSettings) -> AsyncIterator[None]:
    """Failures of what is asked inside as errors of the store."""
    try:
        yield
    except (nats.errors.Error, OSError) as error:
        raise failure(error, settings) from error


def failure(error: Exception, settings: BrokerSettings) -> StoreError:
    """What a failure of NATS means."""
    place = f"NATS at {shown(settings.url)}"
    if isinstance(error, nats.js.errors.APIError):
        if error.err_code in NO_ROOM:
            return StoreFull(f"{place} has no room left; nothing was published: {error.description}")
        if error.code is not None and error.code < 500:
            return StoreNotUsable(f"{place} refuses it: {error.description}")
    if isinstance(error, nats.js.errors.ServiceUnavailableError):
        return StoreNotUsable(f"{place} has no JetStream; start it with -js")
    return StoreUnavailable(f"{place} gives no answer: {error or type(error).__name__}")
