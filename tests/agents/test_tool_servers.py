"""The tools of an MCP server are durable: real servers and agents as processes, killed while a tool is called."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client
from perdure.events import ActivityCompleted, ActivityScheduled
from servers.ports import free_port
from tests.remote.native.processes import Process

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
ANSWER = "['add', 'refuse', 'stock']: 4"
PATIENCE_SECONDS = 60.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(150)]  # because each process imports all of pydantic-ai's client


class Keeper:
    """An agent and its tool server; either may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/shop.db"
        self._port = free_port()
        self._starts = 0
        self.server = self.start_server()
        self.life = self.start_life()

    def start_server(self) -> Process:
        return self._start(str(ROOT / "tests" / "agents" / "tool_server.py"), str(self._port), str(self.folder))

    def start_life(self) -> Process:
        return self._start("-m", "tests.agents.tool_life", self.url, str(self._port))

    def _start(self, *words: str) -> Process:
        self._starts += 1
        return Process(self.folder / f"{self._starts}.log", sys.executable, *words, env=ENVIRONMENT)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def until_called(self, times: int) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while len(self.calls) < times:
            assert time.monotonic() < ends, self.life.output + self.server.output
            time.sleep(0.01)

    def steps(self) -> list[str]:
        """The names of the steps that are answered, in order."""

        async def read() -> list[str]:
            async with Client(self.url, app_id="shop") as client:
                events = [event async for event in client.get("k").history()]
            names = {event.number: event.name for event in events if isinstance(event, ActivityScheduled)}
            return [names[event.number] for event in events if isinstance(event, ActivityCompleted)]

        return asyncio.run(read())

    def close(self) -> None:
        self.life.kill()
        self.server.kill()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    (tmp_path / "hold").touch()
    there = Keeper(tmp_path)
    yield there
    there.close()


def test_a_tool_whose_server_is_killed_is_called_again(keeper: Keeper) -> None:
    keeper.until_called(1)
    keeper.server.kill()
    (keeper.folder / "hold").unlink()
    keeper.server = keeper.start_server()
    keeper.life.until(ANSWER)
    assert keeper.calls == ["stock abc"] * 2
    steps = keeper.steps()
    assert sum("mcp_server__shop.call_tool" in name for name in steps) == 1, steps


def test_a_tool_that_has_answered_is_not_called_again_when_the_agent_is_killed(keeper: Keeper) -> None:
    keeper.until_called(1)
    keeper.life.kill()  # the call is open, so it is made again
    (keeper.folder / "hold").unlink()
    (keeper.folder / "hold-add").touch()
    keeper.life = keeper.start_life()
    keeper.life.until("adding")
    keeper.life.kill()
    (keeper.folder / "hold-add").unlink()
    keeper.life = keeper.start_life()
    keeper.life.until(ANSWER)
    assert keeper.calls == ["stock abc"] * 2
