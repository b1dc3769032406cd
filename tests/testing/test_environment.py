"""An app in virtual time: from any event loop or none, with stubs, a clock, and processes that die."""

import asyncio
import random
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from perdure import (
    ActivityFailed,
    App,
    Codec,
    InstanceExists,
    InstanceNotFound,
    KeyRing,
    PersonalKeys,
    Retry,
    Secret,
    Transaction,
    WorkflowFailed,
    activity_context,
    continue_as_new,
    now,
    wait_for_event,
)
from perdure.errors import InvalidArgument, NothingMoves, NotInVirtualTime, NotOpen, NotStubbed
from perdure.testing import Environment

app = App("environment")
world: dict[str, int] = {}


@app.activity(retry=Retry(max_attempts=4, initial_interval=3600, backoff=1.0))
async def charge(cents: int) -> str:
    await asyncio.sleep(30)
    world["charged"] = world.get("charged", 0) + 1
    return f"receipt for {cents}"


@app.activity
def weigh(item: str) -> int:
    return len(item)


@app.activity
async def dial(host: str) -> str:
    reader, _ = await asyncio.open_connection(host, 80)
    return (await reader.read()).decode()


@app.workflow
async def ship(item: str) -> int:
    return await weigh(item)


@app.workflow
async def order(cents: int) -> str:
    receipt = await charge(cents)
    await asyncio.sleep(365 * 86_400)
    return f"{receipt}, {await ship('teapot')}"


@app.workflow
async def approval() -> str:
    return str(await wait_for_event("approved"))


def drawn() -> int:
    world["drawn"] = world.get("drawn", 0) + 1
    return world["drawn"]


@app.workflow
async def fickle() -> None:
    await (charge(1) if drawn() > 1 else weigh("x"))
    await asyncio.sleep(60)


@app.workflow
async def forever() -> None:
    await asyncio.sleep(60)
    continue_as_new()


@app.workflow
async def tolerant() -> str:
    try:
        return await charge(1)
    except ActivityFailed as error:
        return error.type


@app.workflow
async def dialling() -> str:
    return await dial("localhost")


@app.workflow
async def waiting_for_another(id: str) -> str:
    return await ask(id)


@app.activity
async def ask(id: str) -> str:
    handle = app.client.get(id)
    await handle.raise_event("approved", "asked")
    return str(await handle.result())


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_year_passes_in_a_plain_function(store):
    began = time.monotonic()
    with Environment(app, store=store) as env:

        async def scenario():
            handle = await order.start(750)
            assert await handle.result() == "receipt for 750, 6"
            assert env.now() >= datetime(2026, 1, 1, tzinfo=UTC)

        env.run(scenario())
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("run", [asyncio.run, lambda work: anyio.run(lambda: work)], ids=["asyncio", "anyio"])
def test_the_loop_of_the_test_stays_as_it_is(run):
    async def scenario():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        with Environment(app) as env:
            handle = await order.start(750)
            await env.sleep(days=3)
            assert (await handle.state()).status == "running"
            results = await asyncio.gather(handle.result(), handle.result())
            assert results == ["receipt for 750, 6"] * 2
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        real = time.monotonic()
        await asyncio.sleep(0.02)
        assert time.monotonic() - real >= 0.02

    run(scenario())


def test_each_environment_begins_at_the_same_time_with_the_same_ids():
    def ids() -> tuple[str, datetime]:
        with Environment(app) as env:
            handle = env.run(approval.start())
            return handle.id, env.now()

    assert ids() == ids()


def test_time_begins_where_the_test_wants():
    start = datetime(2031, 5, 6, tzinfo=UTC)
    with Environment(app, start=start) as env:
        assert env.now() == start
        env.run(env.sleep(days=1, hours=2, minutes=3, seconds=4))
        assert env.now() - start == timedelta(days=1, hours=2, minutes=3, seconds=4)


