"""The environment of one test: an app in virtual time, its stubs and its clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar, overload

from perdure.app import App
from perdure.clock import to_datetime, to_microseconds
from perdure.codec import PLAIN, Writer
from perdure.errors import InvalidArgument, NotOpen
from perdure.sdk.activity import Activity
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions
from perdure.sdk.handle import Handle
from perdure.sdk.options import checked_moment
from perdure.sdk.workflow import Workflow
from perdure.testing.backends import SqliteBackend
from perdure.testing.bridge import Bridge, BridgeClient
from perdure.testing.golden import Shelf
from perdure.testing.lives import Lives
from perdure.testing.loop import START, SimClock
from perdure.testing.stubs import UNSET, Call, Stubs
from perdure.testing.trial import Trial
from perdure.testing.virtual import VirtualLoop

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
STORES = ("memory", "sqlite")


class Environment:
    """Runs an app for a test: `with Environment(app) as env`, or the fixture `perdure_app`.

    Between `__enter__` and `__exit__` the app's workflows start, and their handles work, as under `async with app`, but
    in virtual time and from any event loop or none. The world moves only while the test awaits something of it; then
    sleeps, timeouts and pauses before a retry pass at once.

    `store` is "memory" or "sqlite" (a file of its own, removed at the end). A `strict` environment refuses activities
    that are not stubbed. `start` is the virtual time at the beginning, 2025-01-01 UTC if nothing is said.
    `trial` and `shelf` come from the fixture: how the run is disturbed, and where golden histories lie.
    """

    def __init__(
        self,
        app: App,
        *,
        store: str = "memory",
        strict: bool = False,
        start: datetime | None = None,
        trial: Trial | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        if not isinstance(app, App):
            raise InvalidArgument(f"an environment takes an App, not {type(app).__name__}; import your app and give it")
        if store not in STORES:
            raise InvalidArgument(f"store is {store!r}; give one of {', '.join(STORES)}")
        skew = to_microseconds(checked_moment("start", start)) - START if start is not None else 0
        self.app = app
        self._trial = trial or Trial()
        self._shelf = shelf
        chance = random.Random(self._trial.seed)
        self._loop = VirtualLoop(chance, self._trial.disorder)
        self._clock = SimClock(self._loop, random.Random("ids"), skew)
        self._stubs = Stubs(
            app.id,
            app.definitions,
            self._clock,
            self._trial,
            strict=strict,
            accuse=self._loop.wrongs.append,
            die=self._die,
            carries=store == "sqlite",
        )
        self._lives = Lives(
            app.id,
            self._stubs.definitions,
            app.settings,
            self._loop,
            self._clock,
            self._trial,
            sqlite=store == "sqlite",
            codec=app.codec,
        )
        self._bridge = Bridge(self._lives)
        writer = app.codec.writer if app.codec is not None else PLAIN
        self._client = BridgeClient(self._bridge, self._clock, writer, app)
        self._later: set[asyncio.Task[None]] = set()
        self._before: Any = None

    def prefer(self, workflow: Workflow[..., Any]) -> None:
        """Let new runs take this version of a workflow, whichever is the latest."""
        self._stubs.prefer(workflow)

    def __enter__(self) -> Self:
        self._lodge()
        self._trial.stop()  # because a test's own steps begin when the app runs
        try:
            self._bridge.drive(self._lives.open)
        except BaseException:
            self.app.lodge(self._before)
            raise
        self._trial.arm()
        return self

    def _lodge(self) -> None:
        self._before = self.app.lodge(self)
        if isinstance(self._before, Environment):
            self.app.lodge(self._before)
            raise InvalidArgument(f"app {self.app.id!r} has an environment in this test already; use that one")

    def __exit__(self, *exc: object) -> None:
        self._trial.stop()
        try:
            self._bridge.drive(self._end)
        finally:
            self._bridge.is_open = False
            self.app.lodge(self._before)
            self._lives.bury()

    async def _end(self) -> None:
        for task in self._later:
            task.cancel()
        await self._lives.close()

    def _die(self) -> None:
        self._lives.kill()

    # -- the app ----------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """Starts, finds and steers instances; what `app.client` is during the test. Raises NotOpen after it."""
        self._bridge.check_open()
        return self._client

    @property
    def definitions(self) -> Definitions:
        """The app's own, without stubs."""
        return self.app.definitions

    @property
    def writer(self) -> Writer:
        """What makes payloads of values: as the app's codec allows."""
        return self._client.writer

    @property
    def path(self) -> Path:
        """The SQLite file of the test, for the tables that its transactions work on."""
        backend = self._lives.backend
        if not isinstance(backend, SqliteBackend):
            raise InvalidArgument('this test has no file; open its app with store="sqlite"')
        return backend.path

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine inside virtual time and return its result: for tests that are plain functions.

        Whatever it awaits, `asyncio.sleep` and `asyncio.gather` among it, passes in virtual time.
        """
        __tracebackhide__ = True
        if not asyncio.iscoroutine(scenario):
            raise InvalidArgument(f"run takes a coroutine, not {scenario!r}; call your function: env.run(scenario())")
        try:
            self._bridge.check_open()
        except NotOpen:
            scenario.close()
            raise
        return self._bridge.drive(lambda: scenario)

    def restart(self) -> None:
        """Kill the process of the app and start another on the same store, as a crash and a supervisor do."""
        self._bridge.check_open()
        self._lives.kill()

    # -- stubs ------------------------------------------------------------------------------------------------

    @overload
    def stub(self, what: Activity[P, R] | Workflow[P, R], *, returns: R) -> None: ...
    @overload
    def stub(self, what: Activity[P, R] | Workflow[P, R], *, raises: BaseException | type[BaseException]) -> None: ...
    @overload
    def stub(
        self,
        what: Activity[P, R] | Workflow[P, R],
        *,
        side_effect: Callable[P, R] | Callable[P, Awaitable[R]] | Iterable[R | BaseException | type[BaseException]],
    ) -> None: ...
    @overload
    def stub(self, what: Activity[P, None] | Workflow[P, None]) -> None: ...
    @overload
    def stub(
        self,
        what: str,
        *,
        returns: Any = ...,
        raises: BaseException | type[BaseException] | None = ...,
        side_effect: Callable[..., Any] | Iterable[Any] | None = ...,
    ) -> None: ...
    def stub(
        self,
        what: Activity[..., Any] | Workflow[..., Any] | str,
        *,
        returns: Any = UNSET,
        raises: BaseException | type[BaseException] | None = None,
        side_effect: Any = None,
    ) -> None:
        """Answer an activity, or a child workflow, in the place of its function; by object or name.

        `returns` a value; `raises` an exception, which the activity's `Retry` sees as any other; `side_effect`: a
        function that is called with the arguments, or answers for one attempt each, of which exceptions are raised.
        A second stub takes the place of the first.
        """
        self._stubs.put(what, returns, raises, side_effect)

    def unstub(self, what: Activity[..., Any] | Workflow[..., Any] | str) -> None:
        """Let the function itself answer again."""
        self._stubs.remove(what)

    def calls(self, what: Activity[..., Any] | Workflow[..., Any] | str) -> list[Call]:
        """How an activity or workflow was called, stubbed or not, in the order of the first attempts."""
        return self._stubs.calls(what)

    # -- time -------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The virtual time, in UTC."""
        return to_datetime(self._clock.now())

    async def sleep(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Let virtual time pass, and everything that is due in it happen."""
        duration = _duration("sleep", days, hours, minutes, seconds)
        await self._bridge.enter(lambda: asyncio.sleep(duration))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the world go on until a condition holds, as `lambda: env.calls(charge)`. Raises NothingMoves."""
        if not callable(condition):
            raise InvalidArgument(f"until takes a function without arguments, not {condition!r}; write `lambda: ...`")
        await self._bridge.enter(lambda: self._loop.until(condition))

    async def idle(self) -> None:
        """Let the world go on until no attempt runs and no timer is left: what is unfinished then waits for the test.

        Raises NothingMoves if that is never so, because a workflow goes on for ever.
        """
        await self._bridge.enter(self._loop.idle)

    def later(
        self,
        action: Callable[[], Awaitable[Any]],
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Do something when so much virtual time has passed: `env.later(lambda: handle.raise_event("paid"), days=3)`.

        What it raises is raised out of whatever the test awaits then.
        """
        self._bridge.check_open()
        if not callable(action):
            raise InvalidArgument(f"later takes a function without arguments, not {action!r}; write `lambda: ...`")
        duration = _duration("later", days, hours, minutes, seconds)
        task = self._loop.create_task(self._act(action, duration), name="later", context=self._lives.context())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _act(self, action: Callable[[], Awaitable[Any]], seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await action()
        except Exception as error:  # noqa: BLE001 because the test hears of it, whatever it is
            self._loop.wrongs.append(error)

    # -- histories --------------------------------------------------------------------------------------------

    async def golden(self, handle: Handle[Any], name: str | None = None) -> None:
        """Hold present code to the histories recorded under a name, the test's own if none is given.

        They lie beside the test, in `histories/`. `pytest --perdure-record` adds the history of `handle`, if it goes
        another way than those that are there; nothing is ever overwritten. Raises HistoryNotRecorded if there is none,
        AssertionError with the first difference if one does not replay. Works with the fixture `perdure_app` alone.
        """
        if self._shelf is None:
            raise InvalidArgument("golden needs the fixture perdure_app, which knows where the test lies")
        await self._shelf.named(name).hold(self.app, handle)

    def __repr__(self) -> str:
        return f"<Environment of app {self.app.id} at {self.now():%Y-%m-%d %H:%M:%S}: {self._bridge!r}>"


def _duration(what: str, days: float, hours: float, minutes: float, seconds: float) -> float:
    try:
        duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    except (TypeError, OverflowError, ValueError) as error:
        raise InvalidArgument(f"{what}: {error}; give numbers of days, hours, minutes and seconds") from None
    if duration < 0:
        raise InvalidArgument(f"{what} got {duration} s; time does not go back")
    return duration
