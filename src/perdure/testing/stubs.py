"""What a test puts in the place of activities and child workflows, and the record of how they were called."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from perdure.clock import Clock, to_datetime
from perdure.codec import NOTHING, Payload
from perdure.errors import InvalidArgument, NotDecodable, NotStubbed
from perdure.history.events import RunStarted
from perdure.sdk.activity import Activity, StreamActivity
from perdure.sdk.context import ActivityInfo, activity_context
from perdure.sdk.definitions import Definitions
from perdure.sdk.run import Run, current_run
from perdure.sdk.workflow import Workflow
from perdure.testing.trial import Trial

UNSET: Any = msgspec.UNSET
_END = object()
Stubbed = Activity[..., Any] | Workflow[..., Any]


@dataclass
class AttemptRecord:
    """One execution of a call; `number` comes twice if a crash cut the first one off."""

    number: int
    began: datetime
    ended: datetime | None = None
    result: Any = None
    error: BaseException | None = None


@dataclass
class Call:
    """One durable call of an activity, or one run of a workflow: `key` names it, `instance` is who called (or ran).

    A call that was attempted again, after a failure or a crash, is still one call.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str
    instance: str
    at: datetime
    attempts: list[AttemptRecord] = field(default_factory=list)


class Stub:
    """Answers in the place of a function. The same attempt, made again after a crash, gets the same answer."""

    def __init__(self, name: str, returns: Any, raises: Any, side_effect: Any) -> None:
        given = [returns is not UNSET, raises is not None, side_effect is not None]
        if sum(given) > 1:
            raise InvalidArgument(f"stub of {name}: give one of returns, raises and side_effect, not several")
        if raises is not None and not _is_error(raises):
            raise InvalidArgument(f"stub of {name}: raises is {raises!r}; give an exception, or a class of them")
        if side_effect is not None and not callable(side_effect) and not isinstance(side_effect, Iterable):
            raise InvalidArgument(f"stub of {name}: side_effect is a function, or a list with one answer per attempt")
        self._name = name
        self._returns = None if returns is UNSET else returns
        self._raises = raises
        self._function = side_effect if callable(side_effect) else None
        self._answers = iter(side_effect) if side_effect is not None and self._function is None else None
        self._given: dict[tuple[str, int], Any] = {}

    async def answer(self, key: str, attempt: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an attempt of the call `key` returns or raises. Raises NotStubbed when the list is at its end."""
        if self._function is not None:
            value = self._function(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value
        value = self._raises if self._raises is not None else self._next(key, attempt)
        if _is_error(value):
            raise value
        return value

    def _next(self, key: str, attempt: int) -> Any:
        if self._answers is None:
            return self._returns
        if (key, attempt) not in self._given:
            try:
                self._given[key, attempt] = next(self._answers)
            except StopIteration:
                raise NotStubbed(
                    f"the stub of {self._name} has answered {len(self._given)} attempts and has no answer left; "
                    "give side_effect a longer list, or a function"
                ) from None
        return self._given[key, attempt]


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


class Stubs:
    """The definitions of an app as a test runs them: every call is recorded, some are answered by stubs.

    `accuse` hears what the test must know whatever its workflows make of it; `die` kills the process that asks.
    """

    def __init__(
        self,
        app: str,
        real: Definitions,
        clock: Clock,
        trial: Trial,
        *,
        strict: bool,
        accuse: Callable[[Exception], None],
        die: Callable[[], None],
        carries: bool,
    ) -> None:
        self._carries = carries
        self._steps: dict[str, Activity[..., Any]] = {}
        self.definitions = Definitions()
        self._app = app
        self._clock = clock
        self._trial = trial
        self._strict = strict
        self._accuse = accuse
        self._die = die
        self._stubs: dict[str, Stub] = {}
        self._calls: dict[str, dict[str, Call]] = {}
        for activity in real.activities.values():
            self.definitions.add(self._recorded(activity))
            if activity.is_transaction:
                self._steps[activity.name] = self._recorded_step(activity)
                self._choose(activity.name)
        for versions in real.versions.values():
            for workflow in versions.values():
                self.definitions.add(self._recorded_workflow(workflow))
        for actor in real.actors.values():
            self.definitions.add_actor(actor)

    def prefer(self, workflow: Workflow[..., Any]) -> None:
        """Let new runs take this version, whichever is the latest."""
        known = self.definitions
        known.workflows[workflow.name] = known.versions[workflow.name][workflow.version]

    def put(self, what: Stubbed | str, returns: Any, raises: Any, side_effect: Any) -> None:
        name = self._name(what)
        self._stubs[name] = Stub(name, returns, raises, side_effect)
        self._choose(name)

    def remove(self, what: Stubbed | str) -> None:
        name = self._name(what)
        self._stubs.pop(name, None)
        self._choose(name)

    def _choose(self, name: str) -> None:
        """A transaction runs in the store, unless a stub answers, who needs none, or the test has none."""
        step = self._steps.get(name)
        if step is not None:
            runs = self._carries and not self._strict and name not in self._stubs
            self.definitions.activities[name] = step if runs else self._recorded(step)

    def calls(self, what: Stubbed | str) -> list[Call]:
        return list(self._calls.get(self._name(what), {}).values())

    def _name(self, what: Any) -> str:
        name = what if isinstance(what, str) else getattr(what, "name", None)
        known = {**self.definitions.activities, **self.definitions.workflows}
        if not isinstance(what, (str, Activity, Workflow)) or name not in known:
            raise InvalidArgument(
                f"{what!r} is no activity or workflow of app {self._app!r} (there are: {', '.join(sorted(known))}); "
                "give one of them, or its name"
            )
        return str(name)

    # -- activities -------------------------------------------------------------------------------------------

    def _recorded(self, activity: Activity[..., Any]) -> Activity[..., Any]:
        twin = copy.copy(activity)
        twin.function = (
            self._recorded_items(activity) if isinstance(activity, StreamActivity) else self._recorded_call(activity)
        )
        twin.is_async, twin.is_transaction = True, False
        return twin

    def _recorded_step(self, activity: Activity[..., Any]) -> Activity[..., Any]:
        twin = copy.copy(activity)

        def recorded(db: Any, *args: Any, **kwargs: Any) -> Any:
            with self._recording(activity, activity_context(), args, kwargs) as record:
                record.result = activity.function(db, *args, **kwargs)
                return record.result

        twin.function = recorded
        return twin

    def _recorded_call(self, activity: Activity[..., Any]) -> Callable[..., Any]:
        async def recorded(*args: Any, **kwargs: Any) -> Any:
            info = activity_context()
            with self._recording(activity, info, args, kwargs) as record:
                work = self._attempt(activity, info.idempotency_key, info.attempt, args, kwargs)
                record.result = await Interruptible(work, activity.name, self._trial, self._die)
                return record.result

        return recorded

    def _recorded_items(self, activity: StreamActivity[..., Any]) -> Callable[..., Any]:
        """As a call; the result of an attempt is the list of what it has yielded."""

        async def recorded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
            info = activity_context()
            with self._recording(activity, info, args, kwargs) as record:
                record.result = []
                async with aclosing(self._items(activity, info, args, kwargs)) as items:
                    while True:
                        item = await Interruptible(_next_of(items), activity.name, self._trial, self._die)
                        if item is _END:
                            return
                        record.result.append(item)
                        yield item

        return recorded

    @contextmanager
    def _recording(
        self, activity: Activity[..., Any], info: ActivityInfo, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[AttemptRecord]:
        call = self._call(activity.name, info.idempotency_key, info.instance_id, args, kwargs)
        record = AttemptRecord(info.attempt, self._now())
        call.attempts.append(record)
        try:
            yield record
        except BaseException as error:
            record.error = error
            if isinstance(error, NotStubbed):
                self._accuse(error)
            raise
        finally:
            record.ended = self._now()

    async def _attempt(
        self, activity: Activity[..., Any], key: str, attempt: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        stub = self._stub_of(activity, args, kwargs)
        if stub is not None:
            return await stub.answer(key, attempt, args, kwargs)
        if activity.is_transaction:
            raise NotStubbed(
                f'transaction {activity.name} needs a database; write perdure_app(app, store="sqlite"), or '
                f"env.stub({activity.name}, returns=...)"
            )
        if activity.is_async:
            return await activity.function(*args, **kwargs)
        return await asyncio.to_thread(activity.function, *args, **kwargs)

    async def _items(
        self, activity: StreamActivity[..., Any], info: ActivityInfo, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any]:
        """What an attempt yields: the stub's answer, item by item, or what the activity does."""
        stub = self._stub_of(activity, args, kwargs)
        if stub is not None:
            for item in await stub.answer(info.idempotency_key, info.attempt, args, kwargs):
                yield item
            return
        async with aclosing(activity.open(args, kwargs)) as items:
            async for item in items:
                yield item

    def _stub_of(self, activity: Activity[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Stub | None:
        stub = self._stubs.get(activity.name)
        if stub is None and self._strict:
            raise NotStubbed(
                f"activity {activity.name} ran with {_shown(args, kwargs)} and the test is strict; write "
                f"env.stub({activity.name}, returns=...), or leave strict=True out"
            )
        return stub

    # -- workflows --------------------------------------------------------------------------------------------

    def _recorded_workflow(self, workflow: Workflow[..., Any]) -> Workflow[..., Any]:
        twin = copy.copy(workflow)

        async def main(run: Run, event: RunStarted) -> Payload:
            identity = run.identity
            args, kwargs = _arguments(workflow, event)
            call = self._call(workflow.name, identity.execution, identity.instance, args, kwargs)
            if not call.attempts or call.attempts[-1].number < identity.generation:
                call.attempts.append(AttemptRecord(identity.generation, to_datetime(run.now)))
            stub = self._stubs.get(workflow.name)
            if stub is None:
                return await workflow.main(run, event)
            value = await stub.answer(identity.execution, identity.generation, args, kwargs)
            return NOTHING if value is None else run.encode(value)

        twin.__dict__["main"] = main
        return twin

    # -- the record -------------------------------------------------------------------------------------------

    def _call(self, name: str, key: str, instance: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        calls = self._calls.setdefault(name, {})
        if key not in calls:
            calls[key] = Call(name, args, kwargs, key, instance, self._now())
        return calls[key]

    def _now(self) -> datetime:
        run = current_run()
        return to_datetime(run.now if run is not None else self._clock.now())


async def _next_of(items: AsyncGenerator[Any]) -> Any:
    return await anext(items, _END)


class Interruptible:
    """Runs a coroutine so that the process may die wherever it goes on after an await."""

    def __init__(self, work: Any, name: str, trial: Trial, die: Callable[[], None]) -> None:
        self._work = work
        self._name = name
        self._trial = trial
        self._die = die

    def __await__(self) -> Generator[Any, Any, Any]:
        work = self._work
        step: Callable[[], Any] = partial(work.send, None)
        while True:
            try:
                waits_for = step()
            except StopIteration as stop:
                return stop.value
            try:
                value = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 because it is the coroutine's to deal with
                step = partial(work.throw, error)
            else:
                step = partial(work.send, value)
            if self._trial.awakes(self._name):
                self._die()
                yield from asyncio.get_running_loop().create_future()


def _arguments(workflow: Workflow[..., Any], event: RunStarted) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return workflow.signature.decode(event.input)
    except NotDecodable:
        return (), {}  # because the workflow itself says so, and stalls


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"
