"""What the address of a database says: where it is, who asks, and what the user accepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pymongo.errors import ConfigurationError
from pymongo.uri_parser_shared import SCHEME, SRV_SCHEME, validate_options

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.options import LEASE_SECONDS, number, said, shown, whole
from perdure.stores.shard_ids import SHARDS_MAX
from perdure.stores.tls import WORDS, read_tls

DATABASE = "perdure"
"""Where a store is, if the address names no database."""
OPTIONS = ("accept_durability", "assume_durable", "lease", "shards")
"""Those that are the store's own; all others are the client's."""
WEAKENING = ("w", "journal", "j", "fsync", "readconcernlevel", "readpreference", "retrywrites", "wtimeoutms")
"""Options of the client on which it depends what an acknowledged write is worth; the store sets them itself."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database. `accepts_loss`: it may lose what it acknowledged; `assumes_durable`: its settings cannot be read.

    `url` is for the client. `shards` None: as many as an app has, and `SHARDS` for a new one.
    """

    url: str = field(repr=False)
    hosts: str
    database: str
    accepts_loss: bool = False
    assumes_durable: bool = False
    lease_seconds: float = LEASE_SECONDS
    shards: int | None = None

    def __str__(self) -> str:
        return f"MongoDB at {self.hosts}/{self.database}"


def read_address(url: str) -> Address:
    """Raises InvalidArgument if it is no address of a database, UnknownConfiguration for options that do not exist."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    if not url.startswith((SCHEME, SRV_SCHEME)) or not hosts:
        raise InvalidArgument(
            f"{shown(url)!r} is no address of MongoDB; write mongodb://HOST:27017/DATABASE, or "
            "mongodb+srv://HOST/DATABASE"
        )
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in given if name in OPTIONS}
    of_client = _encrypted([(name, value) for name, value in given if name not in OPTIONS], parts.scheme)
    if weakening := sorted(name for name, _ in of_client if name.lower() in WEAKENING):
        raise UnknownConfiguration(
            f"the address of MongoDB sets {', '.join(weakening)}, which the store sets itself (majority, journaled, "
            "read from the primary); leave it out"
        )
    try:
        validate_options(dict(of_client), warn=False)
    except (ConfigurationError, ValueError, TypeError, OSError) as error:
        raise UnknownConfiguration(f"the address of MongoDB has an option that is not understood: {error}") from None
    database = parts.path.strip("/") or DATABASE
    if "/" in database or any(sign in database for sign in '\\. "$*<>:|?'):
        raise InvalidArgument(f"{shown(url)!r}: behind the host stands the name of one database, such as /{DATABASE}")
    bare = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(of_client), ""))
    return Address(
        url=bare,
        hosts=hosts,
        database=database,
        accepts_loss=said(options, "accept_durability", "C"),
        assumes_durable=said(options, "assume_durable", "yes"),
        lease_seconds=number(options, "lease", 0.1, 3_600.0) or LEASE_SECONDS,
        shards=whole(number(options, "shards", 1, SHARDS_MAX)),
    )


def _encrypted(given: list[tuple[str, str]], scheme: str) -> list[tuple[str, str]]:
    """Options of the client, with our words of encryption in its own. Those that it has itself stay as they are,
    because addresses of rented databases come with them."""
    ours = {name: value for name, value in given if name in WORDS and (name, value) not in _OF_CLIENT}
    if not ours:
        return given
    found = read_tls(ours, "verify" if scheme == SRV_SCHEME.removesuffix("://") else "off")
    if found.key is not None:
        raise UnknownConfiguration(
            "MongoDB's client reads a certificate and its key from one file; name it by tls_cert"
        )
    files = {"tlsCAFile": found.ca, "tlsCertificateKeyFile": found.cert}
    said = {"tls": "false" if found.mode == "off" else "true"} | {word: file for word, file in files.items() if file}
    if found.mode == "require":
        said["tlsInsecure"] = "true"
    return [pair for pair in given if pair[0] not in WORDS] + list(said.items())


_OF_CLIENT = (("tls", "true"), ("tls", "false"))


def refused_address(address: Address, error: Exception) -> InvalidArgument:
    """What to raise for an address that the client does not take."""
    return InvalidArgument(f"{address}: the address is not understood ({error}); look at its hosts and options")
