"""A server on its real port, and peers of the public protocol that are driven by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from perdure.app import open_store
from perdure.errors import StoreFull
from perdure.history.actions import (
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ReportMissingVersion,
    ScheduleActivity,
    SendEvent,
)
from perdure.history.events import EventRaised, Failure, Router, RunStarted
from perdure.remote.requests import Capability
from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.codec import MICROSOFT
from perdure.stores.contract import Outcome, Report
from perdure.stores.memory import MemoryStore
from tests.remote.peer import Peer, events, json, names, text, until

DONE = CompleteRun(number=-1, status="completed", output=json('"done"'))
CHARGE = ScheduleActivity(number=1, name="charge", input=json("7"))


@asynccontextmanager
async def serving(folder: Path, *apps: str, **settings: Any) -> AsyncIterator[Server]:
    url = f"sqlite:///{folder}/shop.db"
    listeners = tuple(Listener(app_id=app, grpc_port=0, http_port=None) for app in apps or ("shop",))
    server = Server(
        open_store(url), ServerSettings(listeners=listeners, store=url, **{"drain_seconds": 0.0, **settings})
    )
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def port(server: Server, which: int = 0) -> int:
    return server.listeners[which].grpc_port


def waited_for(server: Server) -> str:
    return repr(server.hosted.operations_of("shop"))


def scene(test: Callable[[Server, Peer], Awaitable[None]]) -> Callable[[Path], None]:
    """A test with a server and a peer that is connected to it."""

    def run(tmp_path: Path) -> None:
        async def play() -> None:
            async with serving(tmp_path) as server, Peer(port(server)) as peer:
                await test(server, peer)

        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scene
async def test_a_workflow_with_an_activity_runs_from_start_to_end(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("checkout", "order-1", "41")
    first = await work.turn()
    assert names(peer, first) == ["TurnStarted", "RunStarted"]
    assert (first.instance, list(first.past)) == ("order-1", [])
    await peer.answer(first, CHARGE, status=json('"charging"'))
    attempt = await work.activity()
    assert (attempt.name, text(attempt.input), attempt.number) == ("charge", "7", 1)
    await peer.finish(attempt, "42")
    second = await work.turn()
    assert names(peer, second, "past") == ["TurnStarted", "RunStarted", "ActivityScheduled"]
    assert names(peer, second) == ["TurnStarted", "ActivityCompleted"]
    await peer.answer(second, DONE)
    view = await peer.ended(id)
    assert (view.status, text(view.input), text(view.output)) == ("completed", "41", '"done"')
    assert text(view.custom_status) == '"charging"'


@scene
async def test_who_waits_for_an_end_is_told_how_it_began(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("checkout", "order-1", "41")
    waiting = asyncio.ensure_future(peer.ended(id))
    begun = await work.turn()
    await until(lambda: "1 instances waited for" in waited_for(server))
    await peer.answer(begun, DONE)
    view = await waiting
    assert (view.status, text(view.input), text(view.output)) == ("completed", "41", '"done"')


@scene
async def test_who_waits_for_the_end_of_what_never_began_is_told_as_much(server: Server, peer: Peer) -> None:
    id = await peer.start("checkout", "order-1", "41")
    waiting = asyncio.ensure_future(peer.ended(id))
    await until(lambda: "1 instances waited for" in waited_for(server))
    await peer.terminate(id)
    view = await waiting
    assert (view.status, text(view.input)) == ("terminated", "41")


@scene
async def test_what_nobody_takes_waits_for_a_worker_in_the_store(server: Server, peer: Peer) -> None:
    ids = [await peer.start("checkout", f"order-{number}") for number in range(3)]
    await peer.raised(ids[0], "paid", "1")
    work = peer.work()
    turns = [await work.turn() for _ in ids]
    assert sorted(turn.instance for turn in turns) == ids
    (first,) = [turn for turn in turns if turn.instance == ids[0]]
    assert names(peer, first) == ["TurnStarted", "RunStarted", "EventRaised"]


@scene
async def test_a_worker_that_leaves_loses_nothing_and_its_late_answers_count_for_nothing(
    server: Server, peer: Peer
) -> None:
    gone = peer.work()
    id = await peer.start("checkout")
    lost = await gone.turn()
    gone.leave()
    work = peer.work()
    again = await work.turn()
    assert again.instance == id
    assert again.token != lost.token
    await peer.answer(lost, CompleteRun(number=-1, status="failed", failure=Failure("Late", "too late")))
    await peer.answer(again, CHARGE)
    attempt = await work.activity()
    await peer.finish(attempt, "1")
    await peer.finish(attempt, "2")
    last = await work.turn()
    assert [text(getattr(event, "result", None)) for event in events(peer, last)] == [None, "1"]
    await peer.answer(last, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_an_attempt_that_was_handed_out_again_may_end_at_either_worker(server: Server, peer: Peer) -> None:
    gone = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await gone.turn(), CHARGE)
    attempt = await gone.activity()
    gone.leave()
    work = peer.work()
    again = await work.activity()
    await peer.finish(attempt, '"by the first"')
    last = await work.turn()
    assert text(events(peer, last)[1].result) == '"by the first"'
    await peer.finish(again, '"by the second"')
    await peer.answer(last, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
@pytest.mark.long
async def test_a_worker_that_comes_and_goes_a_hundred_times_loses_nothing(server: Server, peer: Peer) -> None:
    ids = [await peer.start("checkout", f"order-{number}") for number in range(40)]
    for round in range(100):
        work = peer.work()
        turn = await work.turn()
        if round % 4 == 0:
            await peer.answer(turn, DONE)
        work.leave()
    steady = peer.work()

    async def serve() -> None:
        while True:
            await peer.answer(await steady.turn(60), DONE)

    serving = asyncio.create_task(serve())
    views = [await peer.ended(id) for id in ids]
    serving.cancel()
    assert {view.status for view in views} == {"completed"}


@scene
async def test_answers_without_a_token_find_their_work(server: Server, peer: Peer) -> None:
    import msgspec

    work = peer.work()
    id = await peer.start("checkout")
    await peer.answer(msgspec.structs.replace(await work.turn(), token=""), CHARGE)
    await peer.finish(msgspec.structs.replace(await work.activity(), token=""), "1")
    await peer.answer(msgspec.structs.replace(await work.turn(), token=""), DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_history_is_sent_once_to_a_worker_that_keeps_it(server: Server, peer: Peer) -> None:
    work = peer.work(capabilities=frozenset((Capability.STATEFUL_HISTORY,)))
    await peer.start("checkout")
    await peer.answer(await work.turn(), CHARGE)
    await peer.finish(await work.activity(), "1")
    second = await work.turn()
    assert (second.cached, len(second.past)) == (None, 3)
    await peer.answer(second, ScheduleActivity(number=2, name="charge"))
    await peer.finish(await work.activity(), "2")
    third = await work.turn()
    assert (third.cached, names(peer, third, "past")) == (3, ["TurnStarted", "ActivityCompleted", "ActivityScheduled"])
    work.leave()
    cold = await peer.work(capabilities=frozenset((Capability.STATEFUL_HISTORY,))).turn()
    assert (cold.cached, len(cold.past)) == (None, 6)


@scene
async def test_a_suspended_run_records_and_goes_on_when_it_is_resumed(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await work.turn(), CHARGE)
    attempt = await work.activity()
    await peer.suspend(id)
    await until(lambda: _is(peer, id, lambda view: view.is_suspended))
    await peer.finish(attempt, "1")
    await peer.raised(id, "paid")
    await peer.resume(id)
    turn = await work.turn()
    assert names(peer, turn)[-1] == "RunResumed"
    assert {"RunSuspended", "ActivityCompleted", "EventRaised"} < {*names(peer, turn, "past"), *names(peer, turn)}
    await peer.answer(turn, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_terminate_and_suspend_need_no_worker(server: Server, peer: Peer) -> None:
    waiting, held = await peer.start("checkout"), await peer.start("checkout")
    await peer.terminate(waiting, '"enough"')
    view = await peer.ended(waiting)
    assert (view.status, text(view.output)) == ("terminated", '"enough"')
    await peer.suspend(held)
    await until(lambda: _is(peer, held, lambda view: view.is_suspended))


@scene
async def test_terminate_does_not_wait_for_a_worker_that_does_not_answer(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("checkout")
    turn = await work.turn()
    await peer.terminate(id)
    assert (await peer.ended(id)).status == "terminated"
    await peer.answer(turn, DONE)
    assert (await peer.ended(id)).status == "terminated"


@scene
async def test_continue_as_new_keeps_events_in_order(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("loop", input="1")
    first = await work.turn()
    for number in range(3):
        await peer.raised(id, "tick", str(number))
    carried = EventRaised(name="tick", data=json("-1"))
    await peer.answer(first, ContinueRun(number=-1, input=json("2"), events=[carried]))
    seen: list[str | None] = []
    execution = ""
    while len(seen) < 4:
        turn = await work.turn()
        execution = turn.execution
        found = events(peer, turn)
        if not seen:
            assert isinstance(found[1], RunStarted)
            assert text(found[1].input) == "2"
        seen += [text(event.data) for event in found if isinstance(event, EventRaised)]
        await peer.answer(turn, *([DONE] if len(seen) == 4 else []))
    assert seen == ["-1", "0", "1", "2"]
    assert execution != first.execution
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_a_child_that_is_tried_again_under_its_number_and_id_runs_again(server: Server, peer: Peer) -> None:
    work = peer.work()
    parent = await peer.start("parent")
    child = CreateChild(number=1, name="child", instance="kid")
    await peer.answer(await work.turn(), child)
    failed = await work.turn()
    assert failed.instance == "kid"
    await peer.answer(failed, CompleteRun(number=-1, status="failed", failure=Failure("Oops", "first try")))
    told = await work.turn()
    assert events(peer, told)[1].failure.type == "Oops"
    await peer.answer(told, child)
    again = await work.turn()
    assert again.instance == "kid"
    assert again.execution != failed.execution
    await peer.answer(again, DONE)
    await peer.answer(await work.turn(), DONE)
    assert (await peer.ended(parent)).status == "completed"


@scene
async def test_a_missing_version_stalls_until_another_worker_comes(server: Server, peer: Peer) -> None:
    old = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await old.turn(), ReportMissingVersion(number=-1))
    await until(lambda: _is(peer, id, lambda view: view.is_stalled))
    old.leave()
    new = peer.work()
    await peer.answer(await new.turn(), DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_an_event_goes_from_one_run_to_another(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("receiver", "receiver")
    await peer.answer(await work.turn())
    await peer.start("sender", "sender")
    await peer.answer(await work.turn(), SendEvent(number=1, instance="receiver", name="hi", data=json("5")), DONE)
    turn = await work.turn()
    assert (turn.instance, text(events(peer, turn)[1].data)) == ("receiver", "5")


@scene
async def test_a_timer_that_is_due_fires_at_once(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("sleeper")
    await peer.answer(await work.turn(), CreateTimer(number=1, due=0))
    assert names(peer, await work.turn()) == ["TurnStarted", "TimerFired"]


@scene
async def test_what_clients_get_wrong_is_refused_with_a_status(server: Server, peer: Peer) -> None:
    async def refused(work: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await work
        assert "Traceback" not in (error.value.details() or "")
        return error.value.code(), error.value.details() or ""

    code = grpc.StatusCode
    assert (await refused(peer.start("")))[0] == code.INVALID_ARGUMENT
    assert (await refused(peer.start("x", "@entity@1")))[0] == code.INVALID_ARGUMENT
    assert (await refused(peer.call("StartInstance", b"\xff\xff\xff")))[0] == code.INVALID_ARGUMENT
    assert (await refused(peer.call("NoSuchCall")))[0] == code.UNIMPLEMENTED
    await peer.start("x", "taken")
    assert (await refused(peer.start("x", "taken")))[0] == code.ALREADY_EXISTS
    status, words = await refused(peer.raised("nobody", "e"))
    assert status == code.NOT_FOUND
    assert "no such instance exists" in words
    assert await peer.view("nobody") is None


def test_a_new_server_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            work = peer.work()
            id = await peer.start("checkout")
            await peer.answer(await work.turn(), CHARGE)
            attempt = await work.activity()
            await server.close()
            assert await work.status() == grpc.StatusCode.UNAVAILABLE
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            await peer.finish(attempt, '"told to the new server"')
            work = peer.work()
            last = await work.turn()
            assert text(events(peer, last)[1].result) == '"told to the new server"'
            await peer.answer(last, DONE)
            assert (await peer.ended(id)).status == "completed"

    asyncio.run(play())


def test_answers_may_come_to_a_server_that_stands_by(tmp_path: Path) -> None:
    """As behind a proxy that sends each request where it likes."""

    async def play() -> None:
        async with (
            serving(tmp_path) as owner,
            serving(tmp_path) as standby,
            Peer(port(owner)) as peer,
            Peer(port(standby)) as other,
        ):
            assert (owner.is_ready, standby.is_ready) == (True, False)
            refused = other.work()
            assert await refused.status() == grpc.StatusCode.UNAVAILABLE
            work = peer.work()
            id = await other.start("checkout")
            await other.answer(await work.turn(), CHARGE)
            await other.finish(await work.activity(), "1")
            last = await work.turn()
            await other.raised(id, "too late to matter")
            await other.answer(last, DONE)
            assert (await other.ended(id)).status == "completed"

    asyncio.run(play())


@pytest.mark.parametrize("by_the_owner", [(), (0,), (2,)])
def test_parts_of_an_answer_may_come_to_different_servers(tmp_path: Path, by_the_owner: tuple[int, ...]) -> None:
    """The one that reaches the owner may be there before one that was sent earlier."""

    async def play() -> None:
        async with (
            serving(tmp_path) as owner,
            serving(tmp_path) as standby,
            Peer(port(owner), MICROSOFT) as peer,
            Peer(port(standby), MICROSOFT) as other,
        ):
            work = peer.work(turns_max=1, activities_max=3)
            await peer.start("checkout")
            turn = await work.turn()
            parts = [[ScheduleActivity(number=1, name="one")], [ScheduleActivity(number=2, name="two")], []]
            for place, part in enumerate(parts):
                at = peer if place in by_the_owner else other
                await at.answer(turn, *part, is_partial=place < 2, chunk=place)
            assert [(await work.activity()).name for _ in range(2)] == ["one", "two"]

    asyncio.run(play())


def test_apps_of_one_server_call_each_other(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            serving(tmp_path, "shop", "lab") as server,
            Peer(port(server)) as shop,
            Peer(port(server, 1)) as lab,
        ):
            work, theirs = shop.work(), lab.work()
            id = await shop.start("checkout")
            first = await work.turn()
            await shop.answer(
                first,
                ScheduleActivity(number=1, name="measure", router=Router(target_app="lab")),
                CreateChild(number=2, name="analyse", router=Router(target_app="lab")),
            )
            found = {type(item).__name__: item for item in (await theirs.next(), await theirs.next())}
            await lab.finish(found["ActivityItem"], "3")  # type: ignore[arg-type]
            child = await lab.view(found["TurnItem"].instance)
            assert child is not None
            assert (child.parent, child.parent_app) == (id, "shop")
            await lab.answer(found["TurnItem"], DONE)  # type: ignore[arg-type]
            seen: list[str] = []
            while len(seen) < 2:
                turn = await work.turn()
                seen += names(shop, turn)[1:]
                await shop.answer(turn, *([DONE] if len(seen) == 2 else []))
            assert sorted(seen) == ["ActivityCompleted", "ChildCompleted"]
            assert (await shop.ended(id)).status == "completed"

    asyncio.run(play())


def test_a_worker_calls_no_app_that_its_port_does_not_open(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            serving(tmp_path, api_token=Token("own"), all_apps_token=Token("every")) as server,
            Peer(port(server), metadata=(("dapr-api-token", "own"),)) as shop,
            Peer(port(server), metadata=(("dapr-api-token", "every"), ("dapr-app-id", "bank"))) as bank,
        ):
            theirs = bank.work()
            await bank.start("waiting", "waiting")
            await bank.answer(await theirs.turn())
            work = shop.work()
            id = await shop.start("checkout")
            route = Router(target_app="bank")
            await shop.answer(
                await work.turn(),
                ScheduleActivity(number=1, name="pay", router=route),
                CreateChild(number=2, name="audit", router=route),
                CreateDetached(number=3, name="audit", instance="apart", router=route),
                SendEvent(number=4, instance="waiting", name="hi", router=route),
            )
            told: list[Any] = []
            while len(told) < 2:
                turn = await work.turn()
                told += events(shop, turn)[1:]
                await shop.answer(turn, *([DONE] if len(told) == 2 else []))
            assert {(type(event).__name__, event.failure.type) for event in told} == {
                ("ActivityFailed", "NotPermitted"),
                ("ChildFailed", "NotPermitted"),
            }
            assert (await shop.ended(id)).status == "completed"
            assert await bank.view("apart") is None
            assert await theirs.is_silent()

    asyncio.run(play())


def test_a_worker_with_the_token_for_all_apps_calls_any(tmp_path: Path) -> None:
    async def play() -> None:
        every = ("dapr-api-token", "every")
        async with (
            serving(tmp_path, api_token=Token("own"), all_apps_token=Token("every")) as server,
            Peer(port(server), metadata=(every,)) as shop,
            Peer(port(server), metadata=(every, ("dapr-app-id", "bank"))) as bank,
        ):
            work, theirs = shop.work(), bank.work()
            await shop.start("checkout")
            pay = ScheduleActivity(number=1, name="pay", router=Router(target_app="bank"))
            await shop.answer(await work.turn(), pay)
            await bank.finish(await theirs.activity(), "1")
            await shop.answer(await work.turn(), DONE)

    asyncio.run(play())


def test_a_port_with_a_token_asks_for_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            serving(tmp_path, api_token=Token("secret")) as server,
            Peer(port(server)) as stranger,
            Peer(port(server), metadata=(("dapr-api-token", "secret"),)) as friend,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stranger.start("x")
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert await stranger.work().status() == grpc.StatusCode.UNAUTHENTICATED
            assert await friend.start("x")

    asyncio.run(play())


def test_a_drain_waits_for_what_workers_have_in_hand(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, drain_seconds=10.0) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=5)
            id = await peer.start("checkout")
            turn = await work.turn()
            closing = asyncio.create_task(server.close())
            await asyncio.sleep(0.1)
            assert not closing.done()
            await peer.answer(turn, DONE)
            await closing
            assert await work.status() == grpc.StatusCode.UNAVAILABLE
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            assert (await peer.ended(id)).status == "completed"

    asyncio.run(play())


def test_who_waits_at_a_server_that_stops_is_told_to_ask_again(tmp_path: Path) -> None:
    """Not that the call was cancelled, which a client takes for its own doing."""

    async def play() -> grpc.StatusCode:
        async with serving(tmp_path, drain_seconds=0.0) as server, Peer(port(server), MICROSOFT) as peer:
            id = await peer.start("checkout")
            waiting = asyncio.create_task(peer.view(id, "WaitForInstanceCompletion"))
            operations = server.hosted.operations_of("shop")
            await until(lambda: operations is not None and len(operations.waiters) > 0)
            await server.close()
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await waiting
            return error.value.code()

    assert asyncio.run(play()) == grpc.StatusCode.UNAVAILABLE


async def _is(peer: Peer, id: str, check: Callable[[Any], bool]) -> bool:
    view = await peer.view(id)
    return view is not None and check(view)


def test_an_end_of_an_attempt_that_cannot_be_written_is_not_waited_for_until_its_lease_is_over() -> None:
    async def play() -> str | None:
        store = Full()
        listeners = (Listener(app_id="shop", grpc_port=0, http_port=None),)
        server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0))
        await server.open()
        try:
            async with Peer(port(server)) as peer:
                work = peer.work()
                await peer.start("checkout", "order-1")
                await peer.answer(await work.turn(), CHARGE)
                attempt = await work.activity()
                store.has_room = False
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await peer.finish(attempt, "42")
                assert "no room" in str(refused.value.details())
                store.has_room = True
                turn = await work.turn()
                await peer.finish(attempt, "43")  # as a worker does that tells it again
                assert names(peer, turn)[-1] == "ActivityCompleted"
                await peer.answer(turn, DONE)
                assert text(events(peer, turn)[-1].result) == "42"
                return (await peer.ended("order-1")).status
        finally:
            await server.close()

    assert asyncio.run(play()) == "completed"


def test_a_late_end_that_cannot_be_written_ends_the_attempt_wherever_that_is() -> None:
    """A worker that had lost the attempt tells its end to a full store: whoever has it now is not waited for."""

    async def play() -> str | None:
        store = Full()
        listeners = (Listener(app_id="shop", grpc_port=0, http_port=None),)
        server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0))
        await server.open()
        try:
            async with Peer(port(server)) as peer, Peer(port(server)) as other:
                work = peer.work()
                await peer.start("checkout", "order-1")
                await peer.answer(await work.turn(), CHARGE)
                attempt = await work.activity()
                work.leave()
                work = other.work()
                await work.activity()
                store.has_room = False
                with pytest.raises(grpc.aio.AioRpcError, match="no room"):
                    await peer.finish(attempt, "42")
                store.has_room = True
                turn = await work.turn()
                assert text(events(other, turn)[-1].result) == "42"
                await other.answer(turn, DONE)
                return (await other.ended("order-1")).status
        finally:
            await server.close()

    assert asyncio.run(play()) == "completed"


def test_an_end_that_is_told_by_a_worker_which_dies_then_is_the_end() -> None:
    """A worker is killed while its answer is on its way to the disk: nobody makes the attempt again."""

    async def play() -> None:
        store = Slow()
        listeners = (Listener(app_id="shop", grpc_port=0, http_port=None),)
        server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0))
        await server.open()
        try:
            async with Peer(port(server)) as other:
                async with Peer(port(server)) as peer:
                    work = peer.work()
                    await peer.start("checkout", "order-1")
                    await peer.answer(await work.turn(), CHARGE)
                    telling = asyncio.create_task(peer.finish(await work.activity(), "42"))
                    await store.is_writing.wait()
                    telling.cancel()
                    work.leave()
                await until(lambda: not server.hosted.dispatcher.streams)
                work = other.work()
                await until(lambda: server.hosted.dispatcher.streams)
                store.may_end.set()
                turn = await work.turn()
                assert names(other, turn)[-1] == "ActivityCompleted"
                await other.answer(turn, DONE)
                assert (await other.ended("order-1")).status == "completed"
        finally:
            await server.close()

    asyncio.run(play())


class Slow(MemoryStore):
    """A store that writes ends of attempts when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing = asyncio.Event()
        self.may_end = asyncio.Event()

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        self.is_writing.set()
        await self.may_end.wait()
        return await super().report(shard, reports)


class Full(MemoryStore):
    """A store that has no room for ends of attempts while it is told so."""

    has_room = True

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        if not self.has_room:
            raise StoreFull("no room is left")
        return await super().report(shard, reports)
