"""The app: functions registered under one id, and their life between `open` and `close`."""

from __future__ import annotations

import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

from perdure.app.address import checked_server
from perdure.app.packing import checked_codec, writer_of
from perdure.app.settings import checked_settings, checked_webhook
from perdure.clock import SystemClock
from perdure.codec import Codec, Writer
from perdure.engine.settings import checked_retention
from perdure.errors import ForkedEngine, InvalidArgument, NotOpen
from perdure.history.subscribing import HANDLE_SECONDS, IN_HAND_MAX
from perdure.history.work import StartOptions
from perdure.sdk.activity import Activity, StreamActivity, activity_of
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions
from perdure.sdk.functions import (
    check_activity_function,
    check_transaction_function,
    check_workflow_function,
    definition_name,
)
from perdure.sdk.generator import WorkflowContext
from perdure.sdk.home import Home
from perdure.sdk.messages import ExternalEvent, name_of
from perdure.sdk.options import Retry, call_options, checked_name
from perdure.sdk.publishing import checked_topic
from perdure.sdk.queues import Queue, place
from perdure.sdk.transactions import Outbox, Transaction
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from perdure.app.decorators import ActivityDecorator, SubscribeDecorator, TransactionDecorator, WorkflowDecorator
    from perdure.app.life import Life
    from perdure.blocks.actors.actor import Actor
    from perdure.blocks.state import State
    from perdure.blocks.state.stores import Shelf
    from perdure.remote.exposition.page import MetricsPage
    from perdure.remote.tracing import Tracing
    from perdure.sdk.cloud_event import CloudEvent
    from perdure.sdk.webhooks import Webhook

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
ActorT = TypeVar("ActorT", bound="type[Actor]")


class Hosted(Protocol):
    """What has an app of its own to be included: an agent."""

    @property
    def app(self) -> App: ...


