"""Runs the code of one app in this process: turns on live coroutines, attempts as tasks or in threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import traceback
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Protocol

import msgspec

from perdure.cancellation import is_for_task
from perdure.codec import NOTHING, PLAIN, Payload, Writer
from perdure.errors import (
    KeyMissing,
    NotDecodable,
    NotEncodable,
    PayloadTooLarge,
    PerdureError,
    StreamTooLong,
)
from perdure.history.actions import Action
from perdure.history.delivery import Delivery, Gate, deliveries
from perdure.history.events import Failure, TurnAnswered
from perdure.history.options import Limits, Place
from perdure.history.replay import Difference
from perdure.history.work import Attempt, Batch, BatchResult, Identity, Outcome, Outlet, Stall
from perdure.sdk import tracing
from perdure.sdk.activity import Activity, StreamActivity
from perdure.sdk.context import ATTEMPT, ActivityInfo
from perdure.sdk.definitions import RESERVED, Definitions, version_order
from perdure.sdk.failures import to_failure
from perdure.sdk.loop import ITERATIONS_MAX, TooManyIterations
from perdure.sdk.publishing import OUTBOX, Outbox
from perdure.sdk.run import Diverged, Run
from perdure.sdk.step_code import StepCode
from perdure.sdk.steps import ReadHistory, Steps, is_step
from perdure.sdk.streams import beside, hand_over, portable
from perdure.sdk.watchdog import Interrupted, Watchdog
from perdure.sdk.workflow import Workflow

THREADS = 32
"""Threads for `def` activities unless the app says otherwise; as many more for those that yield."""


_OBSTACLES: dict[type, str] = {
    PayloadTooLarge: "payload-too-large",
    NotDecodable: "payload-not-decodable",
    KeyMissing: "key-missing",
}
"""Reasons of a stall by what the code met."""


class LiveBatch(Protocol):
    """Operations of an actor that its code has under way."""

    def retract(self) -> None: ...
    def expects(self, token: str) -> bool: ...
    def answer(self, answered: TurnAnswered) -> None: ...


class Operator(Protocol):
    """Runs operations of actors."""

    def knows(self, name: str) -> bool:
        """Whether there is code for actors of this name."""

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> LiveBatch | None:
        """Begin a batch; None if there is no code for it. A stall: its state cannot be read."""

    async def rest(self, seconds: float) -> None:
        """Return when no batch is under way, or after `seconds`."""

    async def close(self) -> None:
        """Let every actor leave memory."""


class LocalRun:
    """What is asked of a run that hands its turns to other processes, answered by one that takes them in this one."""

    __slots__ = ()

    def retract(self) -> bool:
        """A turn in this process is over when `advance` returns."""
        return False

    def expects(self, token: str) -> bool:
        """No turn is handed out."""
        return False

    def answer(self, answered: TurnAnswered) -> None:
        """No turn is handed out."""

    def settled(self, events: Sequence[Any], segment: bytes | None) -> None:
        """The code needs no history that it has lived through."""

    def begun(self) -> None:
        """Nor does it keep the start."""


class LiveRun(LocalRun):
    """A run's code in memory, as the engine drives it."""

    __slots__ = ("_met", "_run", "_watchdog", "_workflow")

    def __init__(self, run: Run, workflow: Workflow[..., Any], watchdog: Watchdog) -> None:
        self._met: str | None = None
        self._run = run
        self._workflow = workflow
        self._watchdog = watchdog

    def advance(self, at: int, events: Sequence[Any], done: Callable[[list[Action] | Stall], None]) -> None:
        """Take one turn and say what the code asked for, or why it could not."""
        done(self._guarded(self._run.advance, at, events))

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """Bring new code to where history is; what stands against it, None if nothing."""
        stall = self.follow(history, gate)
        if stall is None:
            self.take_over()
        return stall

    def follow(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """Bring code through some more turns of history; what stands against it, None if nothing."""
        for turn in deliveries(history, gate):
            self._met = getattr(turn.recorded[0], "fingerprint", None) or self._met
            stall = self._guarded(self._run.replay, turn)
            if isinstance(stall, Stall):
                return stall
        return None

    def take_over(self) -> None:
        """The code is where history is, and records with the next turn what the run has not had from other code."""
        if self._met != self._workflow.fingerprint:
            self._run.take_up()
        self._run.pay()

    def retrace(self, turn: Delivery, *, is_whole: bool) -> list[Action] | Stall:
        """Bring new code through one turn of history; what it asked for again. Only a whole turn can be checked."""
        result: list[Action] | Stall = self._guarded(self._run.replay if is_whole else self._run.retrace, turn)
        return result

    def listening(self) -> dict[int, str]:
        """The external events that the code waits for, by number."""
        return self._run.listening()

    @property
    def run(self) -> Run:
        """The code itself, for those who look at it."""
        return self._run

    @property
    def fingerprint(self) -> str:
        return self._workflow.fingerprint

    @property
    def file(self) -> str:
        """Where the workflow's function is written."""
        return inspect.getfile(inspect.unwrap(self._workflow.function))

    def close(self) -> None:
        self._run.close()

    def _guarded(self, step: Callable[..., Any], *args: Any) -> Any:
        watchdog = self._watchdog
        watchdog.enter(self._run)
        try:
            result = step(*args)
        except TooManyIterations:
            watchdog.leave()
            return self._stall(
                "turn-too-long",
                f"the turn's loop went round {ITERATIONS_MAX:,} times without a durable action: {self._where()}",
            )
        except Interrupted:
            result = None
        except Diverged as error:
            # looked at after the watchdog, because code that it interrupts goes another way too
            result = self._diverged(error.difference)
        except PerdureError as error:
            watchdog.leave()
            return self._stall("refused", str(error))
        except KeyboardInterrupt:
            watchdog.leave()
            raise
        except BaseException as error:  # noqa: BLE001 because the watchdog would end the process for it, later and elsewhere
            watchdog.leave()
            way = "".join(traceback.format_tb(error.__traceback__)[-8:])
            text = f"its code raised {type(error).__name__} where nothing of it may raise:\n{way}"
            return self._stall("refused", text, _last_line(way))
        stack = watchdog.leave()
        if stack is not None:
            return self._stall(
                "turn-too-long", f"the turn held its thread for more than its bound:\n{stack}", _last_line(stack)
            )
        obstacle = self._run.obstacle
        if obstacle is not None:
            return self._stall(_OBSTACLES.get(type(obstacle), "refused"), str(obstacle))
        return result

    def _diverged(self, difference: Difference) -> Stall:
        stall = self._stall("non-determinism", str(difference), difference.line)
        return msgspec.structs.replace(stall, difference=difference)

    def _stall(self, reason: str, description: str, line: str | None = None) -> Stall:
        return Stall(reason, description[:2_000], self._workflow.fingerprint, line)

    def _where(self) -> str:
        return self._run.where() or "no code of the workflow is left to blame"


class Worker:
    """The engine's executor for the definitions of an app."""

    is_remote = False
    is_ready = True
    gate = Gate
    """What keeps events back while a run is suspended."""
    run_type = Run
    """What a run's code lives in."""

    def __init__(
        self,
        app: str,
        definitions: Definitions,
        threads: int = THREADS,
        watchdog: Watchdog | None = None,
        writer: Writer = PLAIN,
        operator: Operator | None = None,
    ) -> None:
        self._app = app
        self._writer = writer
        self.operator = operator
        self._definitions = definitions
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._watchdog = watchdog or Watchdog()
        self._stream_threads = asyncio.Semaphore(threads)
        self._steps = Steps(app, self._revived)

    def refuse_steps(self) -> None:
        """The engine is another's; to be called before `start`."""
        self._steps.refuse()

    def read_with(self, read: ReadHistory) -> None:
        """Where the histories are read of runs whose steps are to be made again; to be called before `start`."""
        self._steps.read_with(read)

    def start(self) -> None:
        """Called on the event loop that runs the engine."""
        self._watchdog.start(asyncio.get_running_loop())

    def stop(self) -> None:
        self._watchdog.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def fingerprint(self, name: str, version: str | None) -> str | None:
        """Of a workflow's code; None if there is no such workflow here."""
        workflow = self._workflow(name, version, is_new=False) or self._workflow(name, version, is_new=True)
        return workflow.fingerprint if workflow is not None else None

    def queues(self) -> Mapping[str, Limits]:
        """The limits of the queues that the definitions name."""
        return self._definitions.queues

    def place(self, name: str, version: str | None) -> Place | None:
        """That of a workflow's definition."""
        workflow = self._workflow(name, version, is_new=True)
        return workflow.options.place if workflow is not None else None

    def workflows(self) -> Collection[str]:
        """Those that are defined."""
        return self._definitions.workflows

    def activities(self) -> Collection[str]:
        """Those that any node may run: they neither yield nor are transactions."""
        return self._definitions.movable

    def room(self) -> None:
        """As many attempts as the node has slots."""

    def timeout_of(self, name: str) -> float | None:
        """Seconds that an attempt of an activity may take by its definition; None: any, or it is not here."""
        activity = self._definitions.activities.get(name)
        return activity.options.timeout if activity is not None else None

    def open(self, identity: Identity, is_new: bool) -> LiveRun | Stall:
        """New code for a run, at its beginning."""
        workflow = self._workflow(identity.name, identity.version, is_new=is_new)
        if workflow is None:
            return self._missing(identity)
        run = self._new_run(identity, workflow)
        run.bodies = self._steps.bodies
        return LiveRun(run, workflow, self._watchdog)

    def _new_run(self, identity: Identity, workflow: Workflow[..., Any]) -> Run:
        return self.run_type(identity, workflow.main, workflow.is_generator, workflow.record, self._writer)

    def _revived(self, identity: Identity) -> LiveRun | Stall:
        """Code for a run beside the one that takes its turns, if there is one; the bodies of its steps are its own."""
        workflow = self._workflow(identity.name, identity.version, is_new=False)
        if workflow is None:
            return self._missing(identity)
        run = self._new_run(identity, workflow)
        run.bodies = {}
        return LiveRun(run, workflow, self._watchdog)

    def _missing(self, identity: Identity) -> Stall:
        versions = self._definitions.versions.get(identity.name)
        if versions is None:
            known = ", ".join(sorted(self._definitions.workflows)) or "none"
            return Stall(
                "workflow-not-registered",
                f"no workflow {identity.name!r} is registered in app {self._app!r} (there are: {known}); "
                "start a worker that has it",
            )
        there = ", ".join(version or "one without a version" for version in sorted(versions, key=version_order))
        wanted = f"no version {identity.version!r}" if identity.version else "no code without a version"
        return Stall(
            "version-not-registered",
            f"{wanted} of workflow {identity.name!r} is registered in app {self._app!r} (there are: {there}); "
            "start a worker that has it",
        )

    def _workflow(self, name: str, version: str | None, *, is_new: bool) -> Workflow[..., Any] | None:
        workflow = self._definitions.workflow(name, version, is_new=is_new)
        if workflow is None and name.startswith(RESERVED):
            from perdure.sdk.scheduling import BUILT_IN  # because most apps have no schedule

            return BUILT_IN.get(name)
        return workflow

    def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Coroutine[Any, Any, Outcome | Stall]:
        """Run one attempt in the calling task. `beat` takes heartbeats from any thread, `outlet` what it yields."""
        if is_step(work):
            return self._attempt_step(work, beat, outlet)
        return self._attempt(self._definitions.activities.get(work.name), work, beat, outlet)

    async def _attempt_step(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Outcome | Stall:
        async with self._steps.code(work) as code:
            return code if isinstance(code, Stall) else await self._attempt(code, work, beat, outlet)

    async def _attempt(
        self,
        activity: Activity[..., Any] | StepCode | None,
        work: Attempt,
        beat: Callable[[Payload | None], None],
        outlet: Callable[[], Outlet],
    ) -> Outcome:
        if activity is None:
            return Outcome(failure=_unknown_step(work) if is_step(work) else _unknown(work.name, self._app))
        context = ActivityInfo(work, beat, self._writer)
        ATTEMPT.set(context)
        outbox = Outbox(self._writer)
        OUTBOX.set(outbox)
        if work.label is not None and work.label.trace is not None:
            tracing.enter(work.label.trace)
        task = asyncio.current_task()
        assert task is not None
        self._watchdog.watch(task)
        deadline = None
        try:
            args, kwargs = activity.signature.decode(work.input)
            if isinstance(activity, Activity) and activity.is_transaction:
                step = functools.partial(self._step, activity, work, args, kwargs)
                return Outcome(step=functools.partial(contextvars.copy_context().run, step))
            call = (
                self._stream(activity, context, outlet(), args, kwargs)
                if activity.has_stream
                else activity.function(*args, **kwargs)
                if activity.is_async
                else self.in_thread(activity.function, args, kwargs)
            )
            if work.timeout is None:
                value = await call
            else:
                async with asyncio.timeout(work.timeout) as deadline:
                    value = await call
            guarantee = "keyed" if context.is_keyed else None
            result = NOTHING if value is None else self._writer.encode(value)
            return Outcome(result=result, guarantee=guarantee, messages=outbox.messages)
        except BaseException as error:
            context.cancel()
            if is_for_task(error, task):
                raise
            if isinstance(error, Interrupted):
                return Outcome(failure=_blocked(activity, error, self._watchdog.release(task)))
            expired = deadline is not None and deadline.expired()
            return self._failed(activity, work, error, expired)
        finally:
            self._watchdog.release(task)

    def _step(
        self, activity: Activity[..., Any], work: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], guest: Any
    ) -> Outcome:
        """Run a transaction in a thread of the store; what it raises keeps the transaction from happening."""
        try:
            value = activity.function(guest, *args, **kwargs)
            result = NOTHING if value is None else self._writer.encode(value)
            return Outcome(result=result, guarantee="exactly-once", messages=OUTBOX.get().messages)
        except BaseException as error:  # noqa: BLE001 because it is the attempt's outcome
            return self._failed(activity, work, error, expired=False)

    async def _stream(
        self,
        activity: Activity[..., Any] | StepCode,
        context: ActivityInfo,
        outlet: Outlet,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        await outlet.begin()
        context.outlet = outlet
        if not isinstance(activity, StreamActivity):
            return await beside(activity.function(*args, **kwargs), outlet)
        async with nullcontext() if activity.is_async else self._stream_threads:
            return await hand_over(activity.open(args, kwargs), outlet, context.beat, self._writer)

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> LiveBatch | None:
        """Run operations of an actor, if its class is here."""
        return self.operator.operate(batch, done) if self.operator is not None else None

    def standing(self, head: object, wait: object) -> None:
        """The code is here."""

    async def rest(self, seconds: float) -> None:
        """Turns of workflows are over when `advance` returns; those of actors may have to be waited for."""
        if self.operator is not None:
            await self.operator.rest(seconds)

    def _failed(
        self, activity: Activity[..., Any] | StepCode, work: Attempt, error: BaseException, expired: bool
    ) -> Outcome:
        if isinstance(error, TimeoutError) and expired:
            text = f"activity {activity.name} took longer than its timeout of {work.timeout:g} s"
            return Outcome(failure=Failure(type="ActivityTimedOut", message=text), timed_out=True)
        if isinstance(error, (NotDecodable, NotEncodable, PayloadTooLarge, StreamTooLong)):
            return Outcome(failure=msgspec.structs.replace(to_failure(error), non_retryable=True))
        return Outcome(failure=to_failure(error))

    async def in_thread(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain function of the app in one of its threads."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="perdure-activity")
        call = functools.partial(contextvars.copy_context().run, portable, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _blocked(activity: Activity[..., Any] | StepCode, error: Interrupted, stack: str | None) -> Failure:
    text = f"activity {activity.name} is `async def` but blocked the event loop; await, or make it a plain `def`"
    return Failure(type="ActivityBlockedLoop", message=text, stack=stack or to_failure(error).stack, non_retryable=True)


def _unknown(name: str, app: str) -> Failure:
    text = f"no activity {name!r} is registered in app {app!r}; start a worker that has it"
    return Failure(type="ActivityNotRegistered", message=text, non_retryable=True)


def _unknown_step(work: Attempt) -> Failure:
    text = (
        f"step {work.name!r} of {work.instance!r} has no code here: its workflow does not ask for it any more, or this "
        "process cannot read the run's history"
    )
    return Failure(type="StepNotFound", message=text, non_retryable=True)


def _last_line(stack: str) -> str | None:
    lines = [line.strip() for line in stack.splitlines() if line.strip().startswith("File ")]
    return lines[-1] if lines else None
