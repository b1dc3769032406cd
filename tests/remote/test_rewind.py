"""Runs that failed and are taken back, as Microsoft's clients ask for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from perdure import App, WorkflowFailed
from perdure.history.actions import CompleteRun, CreateChild, ScheduleActivity
from perdure.history.events import Failure, RunRewound
from perdure.remote.server import Server
from perdure.remote.wire.codec import MICROSOFT
from tests.remote.peer import Peer, events, names, text
from tests.remote.test_server import CHARGE, DONE, port, serving

OOPS = Failure(type="Oops", message="no")
FAILED = CompleteRun(number=-1, status="failed", failure=OOPS)


def _text(number: int, value: str) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value.encode()


async def rewind(peer: Peer, id: str, reason: str = '"again"') -> None:
    wrapped = _text(1, reason)
    await peer.call("RewindInstance", _text(1, id) + bytes([0x12, len(wrapped)]) + wrapped)


def scene(test: Any) -> Any:
    def run(tmp_path: Path) -> None:
        async def play() -> None:
            async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
                await test(server, peer)

        asyncio.run(play())

    run.__name__ = test.__name__
    return run


@scene
async def test_the_activity_that_failed_is_tried_again_and_the_run_goes_on(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10, activities_max=10)
    id = await peer.start("checkout", input="1")
    await peer.answer(await work.turn(), CHARGE, ScheduleActivity(number=2, name="pack"))
    attempts = {item.name: item for item in (await work.activity(), await work.activity())}
    await peer.finish(attempts["pack"], '"packed"')
    await peer.answer(await work.turn())
    await peer.finish(attempts["charge"], failure=OOPS)
    await peer.answer(await work.turn(), FAILED)
    assert (await peer.ended(id)).status == "failed"

    await rewind(peer, id)
    again = await work.activity()
    assert (again.name, text(again.input)) == ("charge", "7")
    view = await peer.view(id)
    assert view is not None
    assert (view.status, view.failure, view.finished, text(view.input)) == ("running", None, None, "1")
    await peer.finish(again, "1")
    last = await work.turn()
    assert names(peer, last) == ["TurnStarted", "ActivityCompleted"]
    assert names(peer, last, "past") == [
        *("TurnStarted", "RunStarted", "ActivityScheduled", "ActivityScheduled"),
        *("TurnStarted", "ActivityCompleted", "TurnStarted", "RunRewound"),
    ]
    (mark,) = [event for event in events(peer, last, "past") if isinstance(event, RunRewound)]
    assert text(mark.reason) == '"again"'
    await peer.answer(last, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_a_run_that_failed_by_itself_takes_its_last_turn_again(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    id = await peer.start("checkout", input="1")
    await peer.answer(await work.turn(), FAILED)
    await peer.ended(id)
    await rewind(peer, id)
    first = await work.turn()
    assert names(peer, first) == ["TurnStarted", "RunStarted"]
    await peer.answer(first, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_children_are_taken_back_with_their_parent_or_begin_anew(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10, activities_max=10)
    id = await peer.start("parent")
    children = [
        CreateChild(number=n, name="child", instance=name) for n, name in enumerate(("fails", "ends", "goes"), 1)
    ]
    await peer.answer(await work.turn(), *children)
    turns = {turn.instance: turn for turn in [await work.turn() for _ in children]}
    await peer.answer(turns["fails"], CHARGE)
    await peer.finish(await work.activity(), failure=OOPS)
    await peer.answer(await work.turn(), FAILED)
    await peer.answer(await work.turn(), FAILED)  # the parent, at the failure of its child
    await peer.ended(id)
    await peer.answer(turns["ends"], CompleteRun(number=-1, status="completed"))
    await peer.ended("ends")
    await peer.terminate("goes")
    await peer.ended("goes")

    await rewind(peer, id)
    seen: list[str] = []
    is_done = False
    while not is_done:
        item: Any = await work.next()
        if hasattr(item, "name"):
            await peer.finish(item, "1")
        elif item.instance == id:
            seen += names(peer, item)[1:]
            is_done = len(seen) == 3
            await peer.answer(item, *([DONE] if is_done else []))
        else:
            await peer.answer(item, DONE)
    assert seen == ["ChildCompleted"] * 3
    assert (await peer.ended(id)).status == "completed"


@scene
async def test_only_what_failed_is_rewound(server: Server, peer: Peer) -> None:
    async def status(id: str) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rewind(peer, id)
        code: grpc.StatusCode = refused.value.code()
        return code

    assert await status("nobody") == grpc.StatusCode.NOT_FOUND
    id = await peer.start("checkout")
    assert await status(id) == grpc.StatusCode.FAILED_PRECONDITION
    await peer.terminate(id)
    await peer.ended(id)
    assert await status(id) == grpc.StatusCode.FAILED_PRECONDITION


def test_a_rewound_run_survives_the_end_of_its_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=10, activities_max=10)
            id = await peer.start("checkout")
            await peer.answer(await work.turn(), CHARGE)
            await peer.finish(await work.activity(), failure=OOPS)
            await peer.answer(await work.turn(), FAILED)
            await peer.ended(id)
            await rewind(peer, id)
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=10, activities_max=10)
            await peer.finish(await work.activity(), "1")
            await peer.answer(await work.turn(), DONE)
            assert (await peer.ended(id)).status == "completed"

    asyncio.run(play())


def test_a_run_of_our_own_worker_is_taken_back_too(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            app = App("shop", server=f"grpc://127.0.0.1:{port(server)}")
            broken = True

            @app.activity
            async def pay(amount: int) -> int:
                if broken:
                    raise ValueError("no money")
                return amount

            @app.workflow
            async def order(amount: int) -> int:
                return await pay(1) + await pay(amount)

            async with app:
                handle = await order.start(5)
                with pytest.raises(WorkflowFailed):
                    await handle.result()
                broken = False
                await rewind(peer, handle.id)
                assert await handle.result() == 6

    asyncio.run(play())
