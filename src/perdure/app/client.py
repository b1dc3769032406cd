"""A client of its own: it opens a store, or reaches a server, and drives what is there from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from perdure.app.address import is_server, open_store, reached
from perdure.app.packing import checked_codec, packed_gateway, writer_of
from perdure.codec import Codec
from perdure.errors import InvalidArgument, NotOpen
from perdure.history.topics import SHARED_APP
from perdure.sdk.client import Client as _Client
from perdure.sdk.definitions import Definitions
from perdure.sdk.gateway import Gateway
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from perdure.engine.engine import Engine
    from perdure.remote.native.connection import Connection


class Client(_Client):
    """Drives the instances on a store, or a server, from outside: `async with Client("sqlite:///shop.db") as client`.

    A server is named like "grpc://host:50001". `app_id` may be left out if the store holds one app; a server has one
    that it takes callers for. `codec` is the app's, where it has one. A `caretaker` owns the
    app while no other process does, so that commands which need none of its code (terminate, suspend) take effect at
    once and not when a worker starts. With `audit` False what it does is not entered in the audit log.
    """

    def __init__(
        self,
        store: str | EngineStore,
        *,
        app_id: str | None = None,
        caretaker: bool = False,
        codec: Codec | None = None,
        audit: bool = True,
    ) -> None:
        self._given = store
        self._codec = checked_codec(codec)
        self._app_id = app_id
        self._caretaker = caretaker
        self._is_audited = audit
        self._engine: Engine | Connection | None = None

    async def __aenter__(self) -> Self:
        if isinstance(self._given, str) and is_server(self._given):
            gateway = await self._reach(self._given)
        else:
            gateway = await self._open(open_store(self._given))
        super().__init__(packed_gateway(gateway, self._codec), writer=writer_of(self._codec))
        return self

    async def __aexit__(self, *exc: object) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def _reach(self, server: str) -> Gateway:
        connection = self._engine = await reached(server, self._app_id)
        return connection.gateway

    async def _open(self, store: EngineStore) -> Gateway:
        from perdure.engine.auditing import this_program  # because most processes open an app and no client
        from perdure.engine.engine import Engine
        from perdure.sdk.worker import Worker

        await store.open()
        try:
            app_id = self._app_id or _only_app(await store.apps())
            engine = Engine(
                app_id,
                store,
                Worker(app_id, Definitions()),
                execute=self._caretaker,
                commands_only=True,
                principal=this_program() if self._is_audited else None,
            )
            await engine.open()
        except BaseException:
            await store.close()
            raise
        self._engine = engine
        return engine.operations

    @property
    def is_owner(self) -> bool:
        """Whether it is a caretaker that owns the app now."""
        return self._engine is not None and self._engine.is_owner

    def __getattr__(self, name: str) -> Any:
        if name in ("_gateway", "_clock", "_forks", "writer"):
            raise NotOpen("the client is not open; write `async with Client(...) as client:`")
        raise AttributeError(name)


def _only_app(found: list[str]) -> str:
    apps = [app for app in found if app != SHARED_APP]
    if len(apps) == 1:
        return apps[0]
    if not apps:
        raise InvalidArgument("the store holds no app yet; name one with app_id=..., or --app")
    raise InvalidArgument(f"the store holds several apps: {', '.join(apps)}; name one with app_id=..., or --app")