# -- stubs --------------------------------------------------------------------------------------------------


def test_a_stub_returns_and_its_call_is_recorded_with_attempts_and_times():
    with Environment(app, strict=True) as env:
        env.stub(charge, side_effect=[ConnectionError("down"), ConnectionError, "paid"])
        env.stub("weigh", returns=7)
        handle = env.run(order.with_options(id="A").start(750))
        assert env.run(handle.result()) == "paid, 7"
        (call,) = env.calls(charge)
        assert (call.name, call.args, call.kwargs, call.instance) == ("charge", (750,), {}, "A")
        assert [attempt.number for attempt in call.attempts] == [1, 2, 3]
        assert [type(attempt.error) for attempt in call.attempts] == [ConnectionError, ConnectionError, type(None)]
        assert call.attempts[2].result == "paid"
        assert call.attempts[1].began - call.attempts[0].began == timedelta(hours=1)
        assert call.at == call.attempts[0].began
        assert [call.args for call in env.calls("weigh")] == [("teapot",)]


def test_a_stub_may_be_a_function_of_either_kind():
    async def later(cents: int) -> str:
        await asyncio.sleep(10)
        return f"{cents} later, attempt {activity_context().attempt}"

    with Environment(app) as env:
        env.stub(charge, side_effect=later)
        env.stub(weigh, side_effect=lambda item: 2 * len(item))
        assert env.run(_result(order, 5)) == "5 later, attempt 1, 12"


def test_a_stub_raises_until_the_attempts_are_used_up():
    with Environment(app) as env:
        env.stub(charge, raises=ConnectionError("down"))
        with pytest.raises(WorkflowFailed, match="down"):
            env.run(_result(order, 5))
        assert len(env.calls(charge)[0].attempts) == 4
        env.unstub(charge)
        assert env.run(_result(order, 5)) == "receipt for 5, 6"


def test_a_child_is_stubbed_and_recorded_as_an_activity_is():
    with Environment(app) as env:
        env.stub(ship, returns=99)
        assert env.run(_result(order, 5)) == "receipt for 5, 99"
        assert [call.args for call in env.calls(ship)] == [("teapot",)]
        assert env.calls(weigh) == []
        env.stub(ship, raises=ValueError("lost"))
        with pytest.raises(WorkflowFailed, match="lost"):
            env.run(_result(order, 5))


def test_strict_tells_the_test_even_if_the_workflow_swallows_it():
    with Environment(app, strict=True) as env, pytest.raises(NotStubbed, match=r"charge ran with \(1\)"):
        env.run(_result(tolerant))


def test_a_list_of_answers_that_is_too_short_is_told():
    with Environment(app) as env:
        env.stub(charge, side_effect=[ConnectionError()])
        with pytest.raises(NotStubbed, match="no answer left"):
            env.run(_result(tolerant))


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda env: env.stub("chrage"), "no activity or workflow of app 'environment'"),
        (lambda env: env.stub(5), "no activity or workflow"),
        (lambda env: env.stub("charge", returns=1, raises=ValueError), "one of returns, raises"),
        (lambda env: env.stub("charge", raises="ValueError"), "an exception"),
        (lambda env: env.stub("charge", side_effect=5), "a function, or a list"),
        (lambda env: env.calls("nothing"), "no activity or workflow"),
        (lambda env: env.run(approval), "env.run"),
        (lambda env: env.run(env.until(5)), "until takes a function"),
        (lambda env: env.run(env.sleep(days=-1)), "does not go back"),
        (lambda env: env.later(env.idle(), days=1), "later takes a function"),
        (lambda env: env.run(env.golden(None)), "perdure_app"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_wrong_argument_is_told(wrong, says):
    with Environment(app) as env, pytest.raises(InvalidArgument, match=says):
        wrong(env)


def test_an_environment_takes_an_app_that_is_free():
    with pytest.raises(InvalidArgument, match="takes an App"):
        Environment("shop")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="memory, sqlite"):
        Environment(app, store="postgres")
    with Environment(app) as env, pytest.raises(InvalidArgument, match="already"), Environment(app):
        pass
    with pytest.raises(NotOpen, match="closed"):
        env.run(_result(approval))
    with pytest.raises(NotOpen):
        asyncio.run(approval.start())

    async def opened():
        await app.open(store="memory:")
        try:
            with pytest.raises(InvalidArgument, match="is open"), Environment(app):
                pass
        finally:
            await app.close()

    asyncio.run(opened())


