"""Two server processes on one store, behind a proxy: the owner is killed in mid-run, and every workflow ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from perdure import App, Client, Retry, activity_context
from perdure.history.actions import CompleteRun, ScheduleActivity
from perdure.remote.requests import ActivityItem, TurnItem
from perdure.remote.wire.payloads import payload_of
from tests.remote.balancers import ConnectionBalancer, RequestBalancer
from tests.remote.peer import Peer, Stream, events, text

INSTANCES = 30
STEPS = 4
BEAT_SECONDS = 0.6
BEATS = 5
"""Every second one comes to the server that stands by, and without it the others are too rare."""
AGAIN_SECONDS = 0.05
TRIES_MAX = 200


class Process:
    """`perdure serve` as a supervisor runs it."""

    def __init__(self, folder: Path) -> None:
        store = f"sqlite:///{folder}/shop.db"
        command = ["serve", "--app-id", "shop", "--store", store, "--grpc-port", "0", "--no-http", "--json"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perdure", *command], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.port: int = told["grpc_port"]
        self.is_owner: bool = told["state"] == "owner"

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def servers(folder: Path, count: int = 2) -> Iterator[list[Process]]:
    started: list[Process] = []
    try:
        for _ in range(count):
            started.append(Process(folder))
        yield started
    finally:
        for process in started:
            process.stop()


class Ledger:
    """What really ran, and whose end the server has acknowledged."""

    def __init__(self) -> None:
        self.ran: Counter[tuple[str, int]] = Counter()
        self.acknowledged: set[tuple[str, int]] = set()
        self.wrong: list[str] = []

    @property
    def effects(self) -> int:
        return sum(self.ran.values())

    def run(self, item: ActivityItem) -> None:
        key = item.instance, item.number
        if key in self.acknowledged:
            self.wrong.append(f"{key} ran after its end was acknowledged")
        self.ran[key] += 1


class Worker:
    """Connects, serves, and connects again when the stream breaks; a workflow is `STEPS` activities in a row."""

    def __init__(self, peer: Peer, ledger: Ledger) -> None:
        self._peer = peer
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        while True:
            try:
                await self.serve_once()
            except (AssertionError, grpc.aio.AioRpcError, TimeoutError):
                await asyncio.sleep(AGAIN_SECONDS)  # because the stream has ended, or this server only stands by

    async def serve_once(self, seconds: float = 60.0) -> None:
        stream: Stream = self._peer.work()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    item = await stream.next(seconds)
                    task = asyncio.create_task(self._take(item))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            stream.leave()

    async def _take(self, item: TurnItem | ActivityItem) -> None:
        try:
            if isinstance(item, TurnItem):
                await self._peer.answer(item, *self._asked(item))
            else:
                self._ledger.run(item)
                await self._peer.finish(item, str(item.number))
                self._ledger.acknowledged.add((item.instance, item.number))
        except grpc.aio.AioRpcError:
            return  # because the work goes out again when the stream is back

    def _asked(self, item: TurnItem) -> list[Any]:
        seen = Counter(type(event).__name__ for which in ("past", "new") for event in events(self._peer, item, which))
        done = seen["ActivityCompleted"]
        if done == STEPS:
            return [CompleteRun(number=-1, status="completed", output=payload_of(str(done)))]
        return [ScheduleActivity(number=done + 1, name="step")] if seen["ActivityScheduled"] == done else []


async def persistently(ask: Any) -> Any:
    """Ask as a client does whose server may be away."""
    for _ in range(TRIES_MAX):
        try:
            return await ask()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return None
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            await asyncio.sleep(AGAIN_SECONDS)
    raise AssertionError("nobody answered")


async def finish_all(peer: Peer, ids: list[str]) -> None:
    for id in ids:
        view = await persistently(lambda id=id: peer.ended(id))
        assert (view.status, text(view.output)) == ("completed", str(STEPS))


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("balancer", [ConnectionBalancer, RequestBalancer])
def test_the_owner_is_killed_in_mid_run_and_every_workflow_ends(tmp_path: Path, balancer: Any) -> None:
    async def play(started: list[Process]) -> None:
        ledger = Ledger()
        async with (
            balancer([process.port for process in started]) as proxy,
            Peer(proxy.port) as first,
            Peer(proxy.port) as second,
            Peer(proxy.port) as client,
        ):
            working = [asyncio.create_task(Worker(peer, ledger).serve()) for peer in (first, second)]
            ids = [f"order-{number}" for number in range(INSTANCES)]
            for id in ids:
                await persistently(lambda id=id: client.start("chain", id))
            while ledger.effects < INSTANCES:
                await asyncio.sleep(0.005)
            owner = next(process for process in started if process.is_owner)
            owner.kill()
            assert ledger.effects < INSTANCES * STEPS, "the kill came too late to prove anything"
            await finish_all(client, ids)
            for task in working:
                task.cancel()
        assert not ledger.wrong
        assert set(ledger.ran) == {(id, step) for id in ids for step in range(1, STEPS + 1)}
        if isinstance(proxy, RequestBalancer):
            assert all(count > INSTANCES for count in proxy.calls), "each server has had its share"

    with servers(tmp_path) as started:
        assert [process.is_owner for process in started] == [True, False]
        asyncio.run(play(started))


@pytest.mark.long
@pytest.mark.timeout(60)
def test_heartbeats_that_come_to_the_server_which_stands_by_are_heard(tmp_path: Path) -> None:
    async def play(started: list[Process]) -> None:
        async with RequestBalancer([process.port for process in started]) as proxy:
            app = App("shop", server=f"grpc://127.0.0.1:{proxy.port}")

            @app.activity(heartbeat_timeout=3 * BEAT_SECONDS / 2, retry=Retry(max_attempts=1))
            async def copy() -> str:
                for _ in range(BEATS):
                    activity_context().heartbeat()
                    await asyncio.sleep(BEAT_SECONDS)
                return "copied"

            @app.workflow
            async def main() -> str:
                return await copy()

            async with app, Client(f"grpc://127.0.0.1:{started[0].port}") as client:
                assert await (await client.workflow("main").start()).result(timeout=30) == "copied"

    with servers(tmp_path) as started:
        asyncio.run(play(started))


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_worker_that_connects_a_hundred_times_a_minute_loses_nothing(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        ledger, chance = Ledger(), random.Random(7)
        ids = [f"order-{number}" for number in range(INSTANCES)]
        async with Peer(port) as client:
            for id in ids:
                await client.start("chain", id)

            async def come_and_go() -> None:
                while True:
                    async with Peer(port) as peer:
                        try:
                            await Worker(peer, ledger).serve_once(chance.choice((0.02, 0.1, 0.6)))
                        except (AssertionError, grpc.aio.AioRpcError, TimeoutError):
                            continue  # because it leaves with whatever it has in hand

            restless = asyncio.create_task(come_and_go())
            await finish_all(client, ids)
            restless.cancel()
        assert not ledger.wrong
        assert set(ledger.ran) == {(id, step) for id in ids for step in range(1, STEPS + 1)}

    with servers(tmp_path, 1) as (server,):
        asyncio.run(play(server.port))
