"""A process that is killed while it writes has written all that it was told to have, and no half of a pair."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perdure.stores.values.opening import open_values
from servers.valkey import Valkey
from tests.stores.values.writer_program import WRITERS

KILLS = 2
ROUND = 1_000_000
"""Where the numbers of a round begin, so that an older one is told from a newer one."""


def killed(url: str, first: int, lines: int) -> dict[int, int]:
    """Run the program until it has said so many lines, kill it, and return the last number of each writer."""
    command = [sys.executable, "-m", "tests.stores.values.writer_program", url, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as writer:
        assert writer.stdout is not None
        told = {}
        for _ in range(lines):
            who, number = map(int, writer.stdout.readline().split())
            told[who] = number
        writer.kill()
        for line in writer.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                who, number = map(int, line.split())
                told[who] = number
    return told


async def pairs(url: str) -> list[tuple[int, int]]:
    store = open_values(url, "pairs")
    await store.open()
    try:
        keys = [f"{side}{writer}" for writer in range(WRITERS) for side in ("left", "right")]
        found = [int(item.value) if item is not None else -1 for item in await store.get(keys)]
    finally:
        await store.close()
    return list(zip(found[::2], found[1::2], strict=True))


def check(url: str) -> None:
    for round in range(KILLS):
        told = killed(url, round * ROUND, lines=10 + 30 * round)
        found = asyncio.run(pairs(url))
        for writer, (left, right) in enumerate(found):
            assert left == right, f"half of a pair of writer {writer} after kill {round}"
            assert left >= told.get(writer, -1), f"writer {writer} was told {told.get(writer)}, and {left} is there"


def test_on_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/pairs.db")


@pytest.mark.long
def test_on_valkey(valkey: Valkey) -> None:
    check(valkey.url())


@pytest.mark.long
def test_a_reader_of_another_process_sees_whole_pairs_while_one_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pairs.db"

    async def read() -> int:
        store = open_values(url, "pairs")
        await store.open()
        seen = set()
        ends = time.monotonic() + 10
        while len(seen) < 20 and time.monotonic() < ends:
            left, right = await store.get(["left0", "right0"])
            assert (left is None) == (right is None)
            if left is not None and right is not None:
                assert left.value == right.value
                seen.add(left.value)
        await store.close()
        return len(seen)

    command = [sys.executable, "-m", "tests.stores.values.writer_program", url, "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as writer:
        try:
            assert asyncio.run(read()) >= 20
        finally:
            writer.kill()
