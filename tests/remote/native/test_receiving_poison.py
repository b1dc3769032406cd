"""Workers of a server that a message kills: it is a dead letter after a bounded number of deaths, and no other is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from perdure import Client
from perdure.history.suspicion import ALONE_DEATHS, BESIDE_DEATHS
from tests.remote.native.processes import Process, ServerProcess

PROGRAM = Path(__file__).with_name("poison_program.py")
HEALTHY = [f"healthy-{number}" for number in range(10)]
SECONDS = 100.0
ATTEMPTS_MAX = 3
"""Those of the program's subscription."""


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "options, deaths",
    [(["--quarantine-workers"], BESIDE_DEATHS + ALONE_DEATHS), ([], ATTEMPTS_MAX + ALONE_DEATHS)],
    ids=["judged", "not judged"],
)
def test_a_message_that_kills_workers_is_a_dead_letter_and_no_other_is(tmp_path: Path, options, deaths) -> None:
    server, ledger = ServerProcess(tmp_path, "shop", *options), tmp_path / "ledger"
    workers: list[Process] = []
    told: set[str] = set()

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), Client(server.url) as client:
            for id in [*HEALTHY, "killer"]:
                await client.publish("orders", id == "killer", id=id, source="test")
            left = len(HEALTHY) + 1
            while left:
                if not workers or not workers[-1].is_alive:
                    command = (sys.executable, str(PROGRAM), server.url, str(ledger))
                    workers.append(Process(tmp_path / f"worker-{len(workers)}.log", *command))
                for explanation in await client.explain_topics():
                    told.add(explanation.sentence)
                groups = [group for topic in await client.topics() if topic.name == "orders" for group in topic.groups]
                left = sum(group.left for group in groups) if groups else left
                await asyncio.sleep(0.02)
            assert sum(group.dead for group in groups) == 1

    try:
        asyncio.run(scenario())
    finally:
        for each in (*workers, server.process):
            each.kill()
    lines = ledger.read_text().splitlines()
    assert lines.count("died killer") == deaths
    assert set(lines) - {"died killer"} == {f"handled {id}" for id in HEALTHY}
    assert any("its process died 3 times running while message killer was in hand" in sentence for sentence in told)
