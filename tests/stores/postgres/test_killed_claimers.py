"""Real nodes that a claimed call kills, one after the other: its owner gets it back, and lets it stand still."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from perdure.engine.settings import QUARANTINE_DEATHS
from tests.stores.postgres import killer_node

PROGRAM = Path(killer_node.__file__)
NODES = 3
PATIENCE_SECONDS = 150.0


class Nodes:
    """Processes that a supervisor starts again when they have died."""

    def __init__(self, address: str, directory: Path) -> None:
        self._command = [sys.executable, str(PROGRAM), address, str(directory)]
        self._running: list[subprocess.Popen[bytes]] = []

    def keep(self) -> None:
        self._running = [process for process in self._running if process.poll() is None]
        while len(self._running) < NODES:
            self._running.append(subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def end(self) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait(10)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_claimed_call_that_kills_every_node_stands_still_and_is_tried_again_on_resume(
    address: str, tmp_path: Path
) -> None:
    lasting = f"{address}{'&' if '?' in address else '?'}lease=2"
    nodes = Nodes(lasting, tmp_path)

    async def state_when(client: Client, condition: Any) -> Any:
        ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends:
            nodes.keep()
            state = await client.get("crowd").state()
            if condition(state):
                return state
            await asyncio.sleep(0.2)
        raise AssertionError(f"it stands at {state} after {(tmp_path / 'deaths').read_text().split()}")

    async def scenario() -> None:
        async with Client(lasting, app_id="killer") as client:
            nodes.keep()
            await client.workflow("crowded").with_options(id="crowd").start()
            state = await state_when(client, lambda state: state.stalled is not None)
            assert state.stalled.reason == "quarantined"
            assert "activity deadly" in state.stalled.description
            deaths = (tmp_path / "deaths").read_text().split()
            assert len(deaths) <= 2 * QUARANTINE_DEATHS
            explanation = await client.get("crowd").explain()
            assert explanation.command == "perdure resume crowd"
            (tmp_path / "repaired").touch()
            await client.get("crowd").resume()
            state = await state_when(client, lambda state: state.finished is not None)
            assert await client.get("crowd").result(30) == "survived"

    try:
        asyncio.run(scenario())
    finally:
        nodes.end()
