"""What the address of a server says: where it is, who asks, and what the user accepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.options import LEASE_SECONDS, number, said, shown, whole
from perdure.stores.shard_ids import SHARDS_MAX
from perdure.stores.tls import PLAIN, WORDS, Tls, read_tls

TLS_SCHEMES = ("rediss", "valkeys")
SCHEMES = ("redis", "valkey", *TLS_SCHEMES)
"""With +cluster behind them they name a node of a cluster; those that end in s are for TLS."""
OPTIONS = ("cluster", "accept_durability", "assume_durable", "lease", "shards", *WORDS)


@dataclass(frozen=True, slots=True)
class Address:
    """A server. `accepts_loss`: it may lose what it acknowledged; `assumes_durable`: its settings cannot be read.

    `shards` None: as many as an app has, and `SHARDS` for a new one.
    """

    host: str
    port: int
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls = PLAIN
    is_cluster: bool = False
    accepts_loss: bool = False
    assumes_durable: bool = False
    lease_seconds: float = LEASE_SECONDS
    shards: int | None = None

    def __str__(self) -> str:
        kind = "Redis cluster" if self.is_cluster else "Redis"
        return f"{kind} at {self.host}:{self.port}" + (f"/{self.db}" if self.db else "")


def read_address(url: str) -> Address:
    """Raises InvalidArgument if it is no address of a server, UnknownConfiguration for options that do not exist."""
    parts = urlsplit(url)
    scheme, _, mode = parts.scheme.partition("+")
    if scheme not in SCHEMES or mode not in ("", "cluster") or not parts.hostname:
        raise InvalidArgument(
            f"{shown(url)!r} is no address of Redis or Valkey; write redis://HOST:6379/0, rediss:// for TLS, or "
            "redis+cluster://HOST:6379 for a cluster"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise UnknownConfiguration(
            f"the address of Redis has unknown options {unknown}; there are {', '.join(OPTIONS)}"
        )
    return Address(
        host=parts.hostname,
        port=_port(url),
        db=_database(parts.path, url, mode == "cluster" or said(options, "cluster", "yes")),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=_tls(scheme, options),
        is_cluster=mode == "cluster" or said(options, "cluster", "yes"),
        accepts_loss=said(options, "accept_durability", "C"),
        assumes_durable=said(options, "assume_durable", "yes"),
        lease_seconds=number(options, "lease", 0.1, 3_600.0) or LEASE_SECONDS,
        shards=whole(number(options, "shards", 1, SHARDS_MAX)),
    )


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 6379
    except ValueError:
        raise InvalidArgument(
            f"{shown(url)!r} has no port that is a number up to 65535; write one behind the host"
        ) from None


def _database(path: str, url: str, is_cluster: bool) -> int:
    text = path.strip("/") or "0"
    if not text.isdecimal() or (is_cluster and text != "0"):
        raise InvalidArgument(
            f"{shown(url)!r}: behind the host stands the number of a database, such as /0; a cluster has 0 alone"
        )
    return int(text)


def _tls(scheme: str, options: dict[str, str]) -> Tls:
    """A scheme for TLS means that the server is verified, unless the options say less."""
    is_for_tls = scheme in TLS_SCHEMES
    found = read_tls(options, "verify" if is_for_tls else "off")
    if is_for_tls and found.mode == "off":
        raise UnknownConfiguration(f"{scheme}:// is for TLS, and tls=off beside it; write {scheme[:-1]}://")
    return found
