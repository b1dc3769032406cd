"""kill -9 of workers and of the server in mid-run: every workflow ends with its result, and no effect is missing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure import Client
from tests.remote.native.processes import Process, ServerProcess

pytestmark = pytest.mark.long

PROGRAM = Path(__file__).with_name("worker_program.py")
SECONDS = 45.0


class Scene:
    """One server, workers as they are started, and the ledger of their effects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerProcess(folder)
        self.ledger = folder / "ledger"
        self.workers: list[Process] = []

    def worker(self) -> Process:
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Process(log, sys.executable, str(PROGRAM), self.server.url, str(self.ledger))
        self.workers.append(worker)
        worker.until("ready")
        return worker

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []

    async def until(self, count: int) -> None:
        """Wait until the ledger has so many lines."""
        while len(self.lines()) < count:
            await asyncio.sleep(0.005)

    def effects(self) -> list[str]:
        """The keys of the effects that have happened."""
        return [words[1] for words in self.lines() if words[0] == "end"]

    def play(self, scenario: Callable[[Client], object]) -> None:
        async def within() -> None:
            async with asyncio.timeout(SECONDS), Client(self.server.url) as client:
                await scenario(client)  # type: ignore[misc]

        asyncio.run(within())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    for worker in scene.workers:
        worker.kill()
    scene.server.process.kill()


def test_a_worker_dies_in_mid_run_and_another_goes_on(scene: Scene) -> None:
    first = scene.worker()

    async def scenario(client: Client) -> None:
        handles = [await client.workflow("chain").with_options(id=f"c{n}").start(20) for n in range(5)]
        await scene.until(40)
        first.kill()
        scene.worker()
        assert [await handle.result() for handle in handles] == [sum(range(20))] * 5

    scene.play(scenario)
    assert len(set(scene.effects())) == 100
    # because an attempt that was under way when its worker died is made again, and no other is
    assert len(scene.effects()) <= 100 + 5


def test_workers_die_again_and_again(scene: Scene) -> None:
    async def scenario(client: Client) -> None:
        handle = await client.workflow("wide").start(200)
        for lines in (40, 150, 260):
            worker = scene.worker()
            await scene.until(lines)
            worker.kill()
        scene.worker()
        assert await handle.result() == sum(range(200))

    scene.play(scenario)
    assert len(set(scene.effects())) == 200


def test_the_server_dies_in_mid_run_and_the_worker_finds_it_again(scene: Scene) -> None:
    worker = scene.worker()

    async def scenario(client: Client) -> None:
        handles = [await client.workflow("chain").with_options(id=f"c{n}").start(20) for n in range(5)]
        for lines in (30, 90):
            await scene.until(lines)
            scene.server.kill_and_restart()
        assert [await handle.result() for handle in handles] == [sum(range(20))] * 5

    scene.play(scenario)
    assert len(set(scene.effects())) == 100
    assert {words[3] for words in scene.lines()} == {str(worker.pid)}
    assert len(scene.effects()) <= 100 + 2 * 5


def test_an_attempt_outlives_its_server(scene: Scene) -> None:
    worker = scene.worker()

    async def scenario(client: Client) -> None:
        handle = await client.workflow("patient").start(2.0)
        await scene.until(1)
        scene.server.kill_and_restart()
        assert await handle.result() == worker.pid

    scene.play(scenario)
    assert [words[1] for words in scene.lines()] == ["begin", "end"]


def test_a_heartbeat_that_a_new_server_does_not_know_cancels_nothing(scene: Scene) -> None:
    worker = scene.worker()

    async def scenario(client: Client) -> None:
        handle = await client.workflow("beats").start(3.0)
        await scene.until(1)
        scene.server.kill_and_restart()
        assert await handle.result() == worker.pid

    scene.play(scenario)
    assert len(scene.lines()) == 1


def test_a_stream_goes_on_through_the_death_of_its_server(scene: Scene) -> None:
    scene.worker()

    async def scenario(client: Client) -> None:
        handle = await client.workflow("speaks").start(300)
        for lines in (60, 180):
            await scene.until(lines)
            scene.server.kill_and_restart()
        assert await handle.result() == 300
        assert [item async for item in handle.stream("words", int)] == list(range(300))

    scene.play(scenario)
    assert [words[:2] for words in scene.lines() if words[0] == "words"] == [["words", "begin"]]
    assert len(scene.lines()) == 301


def test_a_worker_that_is_told_to_stop_ends_what_it_does_first(scene: Scene) -> None:
    first = scene.worker()

    async def scenario(client: Client) -> None:
        handle = await client.workflow("patient").start(0.5)
        await scene.until(1)
        scene.worker()
        await asyncio.to_thread(first.stop)
        assert await handle.result() == first.pid

    scene.play(scenario)
    assert "drained" in first.output
    assert [words[1] for words in scene.lines()] == ["begin", "end"]


def test_a_client_waits_through_the_death_of_the_server(scene: Scene) -> None:
    scene.worker()

    async def scenario(client: Client) -> None:
        handle = await client.workflow("waits").start()
        waiting = asyncio.create_task(handle.result())
        await handle.raise_event("one", "a")
        await asyncio.to_thread(scene.server.kill_and_restart)
        await handle.raise_event("two", "b")
        assert await waiting == ["a", "b"]

    scene.play(scenario)
