"""Where the values of a component lie, and what their keys begin with."""

from __future__ import annotations

import pytest

from perdure.blocks.resources import Component
from perdure.blocks.state.places import capabilities_of, place_of
from perdure.blocks.state.prefixes import prefix_of
from perdure.errors import InvalidArgument


def place(type: str, **metadata: str):
    return place_of(Component(name="it", type=f"state.{type}", version="v1", metadata=metadata, place="c.yaml:1"))


@pytest.mark.parametrize(
    "type, metadata, address",
    [
        ("perdure", {}, None),
        ("in-memory", {}, "memory:"),
        ("sqlite", {"connectionString": "data.db"}, "sqlite:///data.db"),
        ("sqlite", {"connectionString": "file:/tmp/a b.db"}, "sqlite:////tmp/a%20b.db"),
        ("sqlite", {"connectionString": ":memory:"}, "memory:"),
        ("redis", {"redisHost": "h:6379"}, "redis://h:6379/0"),
        (
            "redis",
            {"redisHost": "h:1", "redisPassword": "a/b@c", "redisDB": "3", "enableTLS": "true"},
            "rediss://:a%2Fb%40c@h:1/3",
        ),
        ("redis", {"redisHost": "h:1,i:2", "redisType": "cluster"}, "redis+cluster://h:1/0"),
        (
            "postgresql",
            {"connectionString": "host=h user=u password='p w\\'s' port=5433 connect_timeout=10 database=d"},
            "postgresql://u:p%20w%27s@h:5433/d",
        ),
        (
            "postgresql",
            {"connectionString": "host=h user=u dbname=d sslmode=require"},
            "postgresql://u@h:5432/d?sslmode=require",
        ),
        ("postgresql", {"connectionString": "postgres://u:p@h/d"}, "postgres://u:p@h/d"),
        (
            "mysql",
            {"connectionString": "u:p@ss@tcp(h:3306)/?allowNativePasswords=true", "schemaName": "s"},
            "mysql://u:p%40ss@h:3306/s",
        ),
        ("mysql", {"connectionString": "u:p@tcp(h:3306)/d?tls=true"}, "mysql://u:p@h:3306/d?tls=verify"),
        ("mysql", {"connectionString": "u@unix(/run/s)/d"}, "mysql://u@localhost/d?socket=%2Frun%2Fs"),
        ("mongodb", {"host": "h:27017", "username": "u", "password": "p"}, "mongodb://u:p@h:27017/daprStore"),
        ("mongodb", {"server": "h", "databaseName": "d", "params": "?tls=true"}, "mongodb+srv://h/d?tls=true"),
        ("mongodb", {"connectionString": "mongodb://h:1"}, "mongodb://h:1/daprStore"),
    ],
)
def test_addresses(type: str, metadata: dict[str, str], address: str | None) -> None:
    assert place(type, **metadata).address == address


@pytest.mark.parametrize(
    "type, metadata, told",
    [
        ("sqlite", {"connectionString": "a.db?mode=ro"}, "options behind its file"),
        ("postgresql", {"connectionString": "nonsense"}, "is not written as"),
        ("postgresql", {"connectionString": "host=h service=x"}, "has service, which is not taken"),
        ("mysql", {"connectionString": "nonsense"}, "is not written as"),
        ("mysql", {"connectionString": "u@tcp(h)/?tls=custom"}, "options that are not taken"),
        ("mongodb", {}, "needs one of connectionString, host and server"),
        ("redis", {"redisHost": "h", "ttlInSeconds": "soon"}, "could not convert"),
        ("sqlite", {"connectionString": "a.db", "tableName": "a table"}, "no name of a state store"),
        ("sqlite", {"connectionString": "a.db", "cleanupInterval": "often"}, "write a duration"),
        ("redis", {"redisHost": "h", "enableTLS": "perhaps"}, "write true or false"),
    ],
)
def test_what_is_not_understood_names_the_place_of_the_component(
    type: str, metadata: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told) as caught:
        place(type, **metadata)
    assert str(caught.value).startswith("c.yaml:1: ")


def test_spaces_and_settings() -> None:
    assert place("perdure").space == "it"
    assert place("sqlite", connectionString="a.db").space == "state"
    assert place("sqlite", connectionString="a.db", tableName="public.values").space == "public.values"
    found = place("redis", redisHost="h", ttlInSeconds="60", keyPrefix="none")
    assert (found.ttl, found.key_prefix, found.sweep_seconds) == (60.0, "none", 60.0)
    assert place("sqlite", connectionString="a.db", cleanupInterval="1h").sweep_seconds == 3_600.0
    assert place("sqlite", connectionString="a.db", cleanupInterval="-1").sweep_seconds is None
    assert "secret" not in repr(place("redis", redisHost="h", redisPassword="secret"))


def test_capabilities() -> None:
    plain = Component(name="it", type="state.redis", version="v1")
    actors = Component(name="it", type="state.redis", version="v1", metadata={"actorStateStore": "true"})
    assert "ACTOR" not in capabilities_of(plain)
    assert {"ETAG", "TRANSACTIONAL", "TTL", "ACTOR"} == set(capabilities_of(actors))


@pytest.mark.parametrize(
    "strategy, namespace, prefix",
    [
        ("", "", "shop||"),
        ("appid", "prod", "shop||"),
        ("name", "", "carts||"),
        ("none", "", ""),
        ("namespace", "prod", "prod.shop||"),
        ("namespace", "", "shop||"),
        ("common", "", "common||"),
    ],
)
def test_prefixes(strategy: str, namespace: str, prefix: str) -> None:
    assert prefix_of(strategy, app_id="shop", store="carts", namespace=namespace) == prefix


def test_a_prefix_without_an_end() -> None:
    with pytest.raises(InvalidArgument, match="take it out"):
        prefix_of("a||b", app_id="shop", store="carts", namespace="")