def test_parts_of_the_app_are_driven_too():
    part = App("part")

    @part.workflow
    async def inner() -> int:
        return 5

    whole = App("whole").include(part)
    with Environment(whole) as env:
        assert env.run(_result(inner)) == 5


# -- time -----------------------------------------------------------------------------------------------------


def test_something_happens_later():
    with Environment(app) as env:

        async def scenario():
            began = env.now()
            handle = await approval.start()
            env.later(lambda: handle.raise_event("approved", "by Ada"), days=3)
            assert await handle.result() == "by Ada"
            assert env.now() - began == timedelta(days=3)

        env.run(scenario())


def test_a_schedule_ticks_in_virtual_time():
    with Environment(app) as env:

        async def scenario():
            await ship.with_schedule("weekly", every=7 * 86_400, start=env.now()).create("pot")
            await env.sleep(days=365)

        env.run(scenario())
        assert len(env.calls(ship)) == 52
        assert {call.args for call in env.calls(weigh)} == {("pot",)}


def test_what_fails_later_fails_the_test():
    with Environment(app) as env:
        env.later(lambda: app.client.get("nobody").raise_event("x"), hours=1)
        env.run(env.sleep(minutes=59))
        with pytest.raises(InstanceNotFound):
            env.run(env.sleep(minutes=2))


def test_a_condition_and_rest_are_waited_for():
    with Environment(app) as env:
        began = env.now()
        handle = env.run(order.start(5))
        env.run(env.until(lambda: bool(env.calls(charge)[0].attempts[0].ended)))
        assert env.now() - began == timedelta(seconds=30)
        env.run(env.idle())
        assert env.run(handle.state()).status == "completed"


def test_a_result_that_never_comes_is_told_with_its_reason():
    async def waits():
        with Environment(app):
            handle = await approval.start()
            with pytest.raises(NothingMoves, match="waits for the event 'approved' that nobody has sent"):
                await handle.result()
            with pytest.raises(TimeoutError):
                await handle.result(timeout=5)
            await handle.raise_event("approved", 1)
            assert await handle.result() == "1"

    asyncio.run(waits())
    with Environment(app) as env, pytest.raises(NothingMoves, match="'approved'"):
        env.run(_result(approval))
    with Environment(app) as env, pytest.raises(NothingMoves, match="never comes"):
        env.run(env.until(lambda: False))


@pytest.mark.long
def test_a_workflow_without_an_end_is_told(monkeypatch):
    monkeypatch.setattr("perdure.testing.virtual.STEPS_MAX", 5_000)
    with Environment(app) as env, pytest.raises(NothingMoves, match="go on for ever"):
        env.run(_result(forever))
    with Environment(app) as env:
        env.run(forever.start())
        with pytest.raises(NothingMoves, match="go on for ever"):
            env.run(env.idle())


def test_an_instance_that_stands_still_is_told_while_others_go_on():
    world.clear()
    with Environment(app) as env:

        async def scenario():
            await forever.start()
            handle = await fickle.start()
            await handle.result()

        began = env.now()
        env.later(lambda: _restart(env), seconds=5)
        with pytest.raises(NothingMoves, match=r"stands still \(non-determinism\)"):
            env.run(scenario())
        assert env.now() - began < timedelta(minutes=2)


async def _restart(env):
    env.restart()


