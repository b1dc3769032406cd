"""Real processes that a message kills: it is set aside after a bounded number of deaths, and no other message is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from tests.engine import poison_app

PROGRAM = Path(poison_app.__file__)
DEATHS = 4
"""One that nobody could foresee, and `quarantine_deaths` more."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


def begin(directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def supervise(directory: Path, *words: str, lives_max: int = 12) -> int:
    """Start the program again and again, as a supervisor does, until it ends in good order; how often it died."""
    for deaths in range(lives_max):
        process = begin(directory, *words)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        if process.returncode == 0:
            return deaths
        assert process.returncode == -signal.SIGKILL, said
    return lives_max


def publish(directory: Path, orders: dict[str, dict[str, Any]], topic: str = "orders", **options: Any) -> None:
    async def work() -> None:
        async with Client(f"sqlite:///{directory}/app.db", app_id="poison") as client:
            for id, order in orders.items():
                await client.publish(topic, order, id=id, **options)

    asyncio.run(work())


def lines(directory: Path, name: str) -> list[str]:
    file = directory / name
    return file.read_text().splitlines() if file.exists() else []


def test_a_message_that_kills_is_a_dead_letter_and_its_neighbours_are_handled(tmp_path):
    healthy = {f"healthy-{number}": {} for number in range(50)}
    publish(tmp_path, {**healthy, "killer": {"kills": True}, **{f"later-{n}": {} for n in range(50)}})
    assert supervise(tmp_path) == DEATHS
    assert lines(tmp_path, "deaths") == ["killer"] * DEATHS
    assert set(lines(tmp_path, "handled")) == {*healthy, *(f"later-{n}" for n in range(50))}
    (reason,) = lines(tmp_path, "buried")
    assert reason.startswith("quarantined: its process died 3 times running while this message was in hand")


def test_the_key_of_a_message_that_kills_goes_on_behind_it(tmp_path):
    publish(tmp_path, {"killer": {"kills": True}, "next": {}, "last": {}}, key="k")
    assert supervise(tmp_path) == DEATHS
    assert lines(tmp_path, "handled") == ["next", "last"]


def test_who_is_in_hand_each_time_that_another_kills_is_handled(tmp_path):
    """Slow ones never end before the process does, until they or the killer have run alone."""
    slow = {f"slow-{number}": {"seconds": 0.6} for number in range(6)}
    publish(tmp_path, {**slow, "killer": {"kills": True, "seconds": 0.2}})
    assert supervise(tmp_path) == DEATHS
    assert set(lines(tmp_path, "handled")) == set(slow)
    assert len(lines(tmp_path, "buried")) == 1


def test_a_message_whose_id_kills_before_it_starts_a_workflow_is_a_dead_letter(tmp_path):
    healthy = {f"healthy-{number}": {} for number in range(20)}
    publish(tmp_path, {**healthy, "killer": {"kills": True}, "later": {}}, "shipments")
    assert supervise(tmp_path) == DEATHS

    async def started() -> set[str]:
        async with Client(f"sqlite:///{tmp_path}/app.db", app_id="poison") as client:
            return {state.id async for state in client.list()}

    assert asyncio.run(started()) == {*healthy, "later"}
    assert len(lines(tmp_path, "buried")) == 1


def test_two_that_kill_are_both_set_aside(tmp_path):
    publish(tmp_path, {"one": {"kills": True}, **{f"h-{n}": {} for n in range(20)}, "two": {"kills": True}})
    deaths = supervise(tmp_path)
    assert deaths <= 2 * DEATHS
    assert len(lines(tmp_path, "buried")) == 2
    assert set(lines(tmp_path, "handled")) == {f"h-{n}" for n in range(20)}


def test_nobody_is_set_aside_where_that_is_off_or_the_code_was_repaired(tmp_path):
    publish(tmp_path, {"killer": {"kills": True}})
    assert supervise(tmp_path, "off", lives_max=6) == 6
    (tmp_path / "repaired").touch()
    assert supervise(tmp_path) == 0
    assert lines(tmp_path, "handled") == ["killer"]


def test_processes_that_end_in_good_order_accuse_nobody(tmp_path):
    """A deploy may come again and again while a message takes its time."""
    publish(tmp_path, {"slow": {"seconds": 600}})
    for _ in range(6):
        process = begin(tmp_path, "stops")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    publish(tmp_path, {"end": {}})
    process = begin(tmp_path)
    try:
        while "end" not in lines(tmp_path, "handled"):
            assert process.poll() is None
            asyncio.run(asyncio.sleep(0.02))
    finally:
        process.kill()
        process.communicate(timeout=30)
    assert lines(tmp_path, "buried") == []
