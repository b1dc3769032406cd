"""The address of a PostgreSQL store: where the server is, and the options that may follow."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.sql.address import LEASE_SECONDS, lease_seconds, one_of, shards, shown, some_of
from perdure.stores.sql.postgres.trust import MEANT
from perdure.stores.tls import WORDS, Tls, read_tls

SCHEMES = ("postgresql", "postgres")
PORT = 5_432
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class Address(msgspec.Struct, frozen=True):
    """Where the store is. `shards` None: as many as it has, or the usual number if it is new. `direct` is the server
    itself, if `host` is a pooler. `ssl` is how libpq says what `tls` says; with neither the driver's way is tried."""

    host: str
    port: int
    user: str | None
    password: str | None
    database: str | None
    ssl: str | None = None
    tls: Tls | None = None
    schema: str | None = None
    shards: int | None = None
    lease_seconds: float = LEASE_SECONDS
    unsafe: tuple[str, ...] = ()
    direct: tuple[str, int] | None = None

    def __str__(self) -> str:
        """Without the password."""
        return f"{self.host}:{self.port}/{self.database or self.user or ''}"


def read_address(url: str) -> Address:
    """Raises InvalidArgument and UnknownConfiguration, with what to write instead."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError as error:
        raise InvalidArgument(f"{shown(url)} is no address: {error}; write {_FORM}") from error
    if parts.scheme not in SCHEMES or not parts.hostname or not parts.path.strip("/") or "\0" in unquote(url):
        raise InvalidArgument(f"{shown(url)} is no address of a PostgreSQL database; write {_FORM}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - _OPTIONS.keys() - set(WORDS)
    if unknown:
        known = ", ".join((*_OPTIONS, *WORDS))
        raise UnknownConfiguration(f"{shown(url)} has unknown options {sorted(unknown)}; there are {known}")
    says_tls = not options.keys().isdisjoint(WORDS)
    if says_tls and "sslmode" in options:
        raise UnknownConfiguration(f"{shown(url)} has sslmode, and tls beside it; leave one of them out")
    return Address(
        host=unquote(parts.hostname),
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        database=unquote(parts.path.strip("/")),
        tls=read_tls(options) if says_tls else None,
        **{name: read(word, options[word]) for word, (name, read) in _OPTIONS.items() if word in options},
    )


_FORM = "postgresql://user:password@host:5432/database"


def _place(name: str, value: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{value}")
        if parts.hostname and parts.netloc == value:
            return parts.hostname, parts.port or PORT
    except ValueError:
        pass
    raise UnknownConfiguration(f"{name}={value!r} names no server; write its host:port")


_OPTIONS: dict[str, tuple[str, Any]] = {
    "shards": ("shards", shards),
    "lease": ("lease_seconds", lease_seconds),
    "sslmode": ("ssl", partial(one_of, SSL_MODES)),
    "unsafe": ("unsafe", partial(some_of, MEANT)),
    "direct": ("direct", _place),
}
