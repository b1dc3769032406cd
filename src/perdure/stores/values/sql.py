"""The statements of values in SQL, for each dialect in its own words, and the rows that they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.errors import StoreVersion
from perdure.stores.values.contract import FORMAT, SWEEP_ROWS, Item
from perdure.stores.values.plan import Kind, Step


class Dialect(msgspec.Struct, frozen=True):
    """The statements of one database. Parameters of a step: those of `values_of`, in their order."""

    schema: tuple[str, ...]
    format: str
    get: str
    sweep: str
    steps: Mapping[Kind, str]
    names: Mapping[Kind, tuple[str, ...]]
    """What the parameters of each statement are, by the names in `values_of`."""


_PUT = ("space", "key", "value", "etag", "content_type", "ttl")
_OVER = ("value", "etag", "content_type", "ttl", "space", "key", "expected")
_AT = ("space", "key")
NAMES: Mapping[Kind, tuple[str, ...]] = {
    Kind.PUT: _PUT,
    Kind.PUT_FIRST: _PUT,
    Kind.PUT_OVER: _OVER,
    Kind.DELETE: _AT,
    Kind.DELETE_OF: (*_AT, "expected"),
}
META = "create table if not exists perdure_values_meta (id int primary key, format int not null)"


def values_of(dialect: Dialect, step: Step, space: str) -> list[Any]:
    """The parameters of a step's statement."""
    found = {
        "space": space,
        "key": step.key,
        "value": step.value,
        "etag": step.etag,
        "content_type": step.content_type,
        "ttl": step.ttl,
        "expected": step.expected,
    }
    return [found[name] for name in dialect.names[step.kind]]


def item_of(row: Any) -> Item:
    """A row of `get`: key, value, etag, content type, expiry."""
    key, value, etag, content_type, expires = row
    return Item(_text(key), bytes(value), _text(etag), content_type, None if expires is None else int(expires) * 1_000)


def check_format(place: object, found: int) -> None:
    """Raises StoreVersion if a later version has made the tables."""
    if found > FORMAT:
        raise StoreVersion(
            f"the values in {place} have format {found}, and this version has {FORMAT}; install a later perdure"
        )


def _text(found: str | bytes) -> str:
    return found.decode() if isinstance(found, bytes) else found


def _upserting(now: str, mark: str, number: str) -> Mapping[Kind, str]:
    """The steps in words that SQLite and PostgreSQL share; `mark` begins a parameter, `number` makes it a number."""
    alive = f"(expires is null or expires > {now})"
    there = "perdure_values.expires"
    at = [f"{mark}{position}" for position in range(8)]
    put = (
        "insert into perdure_values (space, key, value, etag, content_type, expires) "
        f"values ({at[1]}, {at[2]}, {at[3]}, {at[4]}, {at[5]}, {now} + {at[6]}{number}) "
        "on conflict (space, key) do update set value = excluded.value, etag = excluded.etag, "
        "content_type = excluded.content_type, expires = excluded.expires"
    )
    delete = f"delete from perdure_values where space = {at[1]} and key = {at[2]}"
    return {
        Kind.PUT: put,
        Kind.PUT_FIRST: f"{put} where {there} <= {now}",
        Kind.PUT_OVER: (
            f"update perdure_values set value = {at[1]}, etag = {at[2]}, content_type = {at[3]}, "
            f"expires = {now} + {at[4]}{number} where space = {at[5]} and key = {at[6]} and etag = {at[7]} and {alive}"
        ),
        Kind.DELETE: delete,
        Kind.DELETE_OF: f"{delete} and etag = {at[3]} and {alive}",
    }