class App:
    """Workflows and activities under one app id.

    `store` is a URL ("sqlite:///shop.db"; default $PERDURE_STORE, else sqlite:///<id>.db) or a store object.
    `server` is the address of a server instead ("grpc://host:50001", "grpcs://" for TLS), which has the engine: here
    only the code runs. `codec` packs its payloads: compressed, encrypted, offloaded. `async with app:` runs the engine,
    or the worker, in this process; see `SETTINGS` for the settings. `retention` says how long instances are kept after
    their end, by final status: {"completed": timedelta(days=7), "failed": 3600.0}; those of others are kept.
    `tracing` makes spans of what runs here. `webhook` is told what happens to instances. `agents` are included.
    """

    def __init__(
        self,
        id: str,
        *,
        store: str | EngineStore | None = None,
        server: str | None = None,
        codec: Codec | None = None,
        retention: Mapping[str, float | timedelta] | None = None,
        tracing: Tracing | None = None,
        webhook: Webhook | None = None,
        agents: Iterable[Hosted] = (),
        **settings: Any,
    ) -> None:
        self.id = checked_name(id)
        self._webhook = checked_webhook(webhook, server)
        self._retention = checked_retention(retention or {})
        self._server = checked_server(server, store)
        self._store = store
        self.codec = checked_codec(codec)
        self.tracing = tracing
        self._settings = checked_settings(settings)
        self._definitions = Definitions()
        self._life: Life | None = None
        self._used: Life | None = None
        """The life that code of the app uses: from before it is open, which recovers, until it has drained."""
        self._host: Home | None = None
        self._metrics: MetricsPage | None = None
        for agent in agents:
            self.include(agent)

    # -- registering ----------------------------------------------------------------------------------------------

    @overload
    def activity(self, function: Callable[P, AsyncIterator[T] | Iterator[T]], /) -> StreamActivity[P, T]: ...
    @overload
    def activity(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def activity(self, function: Callable[P, R], /) -> Activity[P, R]: ...
    @overload
    def activity(
        self,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        heartbeat_timeout: float | timedelta | None = None,
        queue: Queue | None = None,
        stream: bool = False,
    ) -> ActivityDecorator: ...
    def activity(  # type: ignore[misc]  # what takes options first exists for checkers alone
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        heartbeat_timeout: float | timedelta | None = None,
        queue: Queue | None = None,
        stream: bool = False,
    ) -> Any:
        """Register a function as an activity; see `Activity.with_options` for the options.

        With `stream` an `async def` has a stream beside its result, and puts items on it by
        `activity_context().put`.
        """
        options = call_options(retry, timeout, heartbeat_timeout, place=place(queue, None, None, None))

        def register(function: Callable[..., Any]) -> Activity[..., Any]:
            check_activity_function(function)
            activity = activity_of(function, definition_name(function, name), options, has_stream=stream)
            self._definitions.add(activity)
            return activity

        return register(function) if function is not None else register

    @overload
    def workflow(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def workflow(
        self, function: Callable[Concatenate[WorkflowContext, P], Generator[Any, Any, R]], /
    ) -> Workflow[P, R]: ...
    @overload
    def workflow(
        self,
        *,
        name: str | None = None,
        version: str | None = None,
        latest: bool = False,
        queue: Queue | None = None,
    ) -> WorkflowDecorator: ...
    def workflow(  # type: ignore[misc]
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: str | None = None,
        latest: bool = False,
        queue: Queue | None = None,
    ) -> Any:
        """Register a function as a workflow. Raises NotDeterministic if its code could not be replayed.

        Functions of one `name` are told apart by `version`. A run takes the latest when it begins, and stays on it: the
        one marked `latest`, else the greatest, numbers in it compared as numbers. In a `queue` its instances wait until
        they have a slot, unless `with_options` names another queue.
        """
        if version is not None:
            checked_name(version, "a version")
        options = StartOptions(place=place(queue, None, None, None))

        def register(function: Callable[..., Any]) -> Workflow[..., Any]:
            check_workflow_function(function)
            workflow: Workflow[..., Any] = Workflow(
                function, definition_name(function, name), self, options, version=version, latest=latest
            )
            self._definitions.add(workflow)
            return workflow

        return register(function) if function is not None else register

    @overload
    def transaction(self, function: Callable[Concatenate[Transaction, P], R], /) -> Activity[P, R]: ...
    @overload
    def transaction(
        self, *, name: str | None = None, retry: Retry | None = None, queue: Queue | None = None
    ) -> TransactionDecorator: ...
    def transaction(  # type: ignore[misc]
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        queue: Queue | None = None,
    ) -> Any:
        """Register a function whose SQL happens exactly once: in one transaction with its result.

        It is a plain `def` that takes the `Transaction` first and works on your own tables in the store's database.
        """
        options = call_options(retry, None, None, place=place(queue, None, None, None))

        def register(function: Callable[..., Any]) -> Activity[..., Any]:
            check_transaction_function(function)
            checked = checked_name(name or function.__name__)
            activity: Activity[..., Any] = Activity(function, checked, options, is_transaction=True)
            self._definitions.add(activity)
            return activity

        return register(function) if function is not None else register

    @overload
    def actor(self, cls: ActorT, /) -> ActorT: ...
    @overload
    def actor(
        self, *, name: str | None = None, idle: float | timedelta | None = None
    ) -> Callable[[ActorT], ActorT]: ...
    def actor(  # type: ignore[misc]
        self,
        cls: Any = None,
        /,
        *,
        name: str | None = None,
        idle: float | timedelta | None = None,
    ) -> Any:
        """Register a class of actors: annotated fields are its durable state, `async def` methods run one at a time.

        `idle`: seconds after which an actor that nobody has asked leaves memory (60 unless said otherwise).
        """
        from perdure.blocks.actors.registering import registered  # because most apps have none

        def register(cls: Any) -> Any:
            self._definitions.add_actor(registered(cls, self, name, idle))
            return cls

        return register(cls) if cls is not None else register

    @overload
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        begin: str = "earliest",
        in_hand_max: int = IN_HAND_MAX,
        retry: Retry | None = None,
        dead_letter: str | None = None,
        timeout: float = HANDLE_SECONDS,
    ) -> SubscribeDecorator: ...
    @overload
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        starts: Workflow[..., Any],
        id: Callable[[CloudEvent], str] | str | None = None,
        begin: str = "earliest",
        retry: Retry | None = None,
        dead_letter: str | None = None,
    ) -> None: ...
    @overload
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        raises: str | ExternalEvent[Any],
        id: Callable[[CloudEvent], str] | str,
        begin: str = "earliest",
        retry: Retry | None = None,
        dead_letter: str | None = None,
    ) -> None: ...
    def subscribe(
        self,
        topic: str,
        *,
        group: str | None = None,
        starts: Workflow[..., Any] | None = None,
        raises: str | ExternalEvent[Any] | None = None,
        id: Callable[[CloudEvent], str] | str | None = None,
        begin: str = "earliest",
        in_hand_max: int = IN_HAND_MAX,
        retry: Retry | None = None,
        dead_letter: str | None = None,
        timeout: float = HANDLE_SECONDS,
    ) -> Any:
        """Have the decorated function handle the messages of a topic, or start a workflow, or raise an event.

        Each `group` (by default called as what receives) gets each message at least once, those of one key in order. A
        group that is new to the topic begins with the "earliest" message that is kept, or with the "newest". A function
        takes the data, the `CloudEvent`, or both, and has at most `timeout` seconds; `in_hand_max` messages are handled
        at the same time on a node. What it raises makes the message come again, as `retry` says (10 attempts if nothing
        is said), and then go to the topic `dead_letter`, if there is one.

        `starts` is a workflow that is given the data as input, under the `id` that is told from the event, by a
        function or a path such as "data.order"; an id is used once. `raises` is an external event for the instance with
        the `id`. Both happen in the turn that comes past the message: once.
        """
        from perdure.sdk import subscriptions  # because most apps have none

        checked_topic(topic)
        options = subscriptions.subscribe_options(begin, in_hand_max, retry, dead_letter, timeout)
        if dead_letter == topic:
            raise InvalidArgument(f"dead letters of {topic!r} would come to it again; give them a topic of their own")
        if starts is not None and raises is not None:
            raise InvalidArgument("a subscription starts a workflow or raises an event; make two of it")
        if starts is not None:
            self._definitions.subscribe(subscriptions.starting(topic, group, options, starts, id))
            return None
        if raises is not None:
            event = name_of(raises, "an event's name")
            self._definitions.subscribe(subscriptions.raising(topic, group, options, event, id))
            return None
        if id is not None:
            raise InvalidArgument("id tells which instance is started or told; give starts=... or raises=... with it")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._definitions.subscribe(subscriptions.handling(topic, group, options, function))
            return function

        return register

    def outbox(self, connection: Any) -> Outbox:
        """Start workflows and raise events in your own transaction on the store's database.

        `connection` is a `sqlite3.Connection` to the same file, or the `Transaction` of a step on any SQL store.
        """
        from perdure.stores.sql.outbox import SqlCarrier, lent

        return Outbox(self.id, SqlCarrier(lent(connection)), SystemClock(), self.codec)

    def state(self, name: str = "statestore") -> State:
        """The state store of that name in the app's own store, or its server's: values that outlive the program.

        It is used while the app is open, by activities and by what is around workflows. Raises InvalidArgument for a
        name that cannot be one.
        """
        from perdure.blocks.state import State
        from perdure.stores.values.contract import checked_space

        return State(checked_space(name), lambda: self._shelf(name), self.codec)

    def _shelf(self, name: str) -> Awaitable[Shelf]:
        if self._used is None:
            raise NotOpen(f"app {self.id!r} is not open; write `async with app:` around what uses its state")
        return self._used.shelf(name)

    def include(self, other: App | Hosted | types.ModuleType | type[Actor]) -> Self:
        """Add an agent, a class of actors, or what another App, or the Apps and definitions of a module, registered."""
        from perdure.app.parts import parts_of  # because it has to know what an app is

        for part in parts_of(other):
            if isinstance(part, App):
                self._definitions.include(part._definitions)
                part.lodge(self)
            elif isinstance(part, type):
                self._include_actor(part)
            else:
                self._definitions.add(part)
        return self

    def _include_actor(self, cls: type[Any]) -> None:
        """One that belongs to no app yet becomes this app's."""
        known = cls.__dict__.get("_perdure")
        if known is None:
            self.actor(cls)
        else:
            self._definitions.add_actor(known)

    # -- running --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self, *, store: str | EngineStore | None = None, server: str | None = None) -> None:
        """Start the engine: take up what was in flight, or stand by while another process owns the store.

        `store` or `server` takes the place of what the app was made with. With a server: connect, and serve.
        """
        server = checked_server(server, store) or (self._server if store is None else None)
        await self._leave_behind()
        if self._life is not None:
            raise InvalidArgument(f"app {self.id!r} is open already; open it once per process")
        life = self._life_on(store) if server is None else await self._life_at(server)
        await self._begin(life)
        try:
            await self._set_up(life)
        except BaseException:
            await self.close()
            raise

    def _life_on(self, store: str | EngineStore | None) -> Life:
        from perdure.app.embedded import Embedded  # because who only defines, or has a server, needs no engine

        given = store or self._store or os.environ.get("PERDURE_STORE") or f"sqlite:///{self.id}.db"
        return Embedded(self, given, self._retention, self._webhook)

    async def _life_at(self, server: str) -> Life:
        from perdure.app.served import served  # because most apps have their engine here

        return await served(self, server)

    async def _begin(self, life: Life) -> None:
        self._used = life  # before it is open, because activities that recover use the client too
        try:
            await life.open()
        except BaseException:
            self._used = None
            raise
        self._life = life

    async def _set_up(self, life: Life) -> None:
        """What is declared and lies in the store."""
        if self._definitions.subscriptions:
            await life.subscribe(self._definitions.subscriptions.values())
        if self._definitions.schedules:
            from perdure.sdk.schedules import make_declared  # because most apps declare none

            await make_declared(self.client, self._definitions.schedules)

    async def close(self) -> None:
        """Drain what runs, commit what is decided, stop. Closing twice is fine."""
        await self._leave_behind()
        if self._life is not None:
            self._life.check_loop()
            await self._end(self._life)
        if self.tracing is not None:
            await self.tracing.flush()

    async def _end(self, life: Life) -> None:
        self._life = None
        try:
            await life.close()
        finally:
            if self._used is life:  # and not one that was opened meanwhile
                self._used = None

    async def _leave_behind(self) -> None:
        """Let go of a life that cannot go on."""
        life = self._life
        if life is not None and not life.can_go_on:
            self._life = self._used = None
            await life.leave_behind()

    def lodge(self, host: Home | None) -> Home | None:
        """Let the client of `host` drive this app's instances: an app that includes it, or a test; who did before.

        None ends it. Raises InvalidArgument while the app is open.
        """
        if self._life is not None and self._life.can_go_on:
            raise InvalidArgument(f"app {self.id!r} is open, so it drives its instances itself; close it before")
        before, self._host = self._host, host
        return before

    @property
    def client(self) -> Client:
        """Drives this app's instances through its own engine. Raises NotOpen before `async with app`."""
        if self._host is not None:
            return self._host.client
        life = self._used
        if life is None:
            raise NotOpen(f"app {self.id!r} is not open; write `async with app:` around what starts workflows")
        if life.pid != os.getpid():
            raise ForkedEngine(f"app {self.id!r} was opened before a fork; open it in the child process instead")
        return life.client

    @property
    def writer(self) -> Writer:
        """What makes payloads of values for this app's instances: as its codec allows."""
        return self._host.writer if self._host is not None else writer_of(self.codec)

    @property
    def metrics(self) -> MetricsPage:
        """What this node counts of the app, for Prometheus: `await app.metrics.text()`, or mount it as an ASGI app.

        Needs the extra `metrics`. Raises InvalidArgument without it.
        """
        if self._metrics is None:
            from perdure.app.embedded import Embedded
            from perdure.remote.exposition.page import MetricsPage
            from perdure.remote.exposition.source import EngineSources

            sources = EngineSources(lambda: self._life.engine if isinstance(self._life, Embedded) else None)
            self._metrics = MetricsPage(sources, self.id)
        return self._metrics

    @property
    def is_owner(self) -> bool:
        """Whether this process executes (False: it stands by, its server is not there, or it is not open)."""
        return self._life is not None and self._life.engine.is_owner

    @property
    def server(self) -> str | None:
        """The server that this process works for, None if the engine is here or the app is not open."""
        return self._life.server if self._life is not None else None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, with their defaults."""
        return dict(self._settings)

    @property
    def definitions(self) -> Definitions:
        return self._definitions

    def __repr__(self) -> str:
        state = repr(self._life.engine) if self._life is not None else "closed"
        known = f"{len(self._definitions.workflows)} workflows, {len(self._definitions.activities)} activities"
        return f"<App {self.id}: {known}, {state}>"
