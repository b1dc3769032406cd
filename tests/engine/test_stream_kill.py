"""SIGKILL in the midst of streams: no item that a generator knew to be durable is lost, and none is doubled."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perdure import Client
from tests.engine import stream_app
from tests.engine.stream_app import ITEMS

LIVES = 8
NAMES = ("counted", "drawn")


def begin(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, stream_app.__file__, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def stored(url: str) -> dict[str, list[int]]:
    async with Client(url, app_id="numbers") as client:
        handle = client.get("numbers")
        return {name: [item async for item in handle.stream(name, int, follow=False)] for name in NAMES}


def known(directory: Path, name: str) -> int:
    """The highest offset that the generator was told of."""
    path = directory / name
    return max((int(line) for line in path.read_text().splitlines() if line), default=0) if path.exists() else 0


@pytest.mark.long
@pytest.mark.timeout(120)
def test_streams_of_a_process_that_is_killed_again_and_again(tmp_path, url):
    dice = random.Random(8)
    cut = 0
    for _ in range(LIVES):
        process = begin(tmp_path)
        time.sleep(dice.uniform(0.05, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        found = asyncio.run(stored(url))
        for name in NAMES:
            assert found[name] == list(range(len(found[name])))
            assert len(found[name]) >= known(tmp_path, name)
            cut += 0 < len(found[name]) < ITEMS
    assert cut >= 2  # or nothing was proved
    process = begin(tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "finished\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert asyncio.run(stored(url)) == {name: list(range(ITEMS)) for name in NAMES}
