"""Where the values of a component are kept, read from its metadata as Dapr documents it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec

from perdure.blocks.resources.records import Component
from perdure.blocks.resources.words import flag_of, seconds_of
from perdure.errors import InvalidArgument
from perdure.stores.values.contract import SWEEP_SECONDS, checked_space

OWN = "state.perdure"
"""The type of a component that is kept on the server's own store."""
SPACE = "state"
"""What Dapr calls the table, where nothing else is said."""


class Place(msgspec.Struct, frozen=True):
    """`address` is None for the server's own store. `ttl`: seconds that a value lives of which nothing is said.

    `sweep_seconds`: between two sweeps for what has expired, None for no sweeps at all.
    """

    address: str | None
    space: str
    key_prefix: str = ""
    ttl: float | None = None
    sweep_seconds: float | None = SWEEP_SECONDS

    def __repr__(self) -> str:
        """Without the address, in which a password may be."""
        return f"Place({self.space!r})"


def place_of(component: Component) -> Place:
    """Raises InvalidArgument, which names the component's place in its file."""
    try:
        address, space = _READERS[component.type](component)
        ttl = component.metadata.get("ttlInSeconds", "")
        return Place(
            address=address,
            space=checked_space(space),
            key_prefix=component.metadata.get("keyPrefix", ""),
            ttl=float(ttl) if ttl and float(ttl) > 0 else None,
            sweep_seconds=_sweep_seconds(component.metadata.get("cleanupInterval", "")),
        )
    except (InvalidArgument, ValueError) as error:
        told = error.args[0] if error.args else error
        raise InvalidArgument(f"{component.place or component.name}: {told}") from error


def _sweep_seconds(text: str) -> float | None:
    if not text:
        return SWEEP_SECONDS
    if text.startswith("-"):
        return None
    return seconds_of(text) or None


def _own(component: Component) -> tuple[None, str]:
    return None, component.name


def _memory(component: Component) -> tuple[str, str]:
    # apart from others, because each of Dapr's in memory has values of its own
    return "memory:", component.name


def _sqlite(component: Component) -> tuple[str, str]:
    text = component.metadata["connectionString"]
    path, question, options = text.removeprefix("file:").partition("?")
    if path == ":memory:" or "mode=memory" in options:
        return "memory:", component.name
    if question:
        raise InvalidArgument("connectionString has options behind its file, which are not taken; leave them out")
    return f"sqlite:///{quote(path)}", _table(component)


def _redis(component: Component) -> tuple[str, str]:
    metadata = component.metadata
    host = metadata["redisHost"].split(",")[0].strip()
    scheme = "rediss" if flag_of(metadata.get("enableTLS", "")) else "redis"
    is_cluster = metadata.get("redisType", "node").lower() == "cluster"
    user, password = metadata.get("redisUsername", ""), metadata.get("redisPassword", "")
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    database = "0" if is_cluster else metadata.get("redisDB") or "0"
    return f"{scheme}{'+cluster' if is_cluster else ''}://{account}{host}/{database}", SPACE


_PAIR = re.compile(r"""\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']*)""")
_PARTS_OF_POSTGRES = {"dbname": "database", "database": "database", "hostaddr": "host"}
_IDLE_OF_POSTGRES = frozenset(("connect_timeout", "application_name", "pool_max_conns", "pool_min_conns"))


def _postgres(component: Component) -> tuple[str, str]:
    text = component.metadata["connectionString"]
    space = component.metadata.get("tablePrefix", "") + _table(component)
    if text.startswith(("postgres://", "postgresql://")):
        return text, space
    found: dict[str, str] = {}
    end = 0
    for match in _PAIR.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        name = _PARTS_OF_POSTGRES.get(match[1], match[1])
        if name not in _IDLE_OF_POSTGRES:
            found[name] = re.sub(r"\\(.)", r"\1", match[2].strip("'"))
    if text[end:].strip() or not found:
        raise InvalidArgument("connectionString is not written as `host=... user=... database=...`, nor as an address")
    unknown = found.keys() - {"host", "port", "user", "password", "database", "sslmode"}
    if unknown:
        raise InvalidArgument(f"connectionString has {', '.join(sorted(unknown))}, which is not taken; leave it out")
    account = _account(found.get("user", ""), found.get("password", ""))
    place = f"{found.get('host', 'localhost')}:{found.get('port', '5432')}"
    database = quote(found.get("database") or found.get("user") or "postgres", safe="")
    options = f"?sslmode={found['sslmode']}" if "sslmode" in found else ""
    return f"postgresql://{account}{place}/{database}{options}", space


