"""The address of a MySQL store: where the server is, and the options that may follow."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.sql.address import LEASE_SECONDS, lease_seconds, shards, shown, some_of
from perdure.stores.sql.mysql.trust import MEANT
from perdure.stores.tls import WORDS, Tls, read_tls

SCHEMES = ("mysql", "mariadb")
PORT = 3306

_FORM = "mysql://user:password@host:3306/database"


class Address(msgspec.Struct, frozen=True):
    """Where the store is. `shards` None: as many as it has, or the usual number if it is new."""

    host: str
    port: int
    user: str
    password: str
    database: str
    socket: str | None = None
    tls: Tls = Tls()
    shards: int | None = None
    lease_seconds: float = LEASE_SECONDS
    unsafe: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Without the password."""
        return f"{self.socket or f'{self.host}:{self.port}'}/{self.database}"

    @property
    def where(self) -> dict[str, Any]:
        """What the driver is told. Raises StoreNotUsable if a file of certificates cannot be read."""
        known = {"user": self.user, "password": self.password, "database": self.database}
        if self.socket is not None:
            return {**known, "unix_socket": self.socket}
        return {**known, "host": self.host, "port": self.port, "ssl": self.tls.context()}


def read_address(url: str) -> Address:
    """Raises InvalidArgument and UnknownConfiguration, with what to write instead."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError as error:
        raise InvalidArgument(f"{shown(url)} is no address: {error}; write {_FORM}") from error
    database = unquote(parts.path[1:])
    if parts.scheme not in SCHEMES or not parts.username or not database or not database.isprintable():
        raise InvalidArgument(f"{shown(url)} is no address of a MySQL database; write {_FORM}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - _OPTIONS.keys() - set(WORDS)
    if unknown:
        known = ", ".join((*_OPTIONS, *WORDS))
        raise UnknownConfiguration(f"{shown(url)} has unknown options {sorted(unknown)}; there are {known}")
    if not parts.hostname and "socket" not in options:
        raise InvalidArgument(f"{shown(url)} names no host; write {_FORM}")
    return Address(
        host=unquote(parts.hostname or ""),
        port=port,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=database,
        tls=read_tls(options),
        **{name: read(word, options[word]) for word, (name, read) in _OPTIONS.items() if word in options},
    )


def _word(name: str, value: str) -> str:
    if not value:
        raise UnknownConfiguration(f"{name} is empty; give it a value, or leave it out")
    return value


_OPTIONS: dict[str, tuple[str, Any]] = {
    "shards": ("shards", shards),
    "lease": ("lease_seconds", lease_seconds),
    "socket": ("socket", _word),
    "unsafe": ("unsafe", partial(some_of, MEANT)),
}
