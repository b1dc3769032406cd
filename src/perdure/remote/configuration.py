"""Where the items of a configuration component are read: on the server's own store, in a Redis, or in a table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from perdure.blocks.configuration import ITEMS_MAX, OWN, SPACE, Configurations, Item, KeptConfiguration
from perdure.blocks.resources import Component
from perdure.blocks.state.places import place_of
from perdure.errors import InvalidArgument, StoreUnavailable
from perdure.stores.values.contract import StateStore

REDIS, POSTGRES = "configuration.redis", "configuration.postgresql"
SECONDS_MAX = 10.0
"""How long one look may take."""
_SEPARATOR = "||"
"""Between a value in Redis and its version."""
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?", re.ASCII)


Own = Callable[[str], Awaitable[StateStore]]
"""Opens a space of the server's own store."""


async def opened(component: Component, own: Own) -> Configurations:
    """What the items of a component are read from. Raises InvalidArgument and StoreError."""
    if component.type == OWN:
        return KeptConfiguration(await own(SPACE), component.name)
    if component.type == REDIS:
        return RedisItems(_address(component, "state.redis"))
    table = component.metadata["table"]
    if not _TABLE.fullmatch(table):
        raise InvalidArgument(f"the table of component {component.name!r} is {table!r}, which is no name of one")
    return PostgresItems(_address(component, "state.postgresql"), table)


def _address(component: Component, type: str) -> str:
    """The address of a database, which components of all blocks write alike."""
    metadata = {name: value for name, value in component.metadata.items() if name != "table"}
    found = place_of(msgspec.structs.replace(component, type=type, metadata=metadata)).address
    assert found is not None, "only the server's own store has no address"
    return found


class RedisItems:
    """Keys of a Redis as they stand there: a value, or a value and its version with || between them."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def items(self, keys: Sequence[str]) -> dict[str, Item]:
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError
        except ImportError as error:
            raise InvalidArgument(f'{REDIS} needs its driver: pip install "perdure[redis]" ({error})') from error
        client: Any = Redis.from_url(
            self._address, decode_responses=True, socket_timeout=SECONDS_MAX, socket_connect_timeout=SECONDS_MAX
        )
        try:
            names = list(keys) or await _every(client)
            values = await client.mget(names) if names else []
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the Redis of a configuration cannot be read: {error}") from error
        finally:
            await client.aclose()
        return {name: redis_item(value) for name, value in zip(names, values, strict=True) if value is not None}


async def _every(client: Any) -> list[str]:
    names: list[str] = []
    async for name in client.scan_iter(count=1_000, _type="string"):
        names.append(name)
        if len(names) > ITEMS_MAX:
            raise InvalidArgument(f"the Redis has more than {ITEMS_MAX:,} keys; name those that are wanted")
    return names


def redis_item(text: str) -> Item:
    """What a value in Redis says. Pure."""
    value, separator, version = text.rpartition(_SEPARATOR)
    return Item(value, version) if separator else Item(text)


class PostgresItems:
    """Rows of a table with the columns key, value, version and metadata (JSON)."""

    def __init__(self, address: str, table: str) -> None:
        self._address = address
        self._table = table

    async def items(self, keys: Sequence[str]) -> dict[str, Item]:
        try:
            import asyncpg
        except ImportError as error:
            raise InvalidArgument(f'{POSTGRES} needs its driver: pip install "perdure[postgres]" ({error})') from error
        where = "WHERE key = ANY($1::text[])" if keys else ""
        # the name of the table is checked, and nothing else comes from outside
        query = f"SELECT key, value, version, metadata::text FROM {self._table} {where} LIMIT {ITEMS_MAX}"  # noqa: S608
        try:
            connection = await asyncpg.connect(self._address, timeout=SECONDS_MAX)
            try:
                rows = await connection.fetch(query, *([list(keys)] if keys else []), timeout=SECONDS_MAX)
            finally:
                await connection.close(timeout=SECONDS_MAX)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the table {self._table} of a configuration cannot be read: {error}") from error
        return {str(row["key"]): _row(row) for row in rows}


def _row(row: Any) -> Item:
    metadata = msgspec.json.decode(row["metadata"]) if row["metadata"] else None
    told = {str(name): str(value) for name, value in metadata.items()} if isinstance(metadata, dict) else {}
    return Item(str(row["value"] or ""), str(row["version"] or ""), told)
