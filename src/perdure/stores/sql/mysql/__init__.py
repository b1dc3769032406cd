"""The MySQL dialect of the SQL store, which MariaDB understands too."""

from __future__ import annotations

from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.mysql.address import read_address
from perdure.stores.sql.mysql.database import MysqlDatabase


def open_store(url: str, *, read_only: bool = False) -> ClusterStore:
    """The store at `mysql://user:password@host:port/database`, not yet opened.

    Options: `?shards=` (of a new store), `?lease=` seconds, `?socket=` in place of a host, `?tls=` and `?tls_ca=`,
    `?unsafe=innodb_flush_log_at_trx_commit,...`. Raises InvalidArgument and UnknownConfiguration.
    """
    return ClusterStore(MysqlDatabase(read_address(url), read_only=read_only))
