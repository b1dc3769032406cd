"""How a node learns that others have sent mail: MySQL tells nobody, so it looks at the newest number of the mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from perdure.errors import StoreUnavailable
from perdure.stores.sql.connection import Connection, Database
from perdure.stores.sql.mysql.connection import MysqlConnection
from perdure.stores.sql.runner import ThreadRunner
from perdure.stores.sql.store import Session

LOOK_SECONDS_MIN = 0.02
LOOK_SECONDS_MAX = 0.1
"""Pauses between two looks, which grow while nothing comes. A look reads one entry of an index."""


async def look(database: Database) -> AsyncIterator[frozenset[int]]:
    """The shards that have got mail, as soon as they have; some may be missed, because numbers do not come in order."""
    session = Session(database, ThreadRunner("perdure-store-hints"), write=False)
    try:
        number: int | None = None
        pause = LOOK_SECONDS_MIN
        while True:
            try:
                number, shards = await session.run(_since, number)
            except StoreUnavailable:
                # because a hint is never needed, and who needs an answer will see the error
                shards = frozenset()
            pause = LOOK_SECONDS_MIN if shards else min(pause * 1.05, LOOK_SECONDS_MAX)
            if shards:
                yield shards
            await asyncio.sleep(pause)
    finally:
        await session.close()


def _since(connection: Connection, number: int | None) -> tuple[int, frozenset[int]]:
    assert isinstance(connection, MysqlConnection)
    return (connection.newest_mail(), frozenset()) if number is None else connection.mail_since(number)
