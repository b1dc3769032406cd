"""How the server is connected to: with which settings, and whether a pooler stands between."""

from __future__ import annotations

from typing import Any

import asyncpg

from perdure.stores.sql.postgres.address import Address

CONNECT_SECONDS_MAX = 10.0
ANSWER_SECONDS_MAX = 30.0
"""How long one call may take before the connection counts as lost, because a cut network says nothing."""
IDLE_SECONDS_MAX = 5
"""After which the server ends a transaction whose node says nothing, so that a frozen node holds up nobody for long."""
LOCK_SECONDS_MAX = 8
"""How long a statement waits for a lock: longer than the server waits for the node that holds it."""
SILENCE_SECONDS = 5
"""After which the server asks a silent client whether it is there, and again each second, three times."""

GUARDS = {
    "lock_timeout": f"{LOCK_SECONDS_MAX}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS_MAX}s",
    # Plans must not depend on statistics, which lag behind tables that grow within seconds. Every query has an index.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""What holds in every transaction."""
KEEPALIVES = {
    "tcp_keepalives_idle": str(SILENCE_SECONDS),
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
}


def prelude() -> str:
    """What a transaction begins with behind a pooler in transaction mode, where nothing outlives it on a connection."""
    return "; ".join(f"set local {name} = '{value}'" for name, value in GUARDS.items())


BROKEN = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection raises that is no use any more."""


async def connect(address: Address, *, is_pooled: bool | None) -> asyncpg.Connection:
    """A connection to the server, or, with `is_pooled` not False, to what may be a pooler."""
    options: dict[str, Any] = {"ssl": address.ssl} if address.ssl else {}
    if address.tls is not None:
        options["ssl"] = address.tls.context() or "disable"
    if is_pooled is not False:
        options["statement_cache_size"] = 0
    direct = {**GUARDS, **KEEPALIVES} if is_pooled is False else {}
    return await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=ANSWER_SECONDS_MAX,
        server_settings={"application_name": "perdure", **direct},
        max_cached_statement_lifetime=0,
        **options,
    )


async def is_behind_pooler(connection: asyncpg.Connection) -> bool:
    """Whether the process that answers is another than the one that the connection was made with."""
    async with connection.transaction():
        pid = await connection.fetchval("select pg_backend_pid()")
    return bool(pid != connection.get_server_pid())
