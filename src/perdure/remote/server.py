"""A server: the apps of a store, and the ports on which workers and clients reach them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import grpc
import msgspec

from perdure.clock import Clock
from perdure.engine.auditing import this_program
from perdure.engine.load import Load
from perdure.errors import NotOpen, PortNotFree
from perdure.remote.actors.actors import AppActors
from perdure.remote.app_calls import AppCalls
from perdure.remote.app_channel import TOKEN_VARIABLE, AppChannel
from perdure.remote.attributes import Attributes
from perdure.remote.conversation import ConversationDesk
from perdure.remote.dashboard.served import WithDashboard
from perdure.remote.grpc import GrpcListener
from perdure.remote.hosted import Hosted
from perdure.remote.http import HttpListener, http_app
from perdure.remote.http.views import metadata_view
from perdure.remote.inner.worker import InnerWorkers
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.table import Runtime, Table, table_of
from perdure.remote.rpc.workers import Bounds
from perdure.remote.secrets import SecretDesk
from perdure.remote.security import APP_KEY, BEARER_KEY, TOKEN_KEY, Grant, Metadata, Policy, admit, admit_anybody
from perdure.remote.settings import GRPC, Listener, ServerSettings, Tls, server_context
from perdure.remote.state import StateDesk
from perdure.remote.tracing import Tracing
from perdure.remote.tracing.incoming import trace_in
from perdure.remote.watching import ConfigurationDesk
from perdure.sdk.gateway import Gateway
from perdure.stores.contract import EngineStore

log = logging.getLogger("perdure")
CUT_SECONDS = 1.0
"""How long calls that still run when the drain is over may take to end."""
DRAIN_LOOK_SECONDS = 0.02
CALLERS_KNOWN_MAX = 1_000
"""Callers of a port that are known by what they say of themselves; others are looked at each time."""
_AGENT_KEYS = ("x-user-agent", "user-agent")
_TASK_HUB_KEY = "taskhub"
_SAID = frozenset((TOKEN_KEY, BEARER_KEY, APP_KEY, *_AGENT_KEYS, _TASK_HUB_KEY))
"""The metadata that tell who makes a call; its keys have come in lower case, as HTTP/2 has them."""


class Server:
    """Serves the apps of its settings from `open` to `close`.

    `asked_to_stop` is set when a client has called for a shutdown; `failure` tells why it serves no longer.
    """

    def __init__(self, store: EngineStore, settings: ServerSettings, *, clock: Clock | None = None) -> None:
        self.asked_to_stop = asyncio.Event()
        self.failure: BaseException | None = None
        self.tracing = Tracing(settings.trace_sample) if settings.trace_sample is not None else None
        principal = this_program("perdure serve") if settings.audit else None
        self.hosted = Hosted(
            store,
            clock=clock,
            principal=principal,
            tracing=self.tracing,
            lifecycle=settings.lifecycle,
            webhook=settings.webhook,
            resources={listener.app_id: listener.resources for listener in settings.listeners},
            address=settings.store,
            quarantines=settings.quarantines,
        )
        self._inner = InnerWorkers(self.hosted, settings.app_ids)
        self._settings = settings
        self._attributes: dict[str, Attributes] = {app: Attributes() for app in settings.app_ids}
        self._ports = [Port(self, listener) for listener in settings.listeners]
        self._is_open = False

    async def open(self) -> None:
        """Take up the work of the store, then listen. Raises StoreError, PortNotFree."""
        try:
            await self.hosted.open(list(self._settings.app_ids))
            runtime = Runtime(_version(), self.attributes, self.asked_to_stop.set)
            self.hosted.watch(self.failed)
            bounds = Bounds(self._settings.streams_max, self._settings.items_per_stream_max)
            await self._inner.open(table_of(self.hosted, runtime, bounds), self._settings.drain_seconds)
            for port in self._ports:
                await port.open(table_of(self.hosted, runtime, bounds), self._settings)
            self.hosted.listens([door for port in self._ports for door in port.doors])
            self._reach_programs()  # now, because a program that is called calls this server in turn
            self._is_open = True
        except BaseException:
            await self.close()
            raise

    def _reach_programs(self) -> None:
        for listener in self._settings.listeners:
            if listener.app_url is not None:
                channel = AppCalls if listener.app_url.startswith(f"{GRPC}:") else AppChannel
                self.hosted.reach(listener.app_id, channel(listener.app_url, os.environ.get(TOKEN_VARIABLE)))
            elif self.hosted.resources_of(listener.app_id).subscriptions:
                log.warning(
                    "the subscriptions in the resource files of app %s go nowhere: its program listens on no port "
                    "that this server knows; give --app-port, and --app-protocol http or grpc",
                    listener.app_id,
                )

    def failed(self, why: BaseException) -> None:
        """Part of it has ended for good; the first reason counts."""
        if self.failure is None:
            log.error("the server fails: %s", why, exc_info=why)
            self.failure = why

    async def close(self) -> None:
        """Hand out no more work, wait for what is out within the bound, then cut; nothing that is durable is lost."""
        self._is_open = False
        await self._drain()
        await self._inner.close()
        self.hosted.end_streams()
        self.hosted.dismiss()
        await asyncio.gather(*(port.close() for port in self._ports))
        await self.hosted.close()
        if self.tracing is not None:
            await self.tracing.flush()

    async def _drain(self) -> None:
        dispatcher, actors = self.hosted.dispatcher, self.hosted.actors
        dispatcher.pause()
        actors.pause()
        ends = asyncio.get_running_loop().time() + self._settings.drain_seconds
        while (dispatcher.is_out or actors.is_out) and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    @property
    def is_ready(self) -> bool:
        """Whether recovery has run and this process executes."""
        return self._is_open and self.hosted.is_owner

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners, with the ports that they have got."""
        return tuple(port.listener for port in self._ports)

    async def holder(self) -> str | None:
        """Who owns the store, for people to read."""
        engine = await self.hosted.engine(self._settings.app_ids[0])
        return await engine.operations.holder()

    def attributes(self, app: str) -> Attributes:
        """What clients have attached to an app's server."""
        return self._attributes.setdefault(app, Attributes())

    def __repr__(self) -> str:
        return f"<Server {'open' if self._is_open else 'closed'}: {self.hosted!r}>"


