"""State on a SQLite file beside the least that SQLite can be asked for the same: single keys, in one process, in turn.

python -m benchmarks.state perdure FOLDER [--quick]
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.process import Meter
from benchmarks.size import FULL, QUICK, Size
from perdure.blocks.state import Put, open_values

VALUE = b'{"items": ["pen", "paper"], "total": 12.5, "note": "' + b"x" * 200 + b'"}'
TOGETHER = 200
"""Rows of one transaction of the floor, as many as calls share one at most."""
UPSERT = (
    "insert into value values (?, ?, ?) on conflict (key) do update set value = excluded.value, etag = excluded.etag"
)


class Bare:
    """One connection, one table, one statement for each call."""

    def __init__(self, path: Path) -> None:
        self._writes = 0
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(
            "pragma journal_mode = wal; pragma synchronous = full;"
            "create table value (key text primary key, value blob, etag text) without rowid"
        )

    def _etag(self) -> str:
        """Another one each time, because SQLite writes nothing over a row that stays as it is."""
        self._writes += 1
        return f"{self._writes:016x}"

    def get(self, number: int) -> None:
        self._database.execute("select value, etag from value where key = ?", (f"key-{number}",)).fetchone()

    def set(self, number: int) -> None:
        self._database.execute(UPSERT, (f"key-{number}", VALUE, self._etag()))

    def set_all(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            self._database.execute("begin immediate")
            rows = [(f"key-{number}", VALUE, self._etag()) for number in range(first, min(first + TOGETHER, count))]
            self._database.executemany(UPSERT, rows)
            self._database.execute("commit")


async def measured(folder: Path, size: Size) -> dict[str, float]:
    """Seconds of one call, each the least of the repeats, because the disk of a machine in use is slow at times."""
    bare, store, least = Bare(folder / "floor.db"), open_values(f"sqlite:///{folder}/state.db"), Least()
    await store.open()
    for _ in range(size.state_repeats):
        with least.of("floor_all", size.values):
            bare.set_all(size.values)
        with least.of("all", size.values):
            await asyncio.gather(*(store.apply([Put(f"key-{number}", VALUE)]) for number in range(size.values)))
        with least.of("floor_set", size.commits):
            for number in range(size.commits):
                bare.set(number)
        with least.of("set", size.commits):
            for number in range(size.commits):
                await store.apply([Put(f"key-{number}", VALUE)])
        with least.of("floor_get", size.values):
            for number in range(size.values):
                bare.get(number)
        with least.of("get", size.values):
            for number in range(size.values):
                await store.get([f"key-{number}"])
    await store.close()
    return least.seconds


class Least:
    """The least seconds of CPU and of wall clock by which anything was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, name: str, count: int) -> Iterator[None]:
        with Meter() as meter:
            yield
        for clock, spent in (("cpu", meter.cpu), ("wall", meter.wall)):
            key = f"{name}_{clock}_s"
            self.seconds[key] = min(self.seconds.get(key, spent / count), spent / count)


def main(_subject: str, folder: str, *options: str) -> None:
    size = QUICK if "--quick" in options else FULL
    print(json.dumps(asyncio.run(measured(Path(folder), size))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
