"""Work that kills its workers: it is found by deaths, runs alone, and is handed out no more; neighbours go on."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from perdure.history.work import Stall
from perdure.remote.dispatch import suspects
from perdure.remote.dispatch.suspects import BLAME_SECONDS, CLEARING_SECONDS
from perdure.remote.dispatch.work import Kind
from tests.remote.dispatch.test_dispatcher import Piece, World
from tests.remote.native.processes import Process, ServerProcess


class Suspect(Piece):
    """Work that notes its conviction."""

    convicted: Stall | None = None

    def convict(self, stall: Stall) -> None:
        self.convicted = stall


def die(world: World, name: str, seconds: float = 1.0) -> None:
    """A worker comes, has what waits for a while, and dies."""
    worker = world.worker(name)
    world.pass_time(seconds)
    world.dispatcher.disconnect(worker)


def test_who_kills_every_worker_is_found_and_the_others_are_not():
    world = World(quarantines=True)
    killer, others = Suspect("killer", Kind.ACTIVITY), [Suspect(f"other {n}", Kind.ACTIVITY) for n in range(3)]
    world.submit(killer, *others)
    for life in ("a", "b"):
        die(world, life)
    assert [piece.need.alone for piece in (killer, *others)] == [True] * 4
    answered: set[str] = set()
    for life in range(20):
        worker = world.worker(f"life {life}")
        while worker.in_flight:
            (token, work), *more = worker.in_flight.items()
            assert not more  # because each of them runs alone now
            if work is killer:
                world.dispatcher.disconnect(worker)
                break
            answered.add(work.need.name)
            world.dispatcher.answered(token)
        if killer.convicted is not None:
            break
        world.pass_time(1.0)
    assert killer.convicted is not None
    assert killer.convicted.reason == "quarantined"
    assert "4 workers in a row died within 60 s of getting the activity killer (call 7)" in killer.convicted.description
    for worker in list(world.dispatcher.streams):
        world.dispatcher.disconnect(worker)
    left = world.worker("last")
    while left.in_flight:
        token, work = next(iter(left.in_flight.items()))
        answered.add(work.need.name)
        world.dispatcher.answered(token)
    assert answered == {"other 0", "other 1", "other 2"}
    assert [piece.convicted for piece in others] == [None] * 3


def test_a_worker_that_leaves_or_is_let_go_has_not_died():
    world = World(quarantines=True)
    piece = Suspect()
    world.submit(piece)
    for number in range(6):
        worker = world.worker(f"worker {number}")
        if number % 2:
            worker.take_leave()
        else:
            worker.is_let_go = True
        world.dispatcher.disconnect(worker)
    assert (piece.deaths, piece.convicted) == (0, None)


def test_who_had_it_for_long_did_not_die_of_it():
    world = World(quarantines=True)
    piece = Suspect()
    world.submit(piece)
    for number in range(6):
        die(world, f"worker {number}", BLAME_SECONDS + 1)
    assert (piece.deaths, piece.need.alone, piece.convicted) == (0, False, None)
    for number in range(3):
        die(world, f"short {number}")
    assert (piece.deaths, piece.need.alone) == (3, True)
    die(world, "long", BLAME_SECONDS + 1)
    assert (piece.deaths, piece.deaths_alone, piece.need.alone) == (0, 0, False)


def test_a_busy_worker_is_cleared_for_a_suspect_and_not_for_ever():
    world = World(quarantines=True)
    suspect = Suspect("suspect")
    world.submit(suspect)
    for life in ("a", "b"):
        die(world, life)
    long = Suspect("long", Kind.ACTIVITY)
    idle_first = world.worker("worker")
    assert list(idle_first.in_flight.values()) == [suspect]
    new = Suspect("new", Kind.ACTIVITY)
    world.submit(new)
    assert new.is_queued  # because the suspect has the worker alone
    world.dispatcher.disconnect(idle_first)
    world.submit(long)
    busy = world.worker("busy")
    assert suspect in busy.in_flight.values()
    world.dispatcher.answered(suspect.token)
    assert {work.need.name for work in busy.in_flight.values()} == {"new", "long"}
    again = Suspect("again")
    again.deaths, again.need = 2, again.need._replace(alone=True)
    world.submit(again)
    world.dispatcher.tick()
    late = Suspect("late", Kind.ACTIVITY)
    world.submit(late)
    assert (late.is_queued, again.is_queued) == (True, True)  # because the worker is being cleared
    world.pass_time(CLEARING_SECONDS)
    world.dispatcher.tick()
    assert again in busy.in_flight.values()
    world.dispatcher.disconnect(busy)
    assert (again.deaths, again.deaths_alone) == (3, 0)  # because it was not alone


def test_a_lane_that_lasts_is_shared_again():
    world = World(quarantines=True)
    suspect, other = Suspect("suspect"), Suspect("other")
    world.submit(suspect)
    for life in ("a", "b"):
        die(world, life)
    worker = world.worker("worker")
    world.submit(other)
    assert other.is_queued
    world.pass_time(BLAME_SECONDS + 1)
    world.dispatcher.tick()
    assert set(worker.in_flight.values()) == {suspect, other}


def test_without_it_workers_die_for_ever():
    world = World()
    piece = Suspect()
    world.submit(piece)
    for number in range(20):
        die(world, f"worker {number}")
    assert (piece.convicted, len(piece.given)) == (None, 20)


PROGRAM = """
import os
from perdure import App
app = App("shop")

@app.activity
async def kills() -> None:
    os._exit(9)

@app.activity
async def adds(x: int) -> int:
    return x + 1

@app.workflow
async def killer() -> None:
    await kills()

@app.workflow
async def healthy(x: int) -> int:
    for _ in range(5):
        x = await adds(x)
    return x
"""


@pytest.mark.long
@pytest.mark.timeout(200)
def test_an_activity_that_ends_its_worker_stands_still_and_says_why(tmp_path: Path):
    (tmp_path / "shop.py").write_text(PROGRAM)
    server = ServerProcess(tmp_path, "shop", "--quarantine-workers")
    deaths = 0

    async def begin() -> None:
        async with Client(server.url) as client:
            await client.workflow("killer").with_options(id="killer").start()
            for number in range(5):
                await client.workflow("healthy").with_options(id=f"healthy {number}").start(number)

    async def stalled() -> Any:
        async with Client(server.url) as client:
            return (await client.get("killer").state()).stalled

    async def end() -> tuple[str, list[int]]:
        async with Client(server.url) as client:
            told = await client.get("killer").explain()
            return told.sentence, [await client.get(f"healthy {n}").result(timeout=30) for n in range(5)]

    def worker() -> Process:
        words = ("-m", "perdure", "worker", "shop:app", "--server", f"127.0.0.1:{server.port}")
        return Process(tmp_path / f"worker-{deaths}.log", sys.executable, *words)

    asyncio.run(begin())
    running = worker()
    try:
        while asyncio.run(stalled()) is None:
            if running._process.poll() is not None:
                deaths += 1
                assert deaths <= 8
                running = worker()
            time.sleep(0.05)
        if running._process.poll() is not None:
            running = worker()
        sentence, results = asyncio.run(end())
    finally:
        running.kill()
        server.stop()
    assert deaths + 1 >= suspects.DEATHS_SUSPECT + suspects.DEATHS_ALONE_MAX
    assert "died within 60 s of getting the activity kills" in sentence
    assert results == [n + 5 for n in range(5)]
