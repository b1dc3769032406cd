"""Instances of an app that runs on several nodes: calls offered, claimed and lost, and an owner that is gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client, Explanation
from perdure.app import open_store
from perdure.stores.contract import Member
from servers.valkey import Valkey
from tests.explain.place import HEADER, Place
from tests.explain.test_waits import GATE

pytestmark = pytest.mark.long  # with real processes, for minutes

NARROW = HEADER.replace("drain_seconds=0.5", "drain_seconds=0.1, slots=1")
FILLING = 3
"""Calls that fill the one slot of a node and what it keeps in memory beside it."""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def place(tmp_path: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    valkey.clear()
    return Place(tmp_path, valkey.url("?accept_durability=C&shards=1&lease=1"))


def test_a_call_that_waits_for_a_node_and_one_that_another_has_claimed_and_lost(place: Place) -> None:
    place.program(GATE, NARROW)
    with place.running():
        for number in range(FILLING):
            place.begin("gated", "never", id=f"fills-{number}")
            place.told(f"fills-{number}", "activity" if number < FILLING - 1 else "offered")
        last = f"fills-{FILLING - 1}"
        with place.process("worker", "shop:app", until="standby") as process:
            told = place.told(last, "claimed")
            assert "waits for activity gate, attempt 1, which node " in told.sentence
            process.send(signal.SIGKILL)
            process.wait()
        told = place.moves(last, "claim-lost", r"which node \S+ had claimed and is gone", status="canceled")
        assert told.next == "another node claims the call once the claim has run out"
        place.begin("gated", "never", id="offered")
        place.moves("offered", "offered", "until a node that has its code has a free slot", status="canceled")


def test_an_owner_that_is_gone_and_nobody_has_taken_over(place: Place) -> None:
    place.program(GATE)
    place.begin("gated", "open", id="g")
    with place.process("worker", "shop:app") as process:
        place.told("g", "activity")
        process.send(signal.SIGKILL)
        process.wait()
    (place.folder / "open").touch()

    async def while_another_lives(client: Client) -> Explanation:
        """One that takes nothing over."""
        store = open_store(place.store)
        await store.open()
        while (told := await client.get("g").explain()).cause != "lease-lost":
            await store.beat("shop", Member("idle"), ())
            await asyncio.sleep(0.05)
        await store.close()
        return told

    told = place.ask(while_another_lives)
    assert "waits for activity gate, attempt 1 at shop.py" in told.sentence
    assert ", which owned it, gives no sign of life" in told.sentence
    assert told.next.startswith("the node that lives takes over when the lease runs out")
    assert told.command is None
    with place.running():
        assert place.ends("g").status == "completed"
