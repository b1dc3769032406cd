"""What an autoscaler is told, from rows and beats; and what apps of real workflows need of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import App, Client, wait_for_event
from perdure.app import open_store
from perdure.clock import SECOND, SystemClock
from perdure.engine.load import SOON_SECONDS, Load, load, load_of
from perdure.stores.contract import Backlog, Member

IDLE = Backlog(unfinished=9, offered=0, oldest=None, claimed=0)


def told(members: list[Member] | None = None, in_line: int = 0, **counts: int) -> Load:
    fields = {"unfinished": 9, "offered": 0, "oldest": None, "claimed": 0, **counts}
    return load("shop", Backlog(**fields), members or [], 10 * SECOND, in_line)


@pytest.mark.parametrize(
    "counts",
    [{"ready": 1}, {"offered": 1}, {"claimed": 1}, {"calls": 1}, {"in_line": 1}],
    ids=lambda one: next(iter(one)),
)
def test_whatever_there_is_to_do_needs_a_node(counts: dict[str, int]) -> None:
    assert not told().is_active, "what sleeps, or waits for an event, needs none"
    found = told(**counts)
    assert (found.is_active, found.waiting, found.measure(100)) == (True, 1, 1)


def test_what_nodes_that_live_have_in_hand_does_not_wait() -> None:
    node = Member("a", slots=10)
    assert told([node], calls=500, claimed=20).waiting == 0
    assert told([node], calls=500, claimed=20).is_active
    assert told([node], ready=3, offered=4).waiting == 7
    assert told([Member("a", has_code=False)], calls=500, claimed=20).waiting == 520, "it cannot run them"


def test_a_turn_that_waits_in_line_is_the_mail_that_waits_in_the_store() -> None:
    assert told(ready=5, in_line=5).waiting == 5
    assert told(ready=0, in_line=5).waiting == 5, "attempts are no mail"


@pytest.mark.parametrize(
    "busy, waiting, nodes",
    [((0, 0), 0, 0), ((10, 10), 0, 2), ((10, 0), 0, 1), ((3, 2), 0, 1), ((10, 10), 1, 3), ((10, 10), 250, 5)],
)
def test_nodes_at_work_count_as_much_as_what_may_wait_for_them(busy: tuple[int, int], waiting: int, nodes: int) -> None:
    members = [Member(f"n{number}", slots=10, busy=count) for number, count in enumerate(busy)]
    measure = told([*members, Member("server", has_code=False, slots=99, busy=99)], offered=waiting).measure(100)
    assert -(-measure // 100) == nodes, "KEDA rounds up"


def test_the_age_is_that_of_what_waits_longest() -> None:
    assert told().oldest_seconds == 0
    assert told(ready=1, since=4 * SECOND).oldest_seconds == 6
    assert told(ready=1, since=4 * SECOND, offered=1, oldest=3 * SECOND).oldest_seconds == 7
    assert told(ready=1, since=12 * SECOND).oldest_seconds == 0, "it is due soon"


def an_app(url: str) -> App:
    app = App("shop", store=url, drain_seconds=0.0)

    @app.activity
    async def endless() -> None:
        await asyncio.Event().wait()

    @app.workflow
    async def calls() -> None:
        await endless()

    @app.workflow
    async def sleeps(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @app.workflow
    async def waits() -> None:
        await wait_for_event("go")

    return app


def left_by(folder: Path, name: str, *args: object) -> Load:
    """The load after a node has run the workflow for a while and left."""
    url = f"sqlite:///{folder}/{name}.db"

    async def play() -> Load:
        async with an_app(url) as app:
            handle = await app.client.workflow(name).with_options(id="i").start(*args)
            while (await handle.explain()).cause not in ("activity", "timer", "event"):
                await asyncio.sleep(0.005)
        store = open_store(url)
        await store.open()
        try:
            return await load_of(store, "shop", SystemClock().now())
        finally:
            await store.close()

    return asyncio.run(play())


def test_what_only_sleeps_for_a_week_needs_no_node(tmp_path: Path) -> None:
    found = left_by(tmp_path, "sleeps", 7 * 86_400.0)
    assert (found.is_active, found.waiting, found.unfinished) == (False, 0, 1)


def test_what_waits_for_an_event_needs_none_until_it_comes(tmp_path: Path) -> None:
    found = left_by(tmp_path, "waits")
    assert (found.is_active, found.unfinished) == (False, 1)

    async def raised() -> Load:
        url = f"sqlite:///{tmp_path}/waits.db"
        async with Client(url) as client:
            await client.get("i").raise_event("go", None)
        store = open_store(url)
        await store.open()
        try:
            return await load_of(store, "shop", SystemClock().now())
        finally:
            await store.close()

    found = asyncio.run(raised())
    assert (found.is_active, found.ready) == (True, 1)


def test_what_wakes_soon_and_what_a_node_has_left_undone_need_one(tmp_path: Path) -> None:
    soon = left_by(tmp_path, "sleeps", SOON_SECONDS - 5)
    assert (soon.is_active, soon.ready) == (True, 1)
    undone = left_by(tmp_path, "calls")
    assert (undone.is_active, undone.calls, undone.nodes) == (True, 1, 0)