def test_the_network_is_not_there():
    with Environment(app) as env, pytest.raises(NotInVirtualTime, match=r"stub the activity.*1642"):
        env.run(_result(dialling))


def test_a_thread_has_the_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        @(net := App("net")).activity
        def connect() -> int:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return int(connection.getpeername()[1])

        @net.workflow
        async def connects() -> int:
            return await connect()

        with Environment(net) as env:
            assert env.run(_result(connects)) == port


# -- the client, and processes that die ------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_client_works_as_ever(store):
    async def scenario():
        with Environment(app, store=store) as env:
            handle = await approval.with_options(id="A", tags={"who": "ada"}).start()
            with pytest.raises(InstanceExists):
                await approval.with_options(id="A").start()
            assert [state.id async for state in env.client.list(tags={"who": "ada"})] == ["A"]
            assert (await handle.explain()).cause == "event"
            await handle.suspend()
            await handle.resume()
            await handle.raise_event("approved", 1)
            assert await handle.result() == "1"
            again = await ship.with_options(id="B").start("pot")
            assert await again.result() == 3
            third = await again.rerun(1, id="C")
            assert await third.result() == 3
            assert await env.client.purge_all() == 3
            with pytest.raises(InstanceNotFound):
                await handle.state()

    asyncio.run(scenario())


def test_workflow_code_is_refused_a_client_as_ever():
    @(meddling := App("meddling")).workflow
    async def meddles() -> str:
        return (await meddling.client.get("x").state()).status

    with Environment(meddling) as env, pytest.raises(WorkflowFailed, match="workflow code cannot use a client"):
        env.run(_result(meddles))


def test_an_activity_drives_other_instances():
    with Environment(app) as env:
        env.run(approval.with_options(id="other").start())
        assert env.run(_result(waiting_for_another, "other")) == "asked"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_crash_in_the_middle_of_an_activity_runs_it_again(store):
    world.clear()
    with Environment(app, store=store) as env:

        async def scenario():
            handle = await order.start(5)
            await env.sleep(seconds=10)
            env.restart()
            assert await handle.result() == "receipt for 5, 6"

        env.run(scenario())
        (call,) = env.calls(charge)
        assert [attempt.number for attempt in call.attempts] == [1, 1]
        assert world["charged"] == 1


def test_the_settings_of_the_app_count():
    def deaths(**settings) -> int:
        weak = App("weak", **settings)
        weak.include(order.home)
        with Environment(weak) as env:

            async def scenario():
                handle = await tolerant.start()
                for _ in range(4):
                    await env.sleep(seconds=10)
                    env.restart()
                await handle.result()

            env.run(scenario())
            return len(env.calls(charge)[0].attempts)

    with pytest.raises(NothingMoves, match="quarantined"):
        deaths()
    assert deaths(quarantine_deaths=None) == 5


def test_workflow_code_sees_virtual_time():
    @(clock := App("clock")).workflow
    async def when() -> datetime:
        return now()

    with Environment(clock) as env:
        assert env.run(_result(when)) == datetime(2025, 1, 1, tzinfo=UTC)


async def _result(workflow, *args):
    handle = await workflow.start(*args)
    return await handle.result()


streams = App("streams")


@streams.activity(retry=Retry(max_attempts=2, initial_interval=3600))
async def spoken(text: str) -> AsyncIterator[str]:
    words = text.split()
    for number in range(activity_context().stream_offset, len(words)):
        await asyncio.sleep(60)
        yield words[number]
        if number == 1 and activity_context().attempt == 1:
            raise ConnectionError


@streams.activity
def counted(count: int) -> Iterator[int]:
    yield from range(count)


@streams.workflow
async def speech(text: str) -> list[int]:
    return [await spoken(text), await counted(20)]


