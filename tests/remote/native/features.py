"""What an App can do, one small program for each: the rows of the table of capabilities."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    App,
    Codec,
    ExternalEvent,
    InstanceExists,
    InstanceNotFound,
    KeyRing,
    Queue,
    Retry,
    Saga,
    Transaction,
    Update,
    UpdateRefused,
    WorkflowCancelled,
    WorkflowContext,
    WorkflowFailed,
    WorkflowTerminated,
    activity_context,
    continue_as_new,
    on_update,
    patched,
    raise_event,
    set_state,
    set_status,
    step,
    wait_for_event,
)

Try = Callable[["Where"], Awaitable[None]]
FEATURES: dict[str, Try] = {}
"""By the words of the table, in its order."""
LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Where:
    """Where an App runs: `given` are the arguments that tell it; `store` is the file behind it all."""

    given: dict[str, Any]
    store: str

    def app(self, **more: Any) -> App:
        return App("shop", **self.given, **more)


def feature(words: str) -> Callable[[Try], Try]:
    def register(function: Try) -> Try:
        FEATURES[words] = function
        return function

    return register


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(LOOK_SECONDS)


async def until_there(app: App, id: str) -> None:
    while True:
        try:
            await app.client.get(id).state()
            return
        except InstanceNotFound:
            await asyncio.sleep(LOOK_SECONDS)


@feature("activities, in sequence and in parallel")
async def activities(where: Where) -> None:
    app = where.app()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    @app.activity
    def add(one: int, *, other: int) -> int:
        return one + other

    @app.workflow
    async def main(count: int) -> int:
        total = 0
        for number in await asyncio.gather(*(double(number) for number in range(count))):
            total = await add(total, other=number)
        return total

    async with app:
        assert await (await main.start(5)).result() == 20


@feature("child workflows, attached and detached")
async def children(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def child(text: str) -> str:
        if not text:
            raise ValueError("no text")
        return text.upper()

    @app.workflow
    async def parent(text: str) -> list[str]:
        handle = await child.with_options(id="apart").start("apart")
        return [await child(text), handle.id]

    async with app:
        assert await (await parent.start("a")).result() == ["A", "apart"]
        assert await app.client.get("apart").result() == "APART"
        with pytest.raises(WorkflowFailed):
            await (await parent.start("")).result()


@feature("durable timers and deadlines")
async def timers(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> str:
        await asyncio.sleep(0.02)
        try:
            async with asyncio.timeout(0.02):
                await wait_for_event("never")
        except TimeoutError:
            return "late"
        return "heard"

    async with app:
        assert await (await main.start()).result() == "late"


@feature("external events, before and after they are waited for")
async def external_events(where: Where) -> None:
    app = where.app()
    last = ExternalEvent("last", int)

    @app.workflow
    async def main() -> int:
        return await wait_for_event("first", int) + await wait_for_event(last)

    async with app:
        handle = await main.start()
        await handle.raise_event(last, 2)
        await handle.raise_event("First", 1)
        assert await handle.result() == 3
        with pytest.raises(InstanceNotFound):
            await app.client.get("nobody").raise_event("first", 1)


@feature("events from one workflow to another")
async def events_between(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def waits() -> str:
        return await wait_for_event("word", str)

    @app.workflow
    async def tells(id: str) -> None:
        raise_event(id, "word", "hello")

    async with app:
        handle = await waits.start()
        await (await tells.start(handle.id)).result()
        assert await handle.result() == "hello"


@feature("retries kept by the engine")
async def retries(where: Where) -> None:
    app = where.app()
    attempts: list[tuple[int, str]] = []

    @app.activity(retry=Retry(max_attempts=3, initial_interval=0.01))
    async def flaky(until: int) -> int:
        context = activity_context()
        attempts.append((context.attempt, context.idempotency_key))
        if context.attempt < until:
            raise ConnectionError("down")
        return context.attempt

    @app.workflow
    async def main(until: int) -> int:
        try:
            return await flaky(until)
        except ActivityFailed as error:
            return -error.attempt

    async with app:
        assert await (await main.start(3)).result() == 3
        assert [number for number, _ in attempts] == [1, 2, 3]
        assert len({key for _, key in attempts}) == 1
        assert await (await main.start(9)).result() == -3


@feature("timeouts of an attempt")
async def attempt_timeouts(where: Where) -> None:
    app = where.app()

    @app.activity(timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.workflow
    async def main() -> str:
        try:
            await slow()
        except ActivityTimedOut as error:
            return f"attempt {error.attempt}"
        return "done"

    async with app:
        assert await (await main.start()).result() == "attempt 1"


@feature("heartbeats, with details for the next attempt")
async def heartbeats(where: Where) -> None:
    app = where.app()

    @app.activity(heartbeat_timeout=5.0, retry=Retry(max_attempts=2, initial_interval=1.2))
    async def copy() -> int:
        context = activity_context()
        first = context.last_details(int) or 0
        if context.attempt == 1:
            context.heartbeat(41)
            await asyncio.sleep(1.4)
            raise ConnectionError("lost")
        return first + 1

    @app.workflow
    async def main() -> int:
        return await copy()

    async with app:
        assert await (await main.start()).result() == 42


@feature("heartbeat timeouts")
async def heartbeat_timeouts(where: Where) -> None:
    app = where.app()
    cancelled: list[int] = []

    @app.activity(heartbeat_timeout=0.3)
    async def silent() -> None:
        for _ in range(8):
            activity_context().heartbeat()
            await asyncio.sleep(0.05)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    @app.workflow
    async def main() -> str:
        try:
            await silent()
        except ActivityTimedOut:
            return "silent"
        return "done"

    async with app:
        assert await (await main.start()).result() == "silent"
        await until(lambda: cancelled)


@feature("cancellation of running activities")
async def cancelled_activities(where: Where) -> None:
    app = where.app()
    seen: list[str] = []

    @app.activity
    async def long() -> None:
        seen.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @app.workflow
    async def main() -> str:
        call = asyncio.ensure_future(long())
        await wait_for_event("begun")
        try:
            async with asyncio.timeout(0):
                await call
        except TimeoutError:
            return "too late"
        return "done"

    async with app:
        handle = await main.start()
        await until(lambda: seen == ["begun"])
        await handle.raise_event("begun")
        assert await handle.result() == "too late"
        await until(lambda: seen == ["begun", "cancelled"])


@feature("cancellation of a workflow, with its compensations")
async def cancelled_workflows(where: Where) -> None:
    app = where.app()
    done: list[str] = []

    @app.activity
    async def book(what: str) -> None:
        done.append(f"book {what}")

    @app.activity
    async def release(what: str) -> None:
        done.append(f"release {what}")

    @app.workflow
    async def trip() -> None:
        async with Saga() as saga:
            saga.compensate(release, "room")
            await book("room")
            await wait_for_event("never")

    async with app:
        handle = await trip.start()
        await until(lambda: done)
        await handle.cancel("changed my mind")
        with pytest.raises(WorkflowCancelled):
            await handle.result()
        assert done == ["book room", "release room"]


@feature("termination, with that of children")
async def termination(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def child() -> None:
        await wait_for_event("never")

    @app.workflow
    async def parent() -> None:
        await child.with_options(id="child")()

    async with app:
        handle = await parent.start()
        await until_there(app, "child")
        await handle.terminate("enough")
        with pytest.raises(WorkflowTerminated):
            await handle.result()
        with pytest.raises(WorkflowTerminated):
            await app.client.get("child").result()
        assert (await handle.state()).output == "enough"


@feature("suspension")
async def suspension(where: Where) -> None:
    app = where.app()
    done: list[str] = []

    @app.activity
    async def step(name: str) -> str:
        done.append(name)
        return name

    @app.workflow
    async def main() -> list[str]:
        first = await step("one")
        return [first, await wait_for_event("go", str), await wait_for_event("on", str), await step("two")]

    async with app:
        handle = await main.start()
        await until(lambda: done)
        await handle.suspend("later")
        await handle.raise_event("go", "go")
        while (await handle.state()).suspended is None:
            await asyncio.sleep(LOOK_SECONDS)
        await handle.raise_event("on", "on")
        assert done == ["one"]
        await handle.resume()
        assert await handle.result() == ["one", "go", "on", "two"]


@feature("continue-as-new, with events that are kept")
async def generations(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def counter(total: int, rounds: int) -> int:
        if rounds:
            continue_as_new(total + await wait_for_event("add", int), rounds - 1, keep_events=True)
        return total

    async with app:
        handle = await counter.start(0, 3)
        for number in (1, 2, 3):
            await handle.raise_event("add", number)
        assert await handle.result() == 6


@feature("custom status")
async def custom_status(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        set_status("half way")
        await wait_for_event("go")

    async with app:
        handle = await main.start()
        while (await handle.state()).custom_status != "half way":
            await asyncio.sleep(LOOK_SECONDS)
        await handle.raise_event("go")
        await handle.result()


@feature("published state, and queries for it")
async def published_state(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        set_state({"done": 1})
        await wait_for_event("go")

    async with app:
        handle = await main.start()
        while (found := await handle.query(dict[str, int])) is None:
            await asyncio.sleep(LOOK_SECONDS)
        assert found == {"done": 1}
        await handle.raise_event("go")
        await handle.result()


@feature("updates, with validators")
async def updates(where: Where) -> None:
    app = where.app()
    add = Update("add", int, int)

    @app.activity
    async def price(number: int) -> int:
        return 10 * number

    @app.workflow
    async def cart() -> int:
        total = 0

        def positive(number: int) -> None:
            if number < 0:
                raise ValueError("negative")

        @on_update(add, validator=positive)
        async def adds(number: int) -> int:
            nonlocal total
            total += await price(number)
            return total

        await wait_for_event("out")
        return total

    async with app:
        handle = await cart.start()
        assert await handle.update(add, 2) == 20
        assert await handle.update(add, 1) == 30
        with pytest.raises(UpdateRefused):
            await handle.update(add, -1)
        await handle.raise_event("out")
        assert await handle.result() == 30


@feature("activities that yield, and readers of their streams")
async def streams(where: Where) -> None:
    app = where.app()

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def words() -> AsyncIterator[int]:
        context = activity_context()
        for number in range(context.stream_offset, 50):
            yield number
            if number == 30 and context.attempt == 1:
                raise ConnectionError("lost")

    @app.workflow
    async def main() -> int:
        return await words()

    async with app:
        handle = await main.start()
        assert [item async for item in handle.stream(words)] == list(range(50))
        assert await handle.result() == 50


@feature("queues with limits")
async def queues(where: Where) -> None:
    app = where.app()
    narrow = Queue("narrow", concurrency=2)
    running, most = 0, 0

    @app.activity(queue=narrow)
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    @app.workflow
    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(6)))

    async with app:
        await (await main.start()).result()
        assert most == 2


@feature("schedules")
async def schedules(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def report(region: str) -> str:
        return region

    async with app:
        schedule = await report.with_schedule("hourly", every=timedelta(hours=1)).create("north")
        handle = await schedule.trigger()
        assert await handle.result(timeout=30) == "north"
        assert [each.id async for each in app.client.schedules()] == ["hourly"]
        await schedule.delete()


@feature("topics: handlers, and messages that start and raise")
async def topics(where: Where) -> None:
    app = where.app()
    handled: list[str] = []

    @app.workflow
    async def checkout(order: str) -> list[str]:
        return [order, await wait_for_event("paid", str)]

    app.subscribe("orders", starts=checkout, id="data")
    app.subscribe(
        "payments", raises="paid", id="data", retry=Retry(max_attempts=1_000, initial_interval=0.02, max_interval=0.05)
    )

    @app.subscribe("orders", group="audit")
    async def audit(order: str) -> None:
        handled.append(order)

    async with app:
        await app.client.publish("payments", "a")
        await app.client.publish("orders", "a")
        await until(lambda: handled == ["a"])
        await until_there(app, "a")
        assert await app.client.get("a").result() == ["a", "a"]


@feature("versions and patches of code")
async def versions(where: Where) -> None:
    app = where.app()

    @app.workflow(name="report", version="1")
    async def one() -> str:
        return "one"

    @app.workflow(name="report", version="2")
    async def two() -> str:
        await wait_for_event("go")
        return f"two {patched('side')}"

    async with app:
        handle = await app.client.workflow("report").start()
        await handle.raise_event("go")
        assert await handle.result() == "two True"
        assert (await handle.state()).version == "2"
    del one, two


@feature("generator style of Dapr")
async def generators(where: Where) -> None:
    app = where.app()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    @app.workflow
    def main(ctx: WorkflowContext, number: int) -> Any:
        first = yield ctx.call_activity(double, input=number)
        yield ctx.create_timer(timedelta(seconds=0.01))
        second = yield ctx.call_activity(double, input=first)
        return second

    async with app:
        assert await (await main.start(1)).result() == 4


@feature("ids and tags of a start")
async def ids(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main(text: str) -> str:
        return await wait_for_event("go", str) + text

    async with app:
        named = main.with_options(id="named-1", tags={"kind": "a"})
        handle = await named.start("!")
        with pytest.raises(InstanceExists) as caught:
            await named.start("?")
        assert caught.value.instance_id == "named-1"
        await main.with_options(id="named-1", if_exists="return").start("?")
        await handle.raise_event("go", "hi")
        assert await handle.result() == "hi!"
        assert (await handle.state()).tags == {"kind": "a"}


@feature("starts that are one: deduplication, debounce")
async def deduplication(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main(text: str) -> str:
        return text

    async with app:
        once = main.with_options(dedup_key="k", dedup_window=60)
        assert (await once.start("1")).id == (await once.start("2")).id


@feature("run timeouts")
async def run_timeouts(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def endless() -> None:
        await wait_for_event("never")

    async with app:
        with pytest.raises(WorkflowFailed):
            await (await endless.with_options(run_timeout=0.05).start()).result()


@feature("search by name, status, time, tags, text; batches")
async def search(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        await wait_for_event("go")

    async with app:
        await main.with_options(id="found-1", tags={"kind": "a"}).start()
        await main.with_options(tags={"kind": "b"}).start()
        assert [each.id async for each in app.client.list(tags={"kind": "a"})] == ["found-1"]
        assert await app.client.terminate_all(name="main") == 2


@feature("typed history")
async def history(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        return None

    async with app:
        handle = await main.start()
        await handle.result()
        names = [type(event).__name__ async for event in handle.history()]
        assert names[:2] == ["TurnStarted", "RunStarted"]
        assert names[-1] == "RunCompleted"


@feature("explanations")
async def explanations(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        await wait_for_event("go")

    async with app:
        handle = await main.start()
        while (why := await handle.explain()).cause != "event":
            await asyncio.sleep(LOOK_SECONDS)
        assert "go" in why.sentence
        assert why.command is not None


@feature("rerun from an event")
async def reruns(where: Where) -> None:
    app = where.app()
    done: list[str] = []

    @app.activity
    async def step(name: str) -> str:
        done.append(name)
        return name

    @app.workflow
    async def main() -> list[str]:
        return [await step("one"), await step("two")]

    async with app:
        handle = await main.start()
        await handle.result()
        again = await handle.rerun(from_event=2)
        assert await again.result() == ["one", "two"]
        assert done == ["one", "two", "two"]


@feature("purge")
async def purge(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main() -> None:
        return None

    async with app:
        handle = await main.start()
        await handle.result()
        assert await handle.purge() == 1
        with pytest.raises(InstanceNotFound):
            await handle.state()


@feature("a debugger for recorded runs")
async def debugging(where: Where) -> None:
    app = where.app()

    @app.activity
    async def step() -> int:
        return 1

    @app.workflow
    async def main() -> int:
        return await step()

    async with app:
        handle = await main.start()
        await handle.result()
        debugger = await handle.debug()
        assert debugger is not None


@feature("payloads encrypted by the app")
async def encryption(where: Where) -> None:
    app = where.app(codec=Codec(keys=KeyRing({"k1": KeyRing.new_key()})))

    @app.activity
    async def greet(name: str) -> str:
        return f"hello {name}"

    @app.workflow
    async def main(name: str) -> str:
        return await greet(await wait_for_event("name", str) + name)

    async with app:
        handle = await main.start("Ada")
        await handle.raise_event("name", "Dr ")
        assert await handle.result() == "hello Dr Ada"
        assert (await handle.state()).input == ["Ada"] or (await handle.state()).input == "Ada"
    with sqlite3.connect(where.store.removeprefix("sqlite:///")) as db:
        assert "Ada" not in str(db.execute("select events from perdure_history").fetchall())
    db.close()


@feature("steps of a workflow's own code, and agents")
async def steps(where: Where) -> None:
    app = where.app()

    @app.workflow
    async def main(number: int) -> int:
        async def doubled() -> int:
            return 2 * number

        return await step("doubled", doubled, type=int)

    async with app:
        assert await (await main.start(4)).result() == 8


@feature("transactions with your own tables")
async def transactions(where: Where) -> None:
    app = where.app()

    @app.transaction
    def note(db: Transaction, text: str) -> int:
        db.execute("create table if not exists notes (text text)")
        db.execute("insert into notes values (?)", (text,))
        return 1

    @app.workflow
    async def main() -> int:
        return await note("a")

    async with app:
        assert await (await main.start()).result() == 1