_SQLITE_NOW = "cast((julianday('now') - 2440587.5) * 86400000 as integer)"
SQLITE = Dialect(
    schema=(
        META,
        "create table if not exists perdure_values (space text not null, key text not null, value blob not null, "
        "etag text not null, content_type text, expires integer, primary key (space, key)) without rowid",
        "create index if not exists perdure_values_expiring on perdure_values (expires) where expires is not null",
        f"insert into perdure_values_meta values (1, {FORMAT}) on conflict do nothing",
    ),
    format="select format from perdure_values_meta where id = 1",
    get=(
        "select key, value, etag, content_type, expires from perdure_values "
        f"where space = ? and key = ? and (expires is null or expires > {_SQLITE_NOW})"
    ),
    sweep=(
        "delete from perdure_values where (space, key) in (select space, key from perdure_values "
        f"where expires is not null and expires <= {_SQLITE_NOW} limit {SWEEP_ROWS})"
    ),
    steps=_upserting(_SQLITE_NOW, "?", ""),
    names=NAMES,
)

_POSTGRES_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
POSTGRES = Dialect(
    schema=(
        META,
        'create table if not exists perdure_values (space text collate "C" not null, key text collate "C" not null, '
        "value bytea not null, etag text not null, content_type text, expires bigint, primary key (space, key))",
        "create index if not exists perdure_values_expiring on perdure_values (expires) where expires is not null",
        f"insert into perdure_values_meta values (1, {FORMAT}) on conflict do nothing",
    ),
    format="select format from perdure_values_meta where id = 1",
    get=(
        "select key, value, etag, content_type, expires from perdure_values "
        f"where space = $1 and key = any($2::text[]) and (expires is null or expires > {_POSTGRES_NOW})"
    ),
    sweep=(
        "delete from perdure_values where (space, key) in (select space, key from perdure_values "
        f"where expires is not null and expires <= {_POSTGRES_NOW} limit {SWEEP_ROWS} for update skip locked)"
    ),
    steps=_upserting(_POSTGRES_NOW, "$", "::bigint"),
    names=NAMES,
)

_MYSQL_NOW = "cast(unix_timestamp(now(3)) * 1000 as signed)"
_MYSQL_INSERT = (
    "insert into perdure_values (space, `key`, value, etag, content_type, expires) "
    f"values (%s, %s, %s, %s, %s, {_MYSQL_NOW} + %s) on duplicate key update "
)
_MYSQL_COLUMNS = ("value", "etag", "content_type", "expires")
_MYSQL_ALIVE = f"(expires is null or expires > {_MYSQL_NOW})"
MYSQL = Dialect(
    schema=(
        META,
        "create table if not exists perdure_values (space varbinary(100) not null, `key` varbinary(1024) not null, "
        "value longblob not null, etag varbinary(32) not null, content_type varchar(255) character set utf8mb4, "
        "expires bigint, primary key (space, `key`), key perdure_values_expiring (expires)) engine = innodb",
        f"insert ignore into perdure_values_meta values (1, {FORMAT})",
    ),
    format="select format from perdure_values_meta where id = 1",
    get=(
        "select `key`, value, etag, content_type, expires from perdure_values "
        f"where space = %s and `key` in ({{keys}}) and {_MYSQL_ALIVE}"
    ),
    sweep=f"delete from perdure_values where expires <= {_MYSQL_NOW} limit {SWEEP_ROWS}",
    steps={
        Kind.PUT: _MYSQL_INSERT + ", ".join(f"{name} = values({name})" for name in _MYSQL_COLUMNS),
        # the expiry last, because each assignment sees what those before it have done
        Kind.PUT_FIRST: _MYSQL_INSERT
        + ", ".join(f"{name} = if(expires <= {_MYSQL_NOW}, values({name}), {name})" for name in _MYSQL_COLUMNS),
        Kind.PUT_OVER: (
            f"update perdure_values set value = %s, etag = %s, content_type = %s, expires = {_MYSQL_NOW} + %s "
            f"where space = %s and `key` = %s and etag = %s and {_MYSQL_ALIVE}"
        ),
        Kind.DELETE: "delete from perdure_values where space = %s and `key` = %s",
        Kind.DELETE_OF: (
            f"delete from perdure_values where space = %s and `key` = %s and etag = %s and {_MYSQL_ALIVE}"
        ),
    },
    names=NAMES,
)