class Port:
    """One listener of a server, for one app over gRPC and HTTP; also what its HTTP routes ask of the server."""

    def __init__(self, server: Server, listener: Listener) -> None:
        self.listener = listener
        self._server = server
        self._policy = Policy(app_id=listener.app_id)
        self._host, self._is_secure = "", False
        self._grpc: GrpcListener | None = None
        self._http: HttpListener | None = None
        self._callers: dict[tuple[tuple[str, str | bytes], ...], Caller] = {}

    async def open(self, table: Table, settings: ServerSettings) -> None:
        """Listen. Raises PortNotFree."""
        self._policy = settings.policy(self.listener)
        self._host, self._is_secure = _reached_at(settings.host), settings.tls is not None
        self._grpc = GrpcListener(
            table, self._admit, message_bytes_max=settings.message_bytes_max, calls_max=settings.calls_max
        )
        try:
            await self._grpc.open(settings.host, self.listener.grpc_port, _credentials(settings.tls))
        except RuntimeError as error:
            raise PortNotFree(
                f"port {self.listener.grpc_port} of {settings.host} cannot be listened on ({error}); choose another "
                "with --grpc-port"
            ) from error
        self._grpc.watch(self._server.failed)
        self.listener = msgspec.structs.replace(self.listener, grpc_port=self._grpc.port)
        if self.listener.http_port is not None:
            app = http_app(self)
            self._http = HttpListener(
                WithDashboard(app, self, settings) if settings.ui else app,
                host=settings.host,
                port=self.listener.http_port,
                tls=None if settings.tls is None else server_context(settings.tls),
                drain_seconds=CUT_SECONDS,
            )
            await self._http.start()
            self._http.watch(self._server.failed)
            self.listener = msgspec.structs.replace(self.listener, http_port=self._http.port)

    async def close(self) -> None:
        """Stop listening, and cut what still runs."""
        if self._grpc is not None:
            await self._grpc.close(CUT_SECONDS)
        if self._http is not None:
            await self._http.stop()
        self._grpc = self._http = None

    def _admit(self, metadata: Metadata, is_open: bool) -> Caller:
        """Who makes a call. Whoever was admitted once is again, because all calls of a program say the same of it."""
        said = tuple([pair for pair in metadata if pair[0] in _SAID])
        if is_open:
            return _caller(said, admit_anybody(self._policy))
        caller = self._known(said)
        trace = trace_in(metadata)
        return caller if trace is None else msgspec.structs.replace(caller, trace=trace)

    def _known(self, said: tuple[tuple[str, str | bytes], ...]) -> Caller:
        caller = self._callers.get(said)
        if caller is None:
            caller = _caller(said, admit(said, self._policy))
            if len(self._callers) < CALLERS_KNOWN_MAX:
                self._callers[said] = caller
        return caller

    @property
    def doors(self) -> list[str]:
        """The addresses at which it is reached."""
        listener, tls = self.listener, "s" if self._is_secure else ""
        http = [] if listener.http_port is None else [f"http{tls}://{self._host}:{listener.http_port}"]
        return [f"grpc{tls}://{self._host}:{listener.grpc_port}", *http]

    # -- what the HTTP routes ask ---------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        return self._policy

    @property
    def pubsub(self) -> PubsubDesk:
        return self._server.hosted.pubsub

    async def gateway(self, app: str) -> Gateway:
        hosted = self._server.hosted
        if hosted.operations_of(self.listener.app_id) is None:
            raise NotOpen(f"the server of {self.listener.app_id!r} is not open yet; try again in a moment")
        return await hosted.operations(app)

    @property
    def state(self) -> StateDesk:
        return self._server.hosted.state

    @property
    def secrets(self) -> SecretDesk:
        return self._server.hosted.secrets

    @property
    def configuration(self) -> ConfigurationDesk:
        return self._server.hosted.configuration

    @property
    def conversation(self) -> ConversationDesk:
        return self._server.hosted.conversation

    def components(self, block: str) -> list[str]:
        return [component.name for component in self._server.hosted.resources_of(self.listener.app_id).block(block)]

    def channel(self, app: str) -> AppChannel | None:
        return self._server.hosted.channels.get(app)

    def attributes(self, app: str) -> Attributes:
        return self._server.attributes(app)

    def is_ready(self) -> bool:
        return self._server.is_ready

    def metadata(self, app: str) -> Mapping[str, Any]:
        return metadata_view(self._server.hosted.metadata(app, _version(), self.attributes(app).held))

    async def load(self, app: str) -> Load:
        return await self._server.hosted.loads.of(app)

    async def metrics(self, app: str, accept: str) -> tuple[bytes, str]:
        from perdure.remote.exposition.page import MetricsPage  # because few servers are scraped

        return await MetricsPage(self._server.hosted, app).answer(accept)

    def actors(self, type: str, app: str) -> AppActors:
        return self._server.hosted.actors.hosting(type, app)

    def request_shutdown(self) -> None:
        self._server.asked_to_stop.set()

    def __repr__(self) -> str:
        return f"<Port {self.listener}>"


def _caller(said: Metadata, grant: Grant) -> Caller:
    found = dict(said)
    agent, other = (found.get(key) for key in _AGENT_KEYS)
    return Caller(grant, agent=_text(agent or other), task_hub=_text(found.get(_TASK_HUB_KEY)))


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""


def _reached_at(host: str) -> str:
    """A name for the host that is listened on; this machine's where that is any."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 because it is compared, not listened on
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@lru_cache(maxsize=1)
def _version() -> str:
    return version("perdure")


def _credentials(tls: Tls | None) -> grpc.ServerCredentials | None:
    if tls is None:
        return None
    authorities = tls.client_ca.read_bytes() if tls.client_ca is not None else None
    pair = (tls.key.read_bytes(), tls.cert.read_bytes())
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)
