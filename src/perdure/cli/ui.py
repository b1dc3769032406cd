"""The command `ui`: the dashboard of one or several stores and servers, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from perdure.app import Client, is_server, open_store
from perdure.cli import serving
from perdure.cli.logs import log_to
from perdure.cli.serve import InsecurePublicOption, TlsCertOption, TlsKeyOption, tls_of
from perdure.cli.states import States
from perdure.cli.stopping import Stopping
from perdure.cli.target import CodecOption, JsonOption, ServerOption, StoreOption, Target, load_codec
from perdure.cli.targets import NamedTarget, find_target, read_targets, without_password
from perdure.codec import Codec
from perdure.errors import InvalidArgument
from perdure.sdk.role import Role, role_named
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from perdure.remote.dashboard import Place
    from perdure.remote.dashboard import Target as Shown

UI_PORT = 3_580
"""Where the dashboard listens if nothing else is said."""
APPS_MAX = 1_000
"""Apps of one target of which clients are open."""
TOKEN_VARIABLES = ("PERDURE_UI_TOKEN",)
READ_TOKEN_VARIABLES = ("PERDURE_UI_READ_TOKEN",)


async def ui(
    store: StoreOption = None,
    server: ServerOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="NAME=URL",
            help="A store or server under a name, or one of the file of targets; may be given several times.",
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="NAME=ROLE", help="What may be done at a target: read, operate or admin."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, change nothing.")] = False,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="0 takes a free one.")] = UI_PORT,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="A name by which browsers reach it, beside localhost."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Holds the token to log in with; else $PERDURE_UI_TOKEN."),
    ] = None,
    read_token_file: Annotated[
        Path | None,
        typer.Option(
            "--read-token-file", metavar="FILE", help="Holds one that opens reading alone; else $PERDURE_UI_READ_TOKEN."
        ),
    ] = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    allow_insecure_public: InsecurePublicOption = False,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> int:
    """Serve the dashboard to a browser until SIGTERM or Ctrl-C."""
    serving.load_extra("perdure.remote.dashboard")
    from perdure.remote.dashboard import Targets, application
    from perdure.remote.http.listener import HttpListener
    from perdure.remote.settings import check_reach, find_token, server_context

    packing = load_codec(codec) if codec else None
    shown = places(store, server, target, role)
    tokens = [
        (found, role)
        for found, role in (
            (find_token(token_file, os.environ, TOKEN_VARIABLES), Role.ADMIN),
            (find_token(read_token_file, os.environ, READ_TOKEN_VARIABLES), Role.READ),
        )
        if found is not None
    ]
    tls = tls_of(tls_cert, tls_key, None)
    check_reach(host, is_encrypted=tls is not None, asks=bool(tokens), insecure_public=allow_insecure_public)
    log_to(None, verbose=False)
    targets = Targets(_target(place, packing, read_only=read_only) for place in shown)
    app = application(targets, hosts=allowed_host or (), read_only=read_only, tokens=tokens)
    states = States("ui", as_json=json)
    stopping = Stopping()
    stopping.watch()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(targets.close)
        listener = HttpListener(app, host=host, port=port, tls=server_context(tls) if tls is not None else None)
        await stack.enter_async_context(listener)
        scheme = "https" if tls is not None else "http"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}/"
        states.tell(
            "serving", f"{address} shows {', '.join(place.name for place in shown)}; Ctrl-C ends it", url=address
        )
        await stopping.asked.wait()
    states.tell("stopped", "the dashboard is closed")
    return 0


def places(
    store: str | None, server: str | None, targets: Sequence[str] | None, roles: Sequence[str] | None
) -> list[NamedTarget]:
    """What is to be shown. Without an option it is the whole file of targets. Raises InvalidArgument."""
    found = _given(store, server, targets)
    by_name = {place.name: place for place in found}
    if len(by_name) < len(found):
        raise InvalidArgument("two targets have one name; each --target has a name of its own")
    for pair in roles or ():
        name, equals, word = pair.partition("=")
        if not equals:
            name, word = "", name
        if name and name not in by_name:
            raise InvalidArgument(f"--role names target {name!r}; there are {', '.join(by_name)}")
        for named in [name] if name else list(by_name):
            by_name[named] = replace(by_name[named], role=role_named(word))
    return list(by_name.values())


def _given(store: str | None, server: str | None, targets: Sequence[str] | None) -> list[NamedTarget]:
    if targets:
        return [_one(given) for given in targets]
    if server is not None:
        return [NamedTarget(name="server", server=server)]
    if store:
        return [NamedTarget(name="store", store=store)]
    if kept := list(read_targets().values()):
        return kept
    raise InvalidArgument(
        "there is nothing to show; give --store URL, --server HOST:PORT, or --target NAME=URL, or set PERDURE_STORE"
    )


def _one(given: str) -> NamedTarget:
    """`NAME=URL`, or the name of one in the file of targets."""
    if "=" not in given and "://" not in given:
        return find_target(given)
    name, _, url = given.partition("=")
    if "://" not in url or "/" in name:
        raise InvalidArgument(
            f"--target {without_password(given)!r} is no pair; write --target prod=postgresql://HOST/DATABASE"
        )
    return NamedTarget(name=name, server=url) if is_server(url) else NamedTarget(name=name, store=url)


def _target(named: NamedTarget, codec: Codec | None, *, read_only: bool) -> Shown:
    from perdure.remote.dashboard import Target as Shown

    async def open() -> Place:
        if named.store is None:
            return await _Served(named.url, codec, named.app).opened()
        return await _Stored(named, codec, read_only=read_only or named.role is Role.READ).opened()

    return Shown(named.name, open, role=named.role, words=named.words)


class _Stored:
    """A store and the clients of its apps, each with a connection of its own."""

    def __init__(self, named: NamedTarget, codec: Codec | None, *, read_only: bool) -> None:
        self._url = named.url
        self._app = named.app
        self._codec = codec
        self._read_only = read_only
        self._store: EngineStore | None = None
        self._clients: dict[str, Client] = {}
        self._opening = asyncio.Lock()

    async def opened(self) -> _Stored:
        Target(store=self._url).address()  # because a mistyped name should not leave an empty store behind
        store = open_store(self._url, read_only=self._read_only)
        await store.open()
        self._store = store
        return self

    async def apps(self) -> Sequence[str]:
        assert self._store is not None, "open it first"
        return await self._store.apps() if self._app is None else (self._app,)

    async def client(self, app: str) -> Client:
        async with self._opening:  # because two pages may ask for the first time at once
            found = self._clients.get(app)
            return found if found is not None else await self._opened_for(app)

    async def _opened_for(self, app: str) -> Client:
        if len(self._clients) >= APPS_MAX:
            raise InvalidArgument(f"the store has more than {APPS_MAX:,} apps, which is more than a dashboard shows")
        store = open_store(self._url, read_only=self._read_only)
        client = await Client(store, app_id=app, codec=self._codec).__aenter__()
        self._clients[app] = client
        return client

    async def close(self) -> None:
        for client in list(self._clients.values()):
            await client.__aexit__(None, None, None)
        self._clients.clear()
        if self._store is not None:
            await self._store.close()


class _Served:
    """A server, which has one app for its callers."""

    def __init__(self, url: str, codec: Codec | None, app: str | None) -> None:
        self._client = Client(url, app_id=app, codec=codec)

    async def opened(self) -> _Served:
        await self._client.__aenter__()
        return self

    async def apps(self) -> Sequence[str]:
        return ("",)

    async def client(self, app: str) -> Client:
        return self._client

    async def close(self) -> None:
        await self._client.__aexit__(None, None, None)
