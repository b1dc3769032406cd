"""The app: functions registered under one id, a store, and the engine that runs them."""

from __future__ import annotations

import asyncio
import inspect
import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from perdure.clock import SystemClock
from perdure.codec import PLAIN, Codec, Writer
from perdure.engine.engine import DRAIN_SECONDS, Engine
from perdure.engine.instance import HISTORY_EVENTS_MAX
from perdure.engine.quarantine import QUARANTINE_DEATHS, QUARANTINE_DEATHS_MIN
from perdure.errors import ForkedEngine, InvalidArgument, NotOpen, UnknownConfiguration
from perdure.history.work import StartOptions
from perdure.sdk.client import Client as _Client
from perdure.sdk.client import Gateway
from perdure.sdk.definitions import (
    Activity,
    Definitions,
    Home,
    StreamActivity,
    Workflow,
    activity_of,
    check_activity_function,
    check_transaction_function,
    check_workflow_function,
    definition_name,
)
from perdure.sdk.generator import WorkflowContext
from perdure.sdk.options import Retry, call_options, checked_name
from perdure.sdk.packing.gateway import PackingGateway
from perdure.sdk.packing.worker import PackingWorker
from perdure.sdk.queues import Queue, place
from perdure.sdk.transactions import Outbox, Transaction
from perdure.sdk.worker import Worker
from perdure.stores.contract import EngineStore

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SETTINGS = {
    "standby": True,
    "slots": 1_000,
    "threads": 32,
    "activations_max": 2_000,
    "history_events_max": HISTORY_EVENTS_MAX,
    "quarantine_deaths": QUARANTINE_DEATHS,
    "drain_seconds": DRAIN_SECONDS,
}
"""Settings of an App by name, with what they are if nothing is said: whether to stand by while another process owns the
store; attempts at once; threads for `def` activities; instances kept in memory; events of a history before it stalls;
how many owners in a row may die while they run an instance before it stalls (None: any number); seconds that closing
waits for attempts."""

SETTINGS_MIN = {"slots": 1, "threads": 1, "history_events_max": 1, "quarantine_deaths": QUARANTINE_DEATHS_MIN}
"""The least value of settings for which 0 would mean to stand still."""
SETTINGS_OFF = frozenset(("quarantine_deaths",))
"""Settings that None switches off."""


_inherited: list[Engine] = []
"""Engines that a fork has copied, kept because the collector would close connections that are the parent's."""


