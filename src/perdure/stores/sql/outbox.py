"""Instances and mail written through a connection of the caller's, in the caller's transaction."""

from __future__ import annotations

from perdure.errors import StoreNotUsable
from perdure.stores.contract import Creation, Mail, shard_number
from perdure.stores.sql import instances, reads
from perdure.stores.sql.connection import Connection


class SqlCarrier:
    """Writes what other processes find when the caller commits. The store must have been opened once by an app."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, creation: Creation) -> bool:
        return instances.create(self._connection, self._home(creation.head.app, creation.head.id), creation)

    def deliver(self, app: str, mail: Mail) -> None:
        instances.deliver(self._connection, self._home(app, mail.instance), [mail])

    def _home(self, app: str, id: str) -> int:
        shards = reads.shards(self._connection, app)
        if not shards:
            raise StoreNotUsable(f"the store knows no app {app!r} yet; open it once: `async with app:`")
        return shards[shard_number(id, len(shards))]
