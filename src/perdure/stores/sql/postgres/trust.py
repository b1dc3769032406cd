"""Whether a PostgreSQL server can be trusted with a store: its version, its settings, and what this user may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import StoreNotUsable, StoreVersion
from perdure.stores.sql.connection import Connection

if TYPE_CHECKING:
    from perdure.stores.sql.postgres.address import Address

VERSION_MIN = 130_000
"""PostgreSQL 13, the oldest whose statements and settings these are."""

MEANT = {
    "fsync": "a commit may be lost, and the whole database ruined, when the power fails",
    "synchronous_commit": "the newest commits may be lost when the server fails",
    "full_page_writes": "the database may be ruined when the power fails",
}
"""Settings that have to be on, and what it means if they are not. Named in `?unsafe=`, they may be off."""

IS_STORE = "select 1 from pg_class where relname = 'perdure_meta' and pg_table_is_visible(oid)"
"""Asked of the table itself, because what a session has cached it believes until its next transaction."""

_QUESTION = """
select
    current_setting('server_version_num')::bigint, current_setting('server_version'), pg_is_in_recovery(),
    current_setting('server_encoding'), current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('full_page_writes'), current_schema()::text,
    coalesce(has_schema_privilege(current_schema(), 'create'), false), current_user::text,
    current_setting('transaction_read_only')
"""


def look_at_server(connection: Connection, address: Address) -> tuple[str, dict[str, str], list[str]]:
    """Its version, the settings that durability depends on, and what is wrong with it, in a sentence each."""
    row = connection.row(_QUESTION)
    assert row is not None, "a query without a table has a row"
    product, settings = f"PostgreSQL {row[1]}", dict(zip(MEANT, row[4:7], strict=True))
    try:
        check_server(connection, address)
    except (StoreNotUsable, StoreVersion) as error:
        return product, settings, [str(error.args[0])]
    return product, settings, []


def durability(settings: dict[str, str]) -> str:
    """The class of a server with these settings, and what it means."""
    off = [f"{setting} is off, so {MEANT[setting]}" for setting, value in settings.items() if value == "off"]
    if off:
        return f"C: {'; '.join(off)}"
    return "A: a commit survives a crash of the server, a loss of power, and a failover to a synchronous replica"


def check_server(connection: Connection, address: Address) -> None:
    """Raises StoreVersion or StoreNotUsable with one sentence that says what to change."""
    row = connection.row(_QUESTION)
    assert row is not None, "a query without a table has a row"
    number, version, is_replica, encoding, fsync, synchronous, full_pages, schema, may_create, user, read_only = row
    if number < VERSION_MIN:
        raise StoreVersion(f"{address} is PostgreSQL {version}; this version needs 13 or later, so upgrade the server")
    if is_replica:
        raise StoreNotUsable(f"{address} is a read-only replica; name the primary server")
    if read_only == "on":
        raise StoreNotUsable(
            f"{address} begins transactions read-only; set default_transaction_read_only to off for this user"
        )
    if encoding != "UTF8":
        raise StoreNotUsable(f"{address} has the encoding {encoding}; create a database with encoding UTF8")
    for setting, value in (("fsync", fsync), ("synchronous_commit", synchronous), ("full_page_writes", full_pages)):
        if value == "off" and setting not in address.unsafe:
            raise StoreNotUsable(
                f"{address} has {setting} = off, so {MEANT[setting]}; set it to on, or accept that with "
                f"?unsafe={setting}"
            )
    if schema is None:
        raise StoreNotUsable(
            f"{address}: user {user!r} has no schema to put tables in; create one of that name, or set search_path"
        )
    if not may_create and connection.row(IS_STORE) is None:
        raise StoreNotUsable(
            f"{address}: user {user!r} may create nothing in schema {schema!r}; "
            f"grant create on schema {schema} to {user}"
        )
