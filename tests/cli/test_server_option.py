"""Commands that work on a server in place of a store, as a shell runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.ports import free_port
from tests.remote.native.processes import ROOT, Process, ServerProcess

PROGRAM = """
from perdure import App, wait_for_event
app = App("shop")

@app.activity
async def add(x: int, y: int) -> int:
    return x + y

@app.workflow
async def total(x: int, y: int) -> int:
    return await add(x, y)

@app.workflow
async def waits() -> str:
    return await wait_for_event("go", str)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    there = ServerProcess(tmp_path)
    yield there
    there.process.kill()


def perdure(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perdure", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


@pytest.mark.long
def test_a_worker_and_the_commands_at_a_server(tmp_path: Path, server: ServerProcess) -> None:
    (tmp_path / "shop.py").write_text(PROGRAM)
    where = ("--server", f"127.0.0.1:{server.port}")
    command = (sys.executable, "-m", "perdure", "worker", "shop:app", *where)
    worker = Process(tmp_path / "worker.log", *command)
    try:
        worker.until("owner: runs 2 workflows, 1 activities")
        started = perdure(tmp_path, "start", "total", "1", "2", "--id", "t-1", "--wait", "--json", *where)
        assert started.returncode == 0, started.stderr
        assert json.loads(started.stdout.splitlines()[-1])["output"] == 3
        assert perdure(tmp_path, "start", "waits", "--id", "w-1", *where).returncode == 0
        told = perdure(tmp_path, "explain", "w-1", *where)
        assert f"--server 127.0.0.1:{server.port}" in told.stdout
        assert perdure(tmp_path, "raise", "w-1", "go", '"on"', *where).returncode == 0
        listed = perdure(tmp_path, "list", "--json", *where)
        assert {json.loads(line)["id"] for line in listed.stdout.splitlines()} == {"t-1", "w-1"}
        refused = perdure(tmp_path, "replay", "shop:app", *where)
        assert (refused.returncode, "--store" in refused.stderr) == (2, True)
        assert worker.stop() == 0
        assert "drain" in worker.output
    finally:
        worker.kill()


@pytest.mark.long
def test_a_server_that_is_not_there_is_not_reachable(tmp_path: Path) -> None:
    failed = perdure(tmp_path, "list", "--server", f"127.0.0.1:{free_port()}")
    assert failed.returncode == 3
    assert "PERDURE-1705" in failed.stderr
