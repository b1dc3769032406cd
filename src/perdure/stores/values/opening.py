"""The store of values at an address; only the driver of that database is loaded."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.values.contract import DEFAULT_SPACE, StateStore, checked_space


def open_values(url: str, space: str = DEFAULT_SPACE) -> StateStore:
    """The values of a space in the database of an address, not yet opened; addresses are those of workflow stores.

    Raises InvalidArgument and UnknownConfiguration.
    """
    checked_space(space)
    scheme = url.split(":", 1)[0]
    if scheme == "memory":
        from perdure.stores.values.memory import MemoryValues

        return MemoryValues()
    if scheme == "sqlite":
        return _sqlite(url, space)
    try:
        if scheme in ("postgresql", "postgres"):
            return _postgres(url, space)
        if scheme in ("mysql", "mariadb"):
            return _mysql(url, space)
        if scheme.partition("+")[0] in ("redis", "rediss", "valkey", "valkeys"):
            return _redis(url, space)
        if scheme in ("mongodb", "mongodb+srv"):
            return _mongo(url, space)
    except ImportError as error:
        extra = {"p": "postgres", "m": "mysql", "r": "redis", "v": "redis"}.get(scheme[0], scheme)
        extra = "mongo" if scheme.startswith("mongodb") else extra
        raise InvalidArgument(f'{scheme}:// needs its driver: pip install "perdure[{extra}]" ({error})') from error
    raise InvalidArgument(
        f"state store {scheme!r}: the address begins with sqlite:///FILE, postgresql://HOST/DATABASE, "
        "mysql://HOST/DATABASE, redis://HOST or mongodb://HOST/DATABASE, or is memory:"
    )


def _sqlite(url: str, space: str) -> StateStore:
    from perdure.stores.sql.sqlite import SYNCHRONOUS
    from perdure.stores.values.sqlite import SqliteValues

    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.netloc or not path or "\0" in path:
        raise InvalidArgument(
            f"{url!r} is no address of a SQLite file; write sqlite:///relative.db or sqlite:////absolute.db"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    options.pop("shared", None)  # because a file may always hold tables beside those of values
    if options:
        raise UnknownConfiguration(f"{url!r} has unknown options {sorted(options)}; there are synchronous and shared")
    if synchronous not in SYNCHRONOUS:
        raise UnknownConfiguration(f"synchronous={synchronous!r} is unknown; there are {', '.join(SYNCHRONOUS)}")
    return SqliteValues(Path(path), space, SYNCHRONOUS[synchronous])


def _postgres(url: str, space: str) -> StateStore:
    from perdure.stores.sql.postgres.address import read_address
    from perdure.stores.values.postgres import PostgresValues

    return PostgresValues(read_address(url), space)


def _mysql(url: str, space: str) -> StateStore:
    from perdure.stores.sql.mysql.address import read_address
    from perdure.stores.values.mysql import MysqlValues

    return MysqlValues(read_address(url), space)


def _redis(url: str, space: str) -> StateStore:
    from perdure.stores.redis.address import read_address
    from perdure.stores.values.redis import RedisValues

    return RedisValues(read_address(url), space)


def _mongo(url: str, space: str) -> StateStore:
    from perdure.stores.mongo.address import read_address
    from perdure.stores.values.mongo import MongoValues

    return MongoValues(read_address(url), space)
