"""The apps of a server: for each an engine on the shared store, whose code is with remote workers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from perdure.blocks.pubsub import Broker
from perdure.blocks.pubsub.store import StoreBroker
from perdure.blocks.resources import USUAL, Component, Resources
from perdure.blocks.resources.words import NAMESPACE
from perdure.blocks.state.places import capabilities_of
from perdure.blocks.state.stores import StateStores
from perdure.clock import Clock, SystemClock
from perdure.engine.engine import Engine
from perdure.engine.load import Load, load_of
from perdure.engine.operations import Operations
from perdure.engine.ports import Tracing
from perdure.errors import InstanceNotFound, InvalidArgument, NotOpen, ServerUnavailable, StoreOwned
from perdure.history.audit_log import Principal
from perdure.history.events import Failure
from perdure.history.reports import GIVEN_BACK
from perdure.history.topic_state import TopicState
from perdure.history.topics import SHARED_APP
from perdure.history.work import Outcome
from perdure.remote.actors.apps import ActorApps
from perdure.remote.app_calls import AppCalls
from perdure.remote.app_channel import AppChannel
from perdure.remote.conversation import ConversationDesk
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.executor import RemoteExecutor
from perdure.remote.dispatch.lent import YIELDS, Borrowing
from perdure.remote.dispatch.relay import Relay
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.exposition.source import Source
from perdure.remote.lineage import heritage
from perdure.remote.loads import Loads
from perdure.remote.native.codec import NATIVE
from perdure.remote.pubsub.declared import of_files
from perdure.remote.pubsub.delivery import Deliveries
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.pubsub.grpc_program import GrpcProgram
from perdure.remote.pubsub.http_program import HttpProgram
from perdure.remote.pubsub.port import Program, ProgramPort
from perdure.remote.pubsub.receiving import ReceivingStream
from perdure.remote.requests import Flavour, Metadata, OfferedComponent
from perdure.remote.secrets import SecretDesk
from perdure.remote.security import Grant
from perdure.remote.state import StateDesk
from perdure.remote.watching import ConfigurationDesk
from perdure.remote.webhook import WebhookReceiver
from perdure.remote.wire.codec import DAPR, MICROSOFT
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.lineage import lineage_bytes
from perdure.sdk.webhooks import Webhook
from perdure.stores.contract import EngineStore

log = logging.getLogger("perdure")
ATTEMPTS_MAX = 10_000
"""Attempts of one app that are out or wait for a worker in memory; what is beyond lies in the store."""
APPS_MAX = 1_000
"""Apps of one server."""
TICK_SECONDS = 1.0


class Hosted:
    """The engines of a server, by app id, and the dispatcher that they share."""

    def __init__(
        self,
        store: EngineStore,
        *,
        owner: str | None = None,
        clock: Clock | None = None,
        principal: Principal | None = None,
        tracing: Tracing | None = None,
        lifecycle: bool = False,
        webhook: Webhook | None = None,
        resources: Mapping[str, Resources] | None = None,
        address: str = "memory:",
        quarantines: bool = False,
    ) -> None:
        self.store = store
        self.state = StateDesk(StateStores(address, namespace=os.environ.get(NAMESPACE, "")), self.resources_of)
        """The state stores of the apps, of which some lie where the store does, at `address`."""
        self._resources = {app: found.of(app) for app, found in (resources or {}).items()}
        self.clock = clock or SystemClock()
        self._owner = owner
        self._quarantines = quarantines
        self._principal = principal
        self._tracing = tracing
        self._lifecycle = lifecycle
        self._webhook = webhook
        self.doors: list[str] = []
        self.pubsub = PubsubDesk(self.resources_of, self._own_broker, self.clock)
        self.secrets = SecretDesk(self.resources_of)
        self.configuration = ConfigurationDesk(self.resources_of, self.state.own, self.clock.token)
        self.conversation = ConversationDesk(self.resources_of)
        self._deliveries: list[Deliveries] = []
        self.describers: list[Callable[[Metadata], Metadata]] = [self.pubsub.describe]
        """What building blocks add to what is told of an app; the module of a block's calls adds its own."""
        self.reserved: dict[str, tuple[str, ...]] = {}
        """By app, what the names begin with of code that the server runs itself; its workers get none of that work."""
        self._engines: dict[str, Engine] = {}
        self._executors: dict[str, RemoteExecutor] = {}
        self._opening: dict[str, asyncio.Task[Engine]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticking: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self.dispatcher = Dispatcher(loop.time, self.clock.token, self._readiness, quarantines=quarantines)
        self._first = ""
        """The app on whose page the topics are counted that all apps share, because they are to be counted once."""
        self.loads = Loads(self._load, loop.time)
        self._topics = Loads(self._topics_of, loop.time)
        self.actors = ActorApps(self.operations, self.clock, self._hosting_changed)
        self.channels: dict[str, AppChannel] = {}
        """The programs that listen for HTTP on a port of their own, by app."""
        self._calls: list[AppCalls] = []
        self.receiving: set[ReceivingStream] = set()
        """The workers of Perdure's own that are given messages of topics."""

    async def open(self, apps: list[str]) -> None:
        """Take up the work of these apps. Raises StoreError."""
        self._first = apps[0]
        await self.store.open()
        for app in apps:
            await self.engine(app)
        self._ticking = asyncio.get_running_loop().create_task(self._tick(), name="perdure-dispatch")

    def watch(self, failed: Callable[[BaseException], None]) -> None:
        """Tell `failed` if work is handed out no more although this is open."""

        def ended(ticking: asyncio.Task[None]) -> None:
            if not ticking.cancelled():
                failed(ticking.exception() or RuntimeError("the dispatch of work has ended"))

        if self._ticking is not None:
            self._ticking.add_done_callback(ended)

    async def close(self) -> None:
        """Commit what is decided and give the shards back."""
        if self._ticking is not None:
            self._ticking.cancel()
        self.end_streams()
        for task in list(self._tasks):
            task.cancel()
        await self.actors.close()
        await self.loads.stop()
        await self._topics.stop()
        self.configuration.close()
        self.conversation.close()
        for deliveries in self._deliveries:
            await deliveries.close()
        for calls in self._calls:
            await calls.close()
        await self.pubsub.close()
        for engine in self._engines.values():
            await engine.close()
        self._engines.clear()
        await self.state.close()
        await self.store.close()

    async def engine(self, app: str) -> Engine:
        """The engine of an app, opened when it is first asked for."""
        engine = self._engines.get(app)
        if engine is not None:
            return engine
        opening = self._opening.get(app)
        if opening is None:
            if len(self._engines) >= APPS_MAX:
                raise InvalidArgument(f"this server has {APPS_MAX:,} apps already; start another one for {app!r}")
            opening = self._opening[app] = asyncio.get_running_loop().create_task(self._open(app))
            opening.add_done_callback(lambda _: self._opening.pop(app, None))
        return await asyncio.shield(opening)

    def listens(self, doors: list[str]) -> None:
        """The server is reached at these addresses, which its nodes tell."""
        self.doors = doors
        for engine in self._engines.values():
            engine.workers_changed()

    def operations_of(self, app: str) -> Operations | None:
        """Those of an app that is open."""
        engine = self._engines.get(app)
        return engine.operations if engine is not None else None

    async def operations(self, app: str) -> Operations:
        return (await self.engine(app)).operations

    async def operations_for(self, grant: Grant, named: str | None) -> Operations:
        """Those of the app that a request is for, which may name one. Raises NotPermitted."""
        return await self.operations(grant.app_for(named))

    @property
    def is_owner(self) -> bool:
        """Whether this process executes; else it stands by."""
        return any(engine.is_owner for engine in self._engines.values())

    @property
    def _is_shared(self) -> bool:
        """Whether several nodes divide the shards: one that has none yet gets some because it has workers."""
        return self.store.lease_seconds is not None

    def resources_of(self, app: str) -> Resources:
        """What an app may use; what is usual for one that no files were named for."""
        return self._resources.get(app, USUAL)

    async def _own_broker(self) -> Broker:
        """The broker on this store; its topics are those of an app of their own, because all apps share them."""
        return StoreBroker(await self.engine(SHARED_APP))

    def workers_of(self, app: str) -> list[WorkerStream]:
        """The workers of an app that are connected, without the server's own."""
        return [stream for stream in self.dispatcher.streams if stream.app == app and not stream.is_inner]

    def is_native(self, app: str) -> bool:
        """Whether the app's workers are all Perdure's own, as far as any are connected."""
        flavours = {stream.codec.flavour for stream in self.workers_of(app)}
        return flavours == {Flavour.PERDURE}

    def flavour_of(self, app: str) -> Flavour:
        """What the app's workers speak; its clients most likely do as well, but Perdure's own ask otherwise."""
        flavours = [stream.codec.flavour for stream in self.workers_of(app)]
        public = [flavour for flavour in flavours if flavour is not Flavour.PERDURE]
        return public[-1] if public else Flavour.DAPR

    def metadata(self, app: str, version: str, values: Mapping[str, str]) -> Metadata:
        """What is told of an app's server, with `values` that programs have set."""
        found = self.resources_of(app)
        offered = [_told(one) for one in found.components]
        told = Metadata(
            app=app,
            version=version,
            workers=len(self.workers_of(app)),
            values=values,
            components=offered,
            mcp_servers=[one.name for one in found.mcp_servers],
        )
        for describe in self.describers:
            told = describe(told)
        return told

    def end_streams(self) -> None:
        """Let every worker go."""
        for stream in list(self.dispatcher.streams):
            stream.is_let_go = True
            self.dispatcher.disconnect(stream)
        for receiving in self.receiving:
            receiving.let_go()

    def dismiss(self) -> None:
        """Let nobody wait here any more: who asks again is answered elsewhere, or after the next start."""
        stops = ServerUnavailable("this server stops; ask again in a moment")
        for engine in self._engines.values():
            engine.operations.give_up(stops)

    async def connect(self, stream: WorkerStream) -> None:
        """A worker is there: what stood still may go on with the code that it has.

        Raises StoreOwned where another process executes, which has the work.
        """
        engine = await self.executing(stream.app)
        self.dispatcher.connect(stream)
        engine.workers_changed()
        for shard in list(engine.owned.values()):
            self._spawn(shard.retry_stalled())

    async def executing(self, app: str) -> Engine:
        """The engine of an app that has its work, or part of it. Raises StoreOwned where another process has it."""
        engine = await self.engine(app)
        if not (engine.is_owner or self._is_shared):
            holder = await engine.operations.holder()
            raise StoreOwned(f"this server stands by, and {holder or 'another process'} has the work; connect there")
        return engine

    async def _open(self, app: str) -> Engine:
        executor = RemoteExecutor(app, self.dispatcher, self.clock.now, self._lineage, self.actors.of(app))
        engine = Engine(
            app,
            _Shared(self.store),
            executor,
            clock=self.clock,
            owner=self._owner,
            slots=ATTEMPTS_MAX,
            quarantine_deaths=None,  # because no code of an app runs in this process that could kill it
            quarantines_workers=self._quarantines,
            drain_seconds=0.0,
            neighbours=self._engines,
            tracing=self._tracing,
            doors=lambda: self.doors,
            principal=self._principal,
            announces=self._lifecycle,
            receiver=None if self._webhook is None else WebhookReceiver(self._webhook),
            borrower=Borrowing(app, self.dispatcher, partial(self._is_lacking, app)),
            on_peers=partial(self._peers_changed, app),
        )
        self._executors[app] = executor
        await engine.open()
        self._engines[app] = engine
        if self._is_shared:
            codecs = NATIVE, DAPR, MICROSOFT
            self.dispatcher.relays += [Relay(app, codec, engine, self._loan_ended) for codec in codecs]
        return engine

    def _peers_changed(self, app: str) -> None:
        """The workers of other servers are others: what stood still may go on with the code that they have."""
        self.dispatcher.relays_changed()
        engine = self._engines.get(app)
        for shard in list(engine.owned.values()) if engine is not None else ():
            self._spawn(shard.retry_stalled())

    def _is_lacking(self, app: str, take: str) -> bool:
        """Whether some other server of the app may have to lend such work."""
        engine = self._engines.get(app)
        return engine is not None and engine.peers.lacking(take)

    def _loan_ended(self, token: str, why: Failure | None) -> None:
        """Another server is done with work that was lent to it, or gives it back."""
        if why is None:
            return  # because the answer is in the store, from where it comes
        work = self.dispatcher.abandon(token)
        if work is None:
            return
        if isinstance(work, AttemptWork) and why.type != GIVEN_BACK:
            work.end(Outcome(failure=why, timed_out=True))
            return
        log.info("%r comes back from another server: %s", work, why.message)
        if why.message == YIELDS:
            work.need = work.need._replace(stays=True)
        self.dispatcher.submit_later(work)

    async def _load(self, app: str) -> Load:
        return await load_of(self.store, app, self.clock.now(), self.dispatcher.waiting(app))

    async def _topics_of(self, app: str) -> list[TopicState]:
        return await (await self.engine(app)).operations.topics()

    async def source(self, app: str) -> Source:
        """What there is to show of an app; without its load if the store does not answer. Raises NotOpen."""
        engine = self._engines.get(app)
        if engine is None or engine.metrics is None:
            raise NotOpen(f"the server of {app!r} is not open yet; try again in a moment")
        workers = len(self.workers_of(app))
        load, topics = await self.loads.known(app), await self._topics.known(app)
        return Source(
            app=app,
            metrics=engine.metrics,
            vitals=engine.vitals(),
            load=load,
            topics=topics or (),
            workers=workers,
            shared=await self._shared_topics() if app == self._first else None,
        )

    async def _shared_topics(self) -> Source | None:
        """None while nobody has published to one or subscribed."""
        engine = self._engines.get(SHARED_APP)
        if engine is None or engine.metrics is None:
            return None
        topics = await self._topics.known(SHARED_APP)
        return Source(app=SHARED_APP, metrics=engine.metrics, vitals=engine.vitals(), topics=topics or ())

    async def _lineage(self, app: str, instance: str, number: int, scope: int) -> bytes | None:
        runs = await heritage(self._read, app, instance, number, scope)
        return lineage_bytes(scope, runs) if runs else None

    async def _read(self, app: str, instance: str) -> tuple[str, list[Any]]:
        operations = await self.operations(app)
        try:
            state = await operations.state(instance, None)
            return wire_execution(state.execution, state.generation), await operations.all_events(instance)
        except InstanceNotFound:
            return "", []

    def _readiness(self, app: str, is_ready: bool) -> None:
        executor = self._executors.get(app)
        if executor is None:
            return
        is_ready = executor.is_ready = is_ready or self.actors.of(app).is_hosted
        engine = self._engines.get(app)
        if engine is not None:
            engine.readiness_changed()
        if is_ready and engine is not None:
            asyncio.get_running_loop().call_soon(_rouse, engine)

    def _hosting_changed(self, app: str) -> None:
        """Programs host actors of the app, or do so no more."""
        self._readiness(app, any(stream.app == app for stream in self.dispatcher.streams))
        engine = self._engines.get(app)
        if engine is not None:
            engine.workers_changed()

    def reach(self, app: str, channel: AppChannel | AppCalls) -> None:
        """The program of an app listens there. Over gRPC it gets events alone: Dapr's actors are asked by HTTP."""
        program: Program
        if isinstance(channel, AppCalls):
            self._calls.append(channel)
            program = GrpcProgram(channel)
        else:
            self.channels[app] = channel
            self.actors.look_after(app, channel)
            program = HttpProgram(channel)
        deliveries = Deliveries(app, ProgramPort(program), self.pubsub, of_files(self.resources_of(app).subscriptions))
        self._deliveries.append(deliveries)
        deliveries.start()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._let_strays_go()
            self.dispatcher.tick()

    def _let_strays_go(self) -> None:
        """Workers of an app that another process executes by now would wait here for ever."""
        for stream in list(self.dispatcher.streams):
            engine = self._engines.get(stream.app)
            if engine is not None and not (engine.is_owner or self._is_shared):
                stream.is_let_go = True
                self.dispatcher.disconnect(stream)
        for receiving in self.receiving:
            if not (receiving.engine.is_owner or self._is_shared):
                receiving.let_go()

    async def to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for work that goes on when the caller is gone, as one is that was killed meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work of the server failed", exc_info=task.exception())

    def __repr__(self) -> str:
        return f"<Hosted {', '.join(self._engines) or 'no app'}: {self.dispatcher!r}>"


def _rouse(engine: Engine) -> None:
    for shard in list(engine.owned.values()):
        shard.rouse()


class _Shared:
    """The store as one of several engines sees it: opened and closed by the server alone."""

    def __init__(self, store: EngineStore) -> None:
        self._store = store
        # because from Python 3.12 on a protocol is looked for on the object itself, and not through __getattr__
        vars(self).update({name: getattr(store, name) for name in _offered(store) if not hasattr(_Shared, name)})

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """Others use it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __repr__(self) -> str:
        return repr(self._store)


def _offered(store: EngineStore) -> list[str]:
    """Names of what the store can be asked for."""
    return [name for name in dir(store) if not name.startswith("_") and callable(getattr(type(store), name, None))]


def _told(component: Component) -> OfferedComponent:
    capabilities = capabilities_of(component) if component.block == "state" else ()
    return OfferedComponent(
        name=component.name, type=component.type, version=component.version, capabilities=capabilities
    )