class App:
    """Workflows and activities under one app id.

    `store` is a URL ("sqlite:///shop.db"; default $PERDURE_STORE, else sqlite:///<id>.db) or a store object.
    `codec` packs its payloads: compressed, encrypted, offloaded. `async with app:` runs the engine in this process; see
    `SETTINGS` for the settings.
    """

    def __init__(
        self, id: str, *, store: str | EngineStore | None = None, codec: Codec | None = None, **settings: Any
    ) -> None:
        self.id = checked_name(id)
        self.codec = _checked_codec(codec)
        self._store = store
        self._settings = _checked_settings(settings)
        self._definitions = Definitions()
        self._engine: Engine | None = None
        self._worker: Worker | PackingWorker | None = None
        self._client: _Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._host: Home | None = None

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
    ) -> _ActivityDecorator: ...
    def activity(  # type: ignore[misc]  # the decorator objects below exist for checkers alone
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        heartbeat_timeout: float | timedelta | None = None,
        queue: Queue | None = None,
    ) -> Any:
        """Register a function as an activity; see `Activity.with_options` for the options."""
        options = call_options(retry, timeout, heartbeat_timeout, place=place(queue, None, None, None))

        def register(function: Callable[..., Any]) -> Activity[..., Any]:
            check_activity_function(function)
            activity = activity_of(function, definition_name(function, name), options)
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
    ) -> _WorkflowDecorator: ...
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
    def transaction(self, *, name: str | None = None, retry: Retry | None = None) -> _TransactionDecorator: ...
    def transaction(  # type: ignore[misc]
        self, function: Callable[..., Any] | None = None, /, *, name: str | None = None, retry: Retry | None = None
    ) -> Any:
        """Register a function whose SQL happens exactly once: in one transaction with its result.

        It is a plain `def` that takes the `Transaction` first and works on your own tables in the store's database.
        """
        options = call_options(retry, None, None)

        def register(function: Callable[..., Any]) -> Activity[..., Any]:
            check_transaction_function(function)
            checked = checked_name(name or function.__name__)
            activity: Activity[..., Any] = Activity(function, checked, options, is_transaction=True)
            self._definitions.add(activity)
            return activity

        return register(function) if function is not None else register

    def outbox(self, connection: Any) -> Outbox:
        """Start workflows and raise events in your own transaction on the store's database.

        `connection` is a `sqlite3.Connection` to the same file, or the `Transaction` of a step.
        """
        from perdure.stores.sql.outbox import SqlCarrier
        from perdure.stores.sql.sqlite import lent

        return Outbox(self.id, SqlCarrier(lent(connection)), SystemClock(), self.codec)

    def include(self, other: App | types.ModuleType) -> Self:
        """Add what another App, or the Apps and definitions of a module, have registered."""
        for part in _parts(other):
            if isinstance(part, App):
                self._definitions.include(part._definitions)
                part.lodge(self)
            else:
                self._definitions.add(part)
        return self

    # -- running --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self, *, store: str | EngineStore | None = None) -> None:
        """Start the engine: take up what was in flight, or stand by while another process owns the store.

        `store` takes the place of the one that the app was made with.
        """
        if not self._is_alive:
            await self._leave_behind()
        if self._engine is not None:
            raise InvalidArgument(f"app {self.id!r} is open already; open it once per process")
        settings = self._settings
        used = open_store(store or self._store or os.environ.get("PERDURE_STORE") or f"sqlite:///{self.id}.db")
        worker = _worker(self.id, self._definitions, settings["threads"], self.codec)
        engine = Engine(
            self.id,
            used,
            worker,
            standby=settings["standby"],
            slots=settings["slots"],
            activations_max=settings["activations_max"],
            history_events_max=settings["history_events_max"],
            quarantine_deaths=settings["quarantine_deaths"],
            drain_seconds=settings["drain_seconds"],
        )
        worker.start()
        try:
            await engine.open()
        except BaseException:
            worker.stop()
            await used.close()
            raise
        self._client = _Client(_gateway(engine, self.codec), writer=_writer(self.codec), app=self)
        self._engine, self._worker = engine, worker
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        if self._definitions.schedules:
            await self._make_schedules()

    async def _make_schedules(self) -> None:
        from perdure.sdk.schedules import make_declared  # because most apps declare none

        try:
            await make_declared(self.client, self._definitions.schedules)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drain what runs, commit what is decided, stop. Closing twice is fine."""
        if not self._is_alive:
            await self._leave_behind()
        elif self._engine is not None and asyncio.get_running_loop() is not self._loop:
            raise NotOpen(f"app {self.id!r} was opened on another event loop, which runs; close it there")
        engine, worker = self._forget()
        if engine is not None:
            await engine.close()
        if worker is not None:
            worker.stop()

    def lodge(self, host: Home | None) -> Home | None:
        """Let the client of `host` drive this app's instances: an app that includes it, or a test; who did before.

        None ends it. Raises InvalidArgument while the app is open.
        """
        if self._engine is not None and self._is_alive:
            raise InvalidArgument(f"app {self.id!r} is open, so it drives its instances itself; close it before")
        before, self._host = self._host, host
        return before

    @property
    def _is_alive(self) -> bool:
        """Whether the engine, if there is one, can still run: its process is this one and its loop is not closed."""
        return self._loop is None or (self._pid == os.getpid() and not self._loop.is_closed())

    async def _leave_behind(self) -> None:
        """Let go of an engine that cannot run any more, of which nothing can be drained."""
        inherited = self._pid != os.getpid()
        engine, worker = self._forget()
        if engine is None or worker is None:
            return
        if inherited:
            _inherited.append(engine)
        else:
            worker.stop()
            await engine.store.close()

    def _forget(self) -> tuple[Engine | None, Worker | PackingWorker | None]:
        engine, worker = self._engine, self._worker
        self._engine = self._worker = self._client = self._loop = None
        return engine, worker

    @property
    def client(self) -> _Client:
        """Drives this app's instances through its own engine. Raises NotOpen before `async with app`."""
        if self._host is not None:
            return self._host.client
        if self._client is None:
            raise NotOpen(f"app {self.id!r} is not open; write `async with app:` around what starts workflows")
        if self._pid != os.getpid():
            raise ForkedEngine(f"app {self.id!r} was opened before a fork; open it in the child process instead")
        return self._client

    @property
    def is_owner(self) -> bool:
        """Whether this process executes (False: it stands by, or is not open)."""
        return self._engine is not None and self._engine.is_owner

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, with their defaults."""
        return dict(self._settings)

    @property
    def definitions(self) -> Definitions:
        return self._definitions

    def __repr__(self) -> str:
        state = repr(self._engine) if self._engine is not None else "closed"
        known = f"{len(self._definitions.workflows)} workflows, {len(self._definitions.activities)} activities"
        return f"<App {self.id}: {known}, {state}>"


class Client(_Client):
    """Drives the instances on a store from outside: `async with Client("sqlite:///shop.db") as client`.

    `app_id` may be left out if the store holds one app. `codec` is the app's, where it has one. A `caretaker` owns the
    app while no other process does, so that commands which need none of its code (terminate, suspend) take effect at
    once and not when a worker starts.
    """

    def __init__(
        self,
        store: str | EngineStore,
        *,
        app_id: str | None = None,
        caretaker: bool = False,
        codec: Codec | None = None,
    ) -> None:
        self._store_given = store
        self._codec = _checked_codec(codec)
        self._app_id = app_id
        self._caretaker = caretaker
        self._engine: Engine | None = None

    async def __aenter__(self) -> Self:
        store = open_store(self._store_given)
        await store.open()
        try:
            app_id = self._app_id or _only_app(await store.apps())
            engine = Engine(app_id, store, Worker(app_id, Definitions()), execute=self._caretaker, commands_only=True)
            await engine.open()
        except BaseException:
            await store.close()
            raise
        self._engine = engine
        super().__init__(_gateway(engine, self._codec), writer=_writer(self._codec))
        return self

    async def __aexit__(self, *exc: object) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    @property
    def is_owner(self) -> bool:
        """Whether it is a caretaker that owns the app now."""
        return self._engine is not None and self._engine.is_owner

    def __getattr__(self, name: str) -> Any:
        if name in ("_gateway", "_clock", "_forks", "writer"):
            raise NotOpen("the client is not open; write `async with Client(...) as client:`")
        raise AttributeError(name)


class _ActivityDecorator:
    """Typing of `@app.activity(...)`."""

    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T] | Iterator[T]], /) -> StreamActivity[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...
    def __call__(self, function: Any, /) -> Any: ...


class _TransactionDecorator:
    """Typing of `@app.transaction(...)`."""

    def __call__(self, function: Callable[Concatenate[Transaction, P], R], /) -> Activity[P, R]:
        raise NotImplementedError


class _WorkflowDecorator:
    """Typing of `@app.workflow(...)`."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[WorkflowContext, P], Generator[Any, Any, R]], /
    ) -> Workflow[P, R]: ...
    def __call__(self, function: Any, /) -> Any: ...


