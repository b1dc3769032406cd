"""SIGKILL after, and in, every single step of an agent's run, with real processes on a real file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client
from perdure.events import ActivityCompleted
from tests.agents import desk_lives
from tests.agents.desk import REPORT, STEPS, Report
from tests.remote.native.processes import ServerProcess

ANSWERS = len(STEPS)
"""Answers in the desk's history: of its seven steps and its sub-agent."""
DEATHS = [*(f"in {what}" for what in STEPS), *(f"after {count}" for count in range(1, ANSWERS + 1))]
AT_A_SERVER = ("in desk request 3", "in refund", "after 3", "after 7")
pytestmark = pytest.mark.long


class Lives:
    """The process that forks lives."""

    def __init__(self) -> None:
        root = Path(desk_lives.__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.agents.desk_lives"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        )
        assert self._read() == "ready"

    def live(self, directory: Path, death: str) -> int:
        """Let one process work there to its end; its exit code, negative for a signal."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{directory} {death}\n")
        self._process.stdin.flush()
        return int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    found = Lives()
    yield found
    found.close()


def ledger(directory: Path) -> list[tuple[str, str]]:
    """What was done, and under which key, in order."""
    lines = (directory / "ledger").read_text().splitlines()
    return [(what, key) for what, _, key in (line.partition("|") for line in lines)]


async def completed(url: str, id: str) -> set[str]:
    """The keys of the calls of a run, and of the agents that it asked, whose results are durable."""
    found = set()
    async with Client(url, app_id="desk") as client:
        async for state in client.list():
            if not state.id.startswith(id):
                continue
            async for event in client.get(state.id).history():
                if isinstance(event, ActivityCompleted):
                    found.add(f"{state.id}/{state.execution_id}.{state.run}/{event.number}")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    found = ServerProcess(tmp_path_factory.mktemp("server"), "desk")
    yield found
    found.stop()


@pytest.mark.parametrize("death", DEATHS)
def test_a_process_that_is_killed_changes_nothing(lives, tmp_path, death):
    dies_once(lives, tmp_path, death, f"sqlite:///{tmp_path}/app.db")


@pytest.mark.parametrize("death", AT_A_SERVER)
def test_a_worker_of_a_server_that_is_killed_changes_nothing(lives, server, tmp_path, death):
    (tmp_path / "server").write_text(server.url)
    dies_once(lives, tmp_path, death, server.url)


def dies_once(lives: Lives, tmp_path: Path, death: str, url: str) -> None:
    assert lives.live(tmp_path, death) == -signal.SIGKILL
    before, durable = ledger(tmp_path), asyncio.run(completed(url, tmp_path.name))
    assert lives.live(tmp_path, "never") == 0
    assert Report.model_validate_json((tmp_path / "report").read_text()) == REPORT
    done = ledger(tmp_path)
    again = done[len(before) :]
    assert sorted({what for what, _ in done}) == sorted(STEPS)
    assert not durable & {key for _, key in again}, "what has completed is never made again"
    keys = dict(done)
    assert all(keys[what] == key for what, key in done), "what was in flight is made again under its own key"
    assert len(done) <= len(STEPS) + 2
