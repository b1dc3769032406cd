"""Activities: how they run, fail, are tried again, time out, beat, and are cancelled."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    App,
    ApplicationError,
    Retry,
    WorkflowCancelled,
    WorkflowFailed,
    activity_context,
    wait_for_event,
)


@pytest.fixture
def app(url):
    return App("acts", store=url)


def outcome(run, app, workflow, *args):
    """What a fresh instance of the workflow returns."""

    async def scenario():
        async with app:
            return await (await workflow.start(*args)).result(30)

    return run(scenario)


def test_async_runs_on_the_loop_and_def_in_a_thread(run, app):
    @app.activity
    async def here() -> bool:
        return threading.current_thread() is threading.main_thread()

    @app.activity
    def there() -> bool:
        return threading.current_thread() is threading.main_thread()

    @app.workflow
    async def main() -> list[bool]:
        return [await here(), await there()]

    assert outcome(run, app, main) == [True, False]


def test_thread_activities_run_at_the_same_time(run, app):
    barrier = threading.Barrier(4, timeout=30)

    @app.activity
    def meet() -> int:
        return barrier.wait()

    @app.workflow
    async def main() -> list[int]:
        return sorted(await asyncio.gather(*(meet() for _ in range(4))))

    assert outcome(run, app, main) == [0, 1, 2, 3]


def test_activity_outside_a_workflow_is_an_ordinary_call(run, app):
    @app.activity
    def double(x: int) -> int:
        return 2 * x

    @app.activity
    async def triple(x: int) -> int:
        return 3 * x

    async def scenario():
        return await double(2), await triple(2)

    assert run(scenario) == (4, 6)


def test_max_attempts_bounds_the_attempts_and_the_key_is_stable(run, app):
    seen = []

    @app.activity(retry=Retry(max_attempts=3, initial_interval=0.01))
    async def fail() -> None:
        context = activity_context()
        seen.append((context.attempt, context.idempotency_key))
        raise ValueError(f"number {context.attempt}")

    @app.workflow
    async def main() -> list[object]:
        try:
            await fail()
        except ActivityFailed as error:
            return [error.type, error.attempt, str(error.__cause__)]
        return []

    kind, attempt, cause = outcome(run, app, main)
    assert (kind, attempt) == ("ValueError", 3)
    assert "number 3" in cause
    assert [number for number, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1


def test_without_a_policy_there_is_one_attempt(run, app):
    seen = []

    @app.activity
    async def fail() -> None:
        seen.append(1)
        raise ValueError

    @app.workflow
    async def main() -> None:
        await fail()

    with pytest.raises(WorkflowFailed) as caught:
        outcome(run, app, main)
    assert seen == [1]
    assert caught.value.__cause__.type == "ActivityFailed"
    assert caught.value.__cause__.__cause__.type == "ValueError"


def test_keys_of_different_calls_differ(run, app):
    @app.activity
    async def key() -> str:
        return activity_context().idempotency_key

    @app.workflow
    async def main() -> list[str]:
        return list(await asyncio.gather(key(), key(), key()))

    assert len(set(outcome(run, app, main))) == 3


def test_initial_interval_backoff_and_max_interval_space_the_attempts(run, app):
    times = []

    @app.activity(retry=Retry(max_attempts=5, initial_interval=0.05, backoff=3.0, max_interval=0.2))
    async def fail() -> None:
        times.append(time.monotonic())
        raise ValueError

    @app.workflow
    async def main() -> None:
        await fail()

    with pytest.raises(WorkflowFailed):
        outcome(run, app, main)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause, least in zip(pauses, (0.05, 0.15, 0.2, 0.2), strict=True):
        assert least - 0.005 <= pause


def test_total_timeout_ends_the_attempts(run, app):
    times = []

    @app.activity(retry=Retry(initial_interval=0.1, backoff=1.0, total_timeout=0.45))
    async def fail() -> None:
        times.append(time.monotonic())
        raise ValueError

    @app.workflow
    async def main() -> None:
        await fail()

    with pytest.raises(WorkflowFailed):
        outcome(run, app, main)
    assert len(times) <= 5


@pytest.mark.parametrize("given", [KeyError, "KeyError"], ids=["class", "name"])
def test_non_retryable_types_fail_at_once(run, app, given):
    seen = []

    @app.activity(retry=Retry(max_attempts=5, initial_interval=0.01, non_retryable=(given,)))
    async def fail() -> None:
        seen.append(1)
        raise KeyError("no")

    @app.workflow
    async def main() -> None:
        await fail()

    with pytest.raises(WorkflowFailed):
        outcome(run, app, main)
    assert seen == [1]


def test_application_error_says_its_type_and_whether_to_retry(run, app):
    seen = []

    @app.activity(retry=Retry(max_attempts=5, initial_interval=0.01))
    async def fail() -> None:
        seen.append(1)
        raise ApplicationError("card refused", type="CardRefused", retryable=False)

    @app.workflow
    async def main() -> str:
        try:
            await fail()
        except ActivityFailed as error:
            return error.type
        return ""

    assert outcome(run, app, main) == "CardRefused"
    assert seen == [1]


def test_with_options_changes_one_call(run, app):
    seen = []

    @app.activity
    async def fail(mark: str) -> None:
        seen.append(mark)
        raise ValueError

    @app.workflow
    async def main() -> None:
        for call in (fail, fail.with_options(retry=Retry(max_attempts=2, initial_interval=0.01))):
            try:
                await call("one" if call is fail else "two")
            except ActivityFailed:
                continue

    outcome(run, app, main)
    assert seen == ["one", "two", "two"]


def test_cause_chain_keeps_types_messages_and_traceback(run, app):
    def dig() -> None:
        raise OSError("disk on fire")

    @app.activity
    def fail() -> None:
        try:
            dig()
        except OSError as error:
            raise RuntimeError("cannot write") from error

    @app.workflow
    async def main() -> None:
        await fail()

    with pytest.raises(WorkflowFailed) as caught:
        outcome(run, app, main)
    chain, error = [], caught.value.__cause__
    while error is not None:
        chain.append((error.type, error.message, error.stack))
        error = error.__cause__
    assert [kind for kind, _, _ in chain] == ["ActivityFailed", "RuntimeError", "OSError"]
    assert chain[1][1] == "cannot write"
    assert chain[2][1] == "disk on fire"
    assert "in dig" in chain[2][2]


def test_start_to_close_timeout_of_a_coroutine(run, app):
    ended = []

    @app.activity(timeout=0.1)
    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    @app.workflow
    async def main() -> bool:
        try:
            await slow()
        except ActivityTimedOut as error:
            return isinstance(error, TimeoutError)
        return False

    assert outcome(run, app, main) is True
    assert ended == ["cancelled"]


def test_start_to_close_timeout_of_a_thread_is_visible_to_it(run, app):
    told = threading.Event()

    @app.activity(timeout=0.1)
    def slow() -> None:
        context = activity_context()
        for _ in range(200):
            if context.is_cancelled:
                told.set()
                return
            time.sleep(0.02)

    @app.workflow
    async def main() -> str:
        try:
            await slow()
        except ActivityTimedOut:
            return "timed out"
        return "?"

    assert outcome(run, app, main) == "timed out"
    assert told.wait(30)


def test_timed_out_attempts_are_tried_again(run, app):
    @app.activity(timeout=0.1, retry=Retry(max_attempts=100, initial_interval=0.01))
    async def first_is_slow() -> int:
        if activity_context().attempt == 1:
            await asyncio.sleep(30)
        return activity_context().attempt

    @app.workflow
    async def main() -> int:
        return await first_is_slow()

    assert outcome(run, app, main) >= 2


def test_a_timeout_error_of_the_activity_itself_is_no_timeout_of_ours(run, app):
    @app.activity(timeout=10)
    async def fail() -> None:
        raise TimeoutError("the bank did not answer")

    @app.workflow
    async def main() -> list[object]:
        try:
            await fail()
        except ActivityFailed as error:
            return [type(error).__name__, error.type]
        return []

    assert outcome(run, app, main) == ["ActivityFailed", "TimeoutError"]


def test_missed_heartbeats_end_the_attempt_and_details_reach_the_next(run, app):
    seen = []

    @app.activity(heartbeat_timeout=0.3, retry=Retry(max_attempts=100, initial_interval=0.01))
    async def crawl() -> list[object]:
        context = activity_context()
        seen.append(context.last_details())
        if context.attempt == 1:
            context.heartbeat({"page": 7})
            await asyncio.sleep(30)
        return [context.attempt, context.last_details(dict[str, int])]

    @app.workflow
    async def main() -> list[object]:
        return await crawl()

    attempt, details = outcome(run, app, main)
    assert (attempt > 1, details) == (True, {"page": 7})
    assert seen[:2] == [None, {"page": 7}]


@pytest.mark.long
def test_heartbeats_keep_a_long_attempt_alive_also_from_a_thread(run, app):
    @app.activity(heartbeat_timeout=3)
    def work() -> str:
        for number in range(9):
            activity_context().heartbeat(number)
            time.sleep(0.5)
        return "done"

    @app.workflow
    async def main() -> str:
        return await work()

    assert outcome(run, app, main) == "done"


def test_heartbeat_details_reach_the_next_attempt_after_an_ordinary_failure(run, app):
    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def crawl() -> int:
        context = activity_context()
        if context.attempt == 1:
            context.heartbeat(41)
            raise ValueError
        return context.last_details(int) + 1

    @app.workflow
    async def main() -> int:
        return await crawl()

    assert outcome(run, app, main) == 42


def test_cancelling_the_workflow_cancels_its_running_activity(run, app):
    began, ended = asyncio.Event(), asyncio.Event()

    @app.activity
    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    @app.workflow
    async def main() -> None:
        await slow()

    async def scenario():
        async with app:
            handle = await main.start()
            await began.wait()
            await handle.cancel("enough")
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)
            await asyncio.wait_for(ended.wait(), 30)

    run(scenario)


def test_a_thread_sees_that_its_call_is_cancelled(run, app):
    began, told = threading.Event(), threading.Event()

    @app.activity
    def slow() -> None:
        context = activity_context()
        began.set()
        for _ in range(1_500):
            if context.is_cancelled:
                told.set()
                return
            time.sleep(0.02)

    @app.workflow
    async def main() -> str:
        call = asyncio.ensure_future(slow())
        await wait_for_event("began")
        try:
            async with asyncio.timeout(0):
                await call
        except TimeoutError:
            return "went on"
        return "?"

    async def scenario():
        async with app:
            handle = await main.start()
            assert await asyncio.to_thread(began.wait, 30)
            await handle.raise_event("began")
            return await handle.result()

    assert run(scenario) == "went on"
    assert told.wait(30)


def test_more_calls_than_slots_all_run(run, url):
    app = App("slots", store=url, slots=3)
    running, most = [0], [0]

    @app.activity
    async def work(x: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.01)
        running[0] -= 1
        return x

    @app.workflow
    async def main() -> int:
        return sum(await asyncio.gather(*(work(x) for x in range(20))))

    assert outcome(run, app, main) == 190
    assert most == [3]


def test_an_activity_that_nobody_registered_fails_with_its_name(run, url):
    app, other = App("acts", store=url), App("other")

    @other.activity
    async def foreign() -> None: ...

    @app.workflow
    async def main() -> str:
        try:
            await foreign()
        except ActivityFailed as error:
            return f"{error.type}: {error}"
        return ""

    text = outcome(run, app, main)
    assert text.startswith("ActivityNotRegistered")
    assert "foreign" in text


def test_a_result_that_cannot_be_stored_fails_once_with_its_path(run, app):
    seen = []

    @app.activity(retry=Retry(max_attempts=4, initial_interval=0.01))
    async def odd() -> object:
        seen.append(1)
        return {"a": [1, object()]}

    @app.workflow
    async def main() -> str:
        try:
            await odd()
        except ActivityFailed as error:
            return str(error)
        return ""

    text = outcome(run, app, main)
    assert "['a'][1]" in text
    assert seen == [1]


def test_an_argument_of_another_type_fails_once(run, app):
    seen = []

    @app.activity(retry=Retry(max_attempts=4, initial_interval=0.01))
    async def strict(x: int) -> int:
        seen.append(x)
        return x

    @app.workflow
    async def main() -> str:
        try:
            await strict("seven")  # type: ignore[arg-type]
        except ActivityFailed as error:
            return error.type
        return ""

    assert outcome(run, app, main) == "NotDecodable"
    assert seen == []


class Abort(BaseException):
    """As test frameworks and others derive theirs, so that nobody swallows it."""


@pytest.mark.parametrize(
    "error, told",
    [
        (asyncio.CancelledError, ["CancelledError", "CancelledError"]),
        (Abort, ["Abort", "Abort"]),
        (GeneratorExit, ["GeneratorExit", "RuntimeError"]),
        (StopIteration, ["RuntimeError", "RuntimeError"]),  # as in any coroutine
        (StopAsyncIteration, ["StopAsyncIteration", "StopAsyncIteration"]),
    ],
)
def test_an_activity_that_raises_what_only_loops_and_generators_raise_has_failed(run, app, error, told):
    attempts = []

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def give_up() -> None:
        attempts.append("async")
        raise error("by itself")

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    def give_up_in_thread() -> None:
        attempts.append("thread")
        raise error("by itself")

    @app.workflow
    async def main() -> list[str]:
        types = []
        for activity in (give_up, give_up_in_thread):
            try:
                await activity()
            except ActivityFailed as failed:
                types.append(failed.type)
        return types

    assert outcome(run, app, main) == told
    assert attempts == ["async", "async", "thread", "thread"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_activity_that_exits_in_its_thread_has_failed_and_the_process_goes_on(run, app, error):
    """Programs for the shell, called as functions, end with `sys.exit`."""

    @app.activity
    def leave() -> None:
        raise error("usage: ...")

    @app.activity
    def leave_later() -> Iterator[int]:
        yield 1
        raise error("usage: ...")

    @app.workflow
    async def main() -> list[str]:
        types = []
        for activity in (leave, leave_later):
            try:
                await activity()
            except ActivityFailed as failed:
                types.append(failed.type)
        return types

    assert outcome(run, app, main) == [error.__name__] * 2