def open_store(given: str | EngineStore, *, read_only: bool = False) -> EngineStore:
    """The store at an address, not yet opened. Raises InvalidArgument if the address is of no kind there is.

    Through a `read_only` one nothing can be written, whoever owns the store.
    """
    if not isinstance(given, str):
        if not callable(getattr(given, "commit", None)):
            raise InvalidArgument(
                f"store is a {type(given).__name__}; give an address such as sqlite:///shop.db, or a store"
            )
        return given
    scheme = given.split(":", 1)[0]
    if scheme == "memory":
        from perdure.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite":
        from perdure.stores.sql import sqlite

        return sqlite.open_store(given, read_only=read_only)
    raise InvalidArgument(f"store {given!r}: the address begins with sqlite:///FILE or is memory:")


def _checked_codec(codec: Codec | None) -> Codec | None:
    if codec is not None and not isinstance(codec, Codec):
        raise InvalidArgument(f"codec is a {type(codec).__name__}; give a Codec(...)")
    return codec


def _worker(app: str, definitions: Definitions, threads: int, codec: Codec | None) -> Worker | PackingWorker:
    worker = Worker(app, definitions, threads, writer=_writer(codec))
    return PackingWorker(worker, codec) if codec is not None else worker


def _gateway(engine: Engine, codec: Codec | None) -> Gateway:
    return PackingGateway(engine.operations, codec) if codec is not None else engine.operations


def _writer(codec: Codec | None) -> Writer:
    return codec.writer if codec is not None else PLAIN


def _only_app(apps: list[str]) -> str:
    if len(apps) == 1:
        return apps[0]
    if not apps:
        raise InvalidArgument("the store holds no app yet; name one with app_id=..., or --app")
    raise InvalidArgument(f"the store holds several apps: {', '.join(apps)}; name one with app_id=..., or --app")


def _checked_settings(given: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise UnknownConfiguration(f"App has no setting {unknown[0]!r}; there are {', '.join(SETTINGS)}")
    for name, value in given.items():
        expected = SETTINGS[name]
        if value is None and name in SETTINGS_OFF:
            continue
        if isinstance(expected, bool) != isinstance(value, bool) or not isinstance(value, type(expected) | int):
            raise InvalidArgument(f"setting {name} is {value!r}; it is like {expected!r}")
        if not SETTINGS_MIN.get(name, 0) <= value < float("inf"):
            raise InvalidArgument(f"setting {name} is {value!r}; it is like {expected!r}")
    return {**SETTINGS, **given}


def _parts(other: Any) -> list[Any]:
    if isinstance(other, App):
        return [other]
    if isinstance(other, types.ModuleType):
        members = list(vars(other).values())
        apps = [member for member in members if isinstance(member, App)]
        return apps or [member for member in members if isinstance(member, (Activity, Workflow))]
    if isinstance(other, (Activity, Workflow)):
        return [other]
    raise InvalidArgument(
        f"include takes an App or a module, not {type(other).__name__}" + (" class" if inspect.isclass(other) else "")
    )
