"""Looks at a server before anything is written to it: can it run the scripts, and what do its settings promise."""

from __future__ import annotations

import re
from typing import Any

from redis.exceptions import RedisError, ResponseError

from perdure.errors import StoreNotUsable
from perdure.stores.contract import FORMAT, OLDEST, Checkup
from perdure.stores.layout import Layout, check_alone, recognised
from perdure.stores.redis.durability import Accepted, Settings, durability, refused
from perdure.stores.redis.keys import DIRECTORY, app_keys
from perdure.stores.redis.refusals import refusal
from perdure.stores.redis.server import Node, Server


async def inspect(server: Server) -> None:
    """Raises StoreNotUsable, StoreVersion or StoreUnavailable if no store can be kept here."""
    address = server.address
    await _inspect_node(server, server.home)
    for node in await server.nodes() if address.is_cluster else []:
        await _inspect_node(server, node)


async def _inspect_node(server: Server, node: Node) -> None:
    address = server.address
    place = str(address) if node == server.home else f"{address}, node {node[0]}:{node[1]},"
    try:
        settings = await read_settings(server, node)
    except RedisError as error:
        raise refusal(error, place) from error
    why = refused(settings, Accepted(address.accepts_loss, address.assumes_durable, address.is_cluster))
    if why is not None:
        raise StoreNotUsable(f"{place} {why}")
    await _check_scripts(server, node)


async def check_layout(server: Server, *, read_only: bool) -> None:
    """Recognise the layout of keys, begin one, or bring it up to date.

    Whoever is first writes the number, and others find it written. A step of which there is more to do than to write
    the number has to be one that can be done twice, and is done before.
    """
    found = await _layout(server)
    if read_only and not found.is_current:
        raise StoreNotUsable(f"{server.address} is no store of this version yet; open it once with a worker")
    if not found.is_current:
        check_alone(server.address, found, await _living(server) if 0 < found.format < OLDEST else [])
        await _layout(server, str(FORMAT), str(OLDEST), str(found.format) if found.format else False)


async def _layout(server: Server, *written: str | bool) -> Layout:
    """That which is there, after it was written. Raises StoreVersion if this version cannot go on with it."""
    format, oldest = await server.one("layout", DIRECTORY, *written)
    return Layout() if format is None else recognised(server.address, format, oldest)


async def _living(server: Server) -> list[str]:
    """Who lives as a node of any app."""
    names = await server.one("apps", DIRECTORY)
    made = [await server.one("apps", DIRECTORY, name.decode(), 0, False) for name in names]
    asks = [(app_keys(int(one.partition(b":")[0])), [0]) for one in made]
    return [owner.decode() for found, _ in await server.run("members", asks) for owner in found[::2]]


async def checkup(server: Server) -> Checkup:
    """What the server says of itself, and what would be refused."""
    address = server.address
    try:
        settings = await read_settings(server, server.home)
        about = _facts(await server.command(server.home, "INFO", "server"))
    except RedisError as error:
        raise refusal(error, str(address)) from error
    found = (await _layout(server)).format
    old = f"the layout has format {found} and this version writes {FORMAT}; run `perdure store migrate`"
    why = refused(settings, Accepted(address.accepts_loss, address.assumes_durable, address.is_cluster))
    product = "Valkey" if "valkey_version" in about else "Redis"
    told = {
        "appendonly": settings.appendonly,
        "appendfsync": settings.appendfsync,
        "maxmemory-policy": settings.eviction,
    }
    return Checkup(
        f"{product} {about.get('valkey_version') or about.get('redis_version', '')}",
        found,
        durability(settings),
        {name: value for name, value in told.items() if value is not None},
        [*([] if why is None else [f"{address} {why}"]), *([old] if 0 < found < FORMAT else [])],
    )


async def size(server: Server) -> int | None:
    """Bytes of the files, of all nodes."""
    nodes = await server.nodes() if server.address.is_cluster else [server.home]
    sizes = [_facts(await server.command(node, "INFO", "persistence")).get("aof_current_size") for node in nodes]
    return None if None in sizes else sum(int(found) for found in sizes if found is not None)


async def read_settings(server: Server, node: Node) -> Settings:
    """Raises RedisError."""
    about = _facts(await server.command(node, "INFO"))
    config: dict[str, str] = {}
    for name in ("appendonly", "appendfsync", "maxmemory-policy"):
        config |= await _configured(server, node, name)
    return Settings(
        version=_version(about),
        role=about.get("role", ""),
        replicas=int(about.get("connected_slaves", "0")),
        is_cluster=about.get("cluster_enabled") == "1",
        appendonly=config.get("appendonly"),
        appendfsync=config.get("appendfsync"),
        eviction=config.get("maxmemory-policy") or about.get("maxmemory_policy"),
    )


async def _configured(server: Server, node: Node, name: str) -> dict[str, str]:
    """Nothing where the setting cannot be read, as on managed servers."""
    try:
        found: list[Any] = await server.command(node, "CONFIG", "GET", name)
    except ResponseError:
        return {}
    return {name: found[1].decode()} if found else {}


async def _check_scripts(server: Server, node: Node) -> None:
    try:
        answer = await server.command(node, "EVAL", "return cmsgpack.unpack(cmsgpack.pack({ARGV[1]}))[1]", 0, "yes")
    except ResponseError as error:
        if "NOPERM" in str(error) or type(error).__name__ == "NoPermissionError":
            raise refusal(error, str(server.address)) from error
        raise StoreNotUsable(
            f"{server.address} runs no scripts ({error}); a store needs EVAL with Lua and cmsgpack"
        ) from error
    if answer != b"yes":
        raise StoreNotUsable(f"{server.address} runs no scripts as Redis does; use Redis or Valkey")


def _facts(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _version(about: dict[str, str]) -> tuple[int, ...]:
    """That of Redis which the server speaks like: Valkey tells its own beside it."""
    return tuple(int(number) for number in re.findall(r"\d+", about.get("redis_version", "0"))[:2])
