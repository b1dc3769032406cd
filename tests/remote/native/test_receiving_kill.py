"""kill -9 of workers that subscribe and of their server: no message is missing, and what one begins is begun once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from perdure import Client
from tests.remote.native.processes import Process, ServerProcess

PROGRAM = Path(__file__).with_name("receiving_program.py")
SECONDS = 120.0
MESSAGES, KEYS = 100, 5


class Ledger:
    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []

    async def until(self, count: int) -> None:
        while len(self.lines()) < count:
            await asyncio.sleep(0.01)

    def firsts(self, key: str) -> list[int]:
        """The messages of a key in the order in which each was handled for the first time."""
        return list(dict.fromkeys(int(number) for of, number, _ in self.lines() if of == key))


@pytest.mark.long
def test_workers_and_the_server_die_and_every_message_is_handled(tmp_path: Path) -> None:
    server, ledger = ServerProcess(tmp_path), Ledger(tmp_path / "ledger")
    workers: list[Process] = []

    def worker() -> Process:
        command = (sys.executable, str(PROGRAM), server.url, str(ledger.file))
        workers.append(Process(tmp_path / f"worker-{len(workers)}.log", *command))
        workers[-1].until("ready")
        return workers[-1]

    async def left(client: Client) -> int:
        return sum(group.left for topic in await client.topics() for group in topic.groups)

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), Client(server.url) as client:
            first = worker()
            for number in range(MESSAGES):
                await client.publish("orders", number, key=f"k{number % KEYS}", id=str(number), source="test")
            await ledger.until(10)
            first.kill()
            second = worker()
            await ledger.until(30)
            server.kill_and_restart()
            await ledger.until(50)
            second.kill()
            worker()
            for number in range(MESSAGES):
                await client.publish("payments", number, key=f"k{number % KEYS}")
            await ledger.until(75)
            server.kill_and_restart()
            while await left(client):
                await asyncio.sleep(0.05)
            results = [await client.get(f"order-{number}").result() for number in range(MESSAGES)]
            assert results == [[number, number] for number in range(MESSAGES)]
            assert len([one async for one in client.list()]) == MESSAGES

    try:
        asyncio.run(scenario())
    finally:
        for each in (*workers, server.process):
            each.kill()
    for key in range(KEYS):
        assert ledger.firsts(f"k{key}") == list(range(key, MESSAGES, KEYS))
    # because only what was in hand at a death is handled again
    assert len(ledger.lines()) <= MESSAGES + 4 * KEYS