_GO_DSN = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?(?:(?P<net>\w+)\((?P<at>[^)]*)\))?/(?P<database>[^?]*)"
    r"(?:\?(?P<options>.*))?"
)
_IDLE_OF_MYSQL = frozenset(
    ("allowNativePasswords", "parseTime", "charset", "collation", "loc", "timeout", "readTimeout", "writeTimeout")
)
_TLS_OF_MYSQL = {"true": "verify", "skip-verify": "require", "preferred": "off", "false": "off"}


def _mysql(component: Component) -> tuple[str, str]:
    text = component.metadata["connectionString"]
    if text.startswith(("mysql://", "mariadb://")):
        return text, _table(component)
    match = _GO_DSN.fullmatch(text)
    if match is None or not match["user"]:
        raise InvalidArgument("connectionString is not written as `user:password@tcp(host:3306)/`")
    options = dict(pair.partition("=")[::2] for pair in (match["options"] or "").split("&") if pair)
    unknown = options.keys() - _IDLE_OF_MYSQL - {"tls"}
    if unknown or options.get("tls", "false") not in _TLS_OF_MYSQL:
        raise InvalidArgument(f"connectionString has options that are not taken: {', '.join(sorted(options))}")
    database = component.metadata.get("schemaName") or match["database"] or "dapr_state_store"
    told = {"tls": _TLS_OF_MYSQL[options["tls"]]} if "tls" in options else {}
    place = match["at"] or "127.0.0.1:3306"
    if match["net"] == "unix":
        told["socket"], place = place, "localhost"
    query = f"?{urlencode(told)}" if told else ""
    account = _account(match["user"], match["password"] or "")
    return f"mysql://{account}{place}/{quote(database, safe='')}{query}", _table(component)


def _mongo(component: Component) -> tuple[str, str]:
    metadata = component.metadata
    database = metadata.get("databaseName") or "daprStore"
    space = metadata.get("collectionName") or SPACE
    if "connectionString" in metadata:
        parts = urlsplit(metadata["connectionString"])
        path = parts.path if parts.path.strip("/") else f"/{database}"
        return urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), space
    account = _account(metadata.get("username", ""), metadata.get("password", ""))
    params = metadata.get("params", "")
    if "server" in metadata:
        return f"mongodb+srv://{account}{metadata['server']}/{database}{params}", space
    if "host" in metadata:
        return f"mongodb://{account}{metadata['host']}/{database}{params}", space
    raise InvalidArgument("state.mongodb needs one of connectionString, host and server in its metadata")


def _table(component: Component) -> str:
    return component.metadata.get("tableName") or SPACE


def _account(user: str, password: str) -> str:
    if not user:
        return ""
    return quote(user, safe="") + (f":{quote(password, safe='')}" if password else "") + "@"


_READERS: Mapping[str, Callable[[Component], tuple[str | None, str]]] = {
    OWN: _own,
    "state.in-memory": _memory,
    "state.sqlite": _sqlite,
    "state.redis": _redis,
    "state.postgresql": _postgres,
    "state.mysql": _mysql,
    "state.mongodb": _mongo,
}


def capabilities_of(component: Component) -> tuple[str, ...]:
    """What Dapr calls the things that the component can do."""
    able = ("ETAG", "TRANSACTIONAL", "TTL")
    return (*able, "ACTOR") if flag_of(component.metadata.get("actorStateStore", "")) else able
