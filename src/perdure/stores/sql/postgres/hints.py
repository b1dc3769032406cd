"""Hints between nodes by NOTIFY and LISTEN: which shards have something new."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

import asyncpg
import msgspec

from perdure.stores.sql.postgres import link
from perdure.stores.sql.postgres.address import Address

CHANNEL = "perdure"
SHARDS_TOLD_MAX = 1_000
"""Shards that one hint names, because its text has a bound; a hint of more names none, and is for everybody."""
QUIET_SECONDS_MAX = 30.0
"""After which a listener asks whether the server is still there, because a cut network says nothing."""
RETRY_SECONDS = 1.0
"""Pause before a listener that lost its connection, or got none, tries again."""

# Asynchronous, because a hint is no reason to wait for a disk; and a transaction of its own behind the commit, because
# those that notify commit one after the other, each waiting for the fsync of the one before.
NOTIFY = f"select set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', ?1)"

log = logging.getLogger("perdure")


def told(shards: Iterable[int]) -> str:
    """The text of a hint."""
    named = sorted(shards)
    return ",".join(map(str, named)) if len(named) <= SHARDS_TOLD_MAX else ""


def heard(text: str) -> frozenset[int]:
    """Which shards a hint names; none if it is for everybody, or cannot be read."""
    try:
        return frozenset(int(part) for part in text.split(",")) if text else frozenset()
    except ValueError:
        return frozenset()


async def listen(address: Address, *, is_pooled: bool) -> AsyncIterator[frozenset[int]]:
    """What hints name, as long as somebody asks. Behind a pooler without a direct address there are none."""
    if is_pooled:
        if address.direct is None:
            return
        host, port = address.direct
        address = msgspec.structs.replace(address, host=host, port=port)
    while True:
        try:
            async for shards in _heard_on(await link.connect(address, is_pooled=False)):
                yield shards
        except link.BROKEN as error:
            log.debug("hints are not heard for a while: %s", error)
        await asyncio.sleep(RETRY_SECONDS)


async def _next(texts: asyncio.Queue[str | None], connection: asyncpg.Connection) -> str | None:
    """The next hint. Raises what the driver raises if the server has silently gone."""
    while True:
        try:
            return await asyncio.wait_for(texts.get(), QUIET_SECONDS_MAX)
        except TimeoutError:
            await connection.execute("select 1")


async def _heard_on(connection: asyncpg.Connection) -> AsyncIterator[frozenset[int]]:
    """The hints on one connection, until it is lost. The first is for everybody: who knows what was missed."""
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    connection.add_termination_listener(lambda _: texts.put_nowait(None))
    try:
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, text: texts.put_nowait(text))
        yield frozenset()
        while (text := await _next(texts, connection)) is not None:
            yield heard(text)
    finally:
        connection.terminate()