def test_streams_are_recorded_and_read_in_virtual_time():
    async def listed(items) -> list:
        return [item async for item in items]

    with Environment(streams) as env:
        handle = asyncio.run(speech.start("to be or not"))
        assert asyncio.run(listed(handle.stream(spoken))) == ["to", "be", "or", "not"]
        assert asyncio.run(handle.result()) == [4, 20]
        assert asyncio.run(listed(handle.stream(counted))) == list(range(20))
        assert [stream.items for stream in asyncio.run(handle.streams())] == [4, 20]
        (call,) = env.calls(spoken)
        assert [attempt.result for attempt in call.attempts] == [["to", "be"], ["or", "not"]]
        assert isinstance(call.attempts[0].error, ConnectionError)


def test_a_stub_of_an_activity_that_yields_gives_its_items():
    with Environment(streams, strict=True) as env:
        env.stub(spoken, returns=["a", "b", "c"])
        env.stub(counted, side_effect=lambda count: range(2))
        handle = asyncio.run(speech.start("text"))
        assert asyncio.run(handle.result()) == [3, 2]


@app.transaction
def settle(db: Transaction, cents: int) -> int:
    db.execute("insert into settled values (?)", (cents,))
    ((total,),) = db.execute("select sum(cents) from settled")
    return total


@app.workflow
async def close_books(cents: int) -> int:
    return await settle(cents)


def test_a_transaction_works_on_the_tables_of_the_test():
    with Environment(app, store="sqlite") as env:
        with sqlite3.connect(env.path) as db:
            db.execute("create table settled (cents integer)")

        async def scenario():
            return [await (await close_books.start(cents)).result() for cents in (1, 2)]

        assert env.run(scenario()) == [1, 3]
        assert [(call.args, call.attempts[0].result) for call in env.calls(settle)] == [((1,), 1), ((2,), 3)]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_transaction_is_stubbed_as_an_activity_is(store):
    async def scenario():
        return await (await close_books.start(5)).result()

    with Environment(app, store=store) as env:
        env.stub(settle, returns=7)
        assert env.run(scenario()) == 7
        assert env.calls(settle)[0].args == (5,)
        if store == "sqlite":
            with sqlite3.connect(env.path) as db:
                db.execute("create table settled (cents integer)")
            env.unstub(settle)
            assert env.run(scenario()) == 5


def test_a_transaction_without_a_database_is_told():
    async def scenario():
        await (await close_books.start(5)).result()

    with Environment(app) as env, pytest.raises(NotStubbed, match="sqlite"):
        env.run(scenario())
    with Environment(app, store="sqlite", strict=True) as env, pytest.raises(NotStubbed, match="strict"):
        env.run(scenario())
    with Environment(app) as env, pytest.raises(InvalidArgument, match="sqlite"):
        _ = env.path


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_an_app_with_a_codec_packs_in_its_tests_too(store, tmp_path):
    keys = PersonalKeys(KeyRing({"k1": KeyRing.new_key()}), tmp_path / "keys")
    blobs = tmp_path / "blobs"
    packed = App("packed", codec=Codec(keys=keys, compress=True, offload=blobs, offload_above=500))

    @packed.activity
    async def grow(pin: Secret[str]) -> list[str]:
        return [pin.reveal(), f"{random.getrandbits(8_000):x}"]

    @packed.workflow
    async def keep(pin: Secret[str]) -> int:
        grown = await grow(pin)
        await wait_for_event("go", str)
        return len(grown)

    with Environment(packed, store=store) as env:

        async def scenario():
            ada, bob = [await keep.with_options(tags={"person": who}).start(Secret("7")) for who in ("ada", "bob")]
            await env.idle()
            env.restart()
            keys.erase("bob")
            await ada.raise_event("go", "now")
            assert await ada.result() == 2
            await bob.raise_event("go")
            with pytest.raises(NothingMoves, match="key-missing"):
                await bob.result()

        env.run(scenario())
        assert env.calls(grow)[0].args == (Secret("7"),)
    assert list(blobs.rglob("*/*")) == []
