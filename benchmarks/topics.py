"""A message that starts a workflow: from its publishing until the workflow's code runs, beside a lone commit of SQLite.

`python -m benchmarks.topics started perdure FOLDER [--quick]` prints a sample as one line of JSON.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from perdure import App

MESSAGES, MESSAGES_QUICK = 600, 100
WARM_UP = 50
BLOCK = 20
"""So many messages, then so many alone, then so many commits, so that a slow minute of the disk meets both."""
app = App("topics", metrics=False)
begun: dict[str, asyncio.Future[float]] = {}


def begin(id: str) -> None:
    """The code of a workflow runs, for the first time."""
    if not begun[id].done():
        begun[id].set_result(time.perf_counter())


@app.workflow
async def checkout(order: dict) -> None:
    begin(order["id"])


app.subscribe("orders", starts=checkout, id="{data.id}")


async def publish(id: str, *, alone: bool = False) -> float:
    """Seconds from the call until the code of the workflow runs, which is after the start is durable.

    It returns at once, when the workflow's end is still being written, which the next message has to wait for; or, if
    `alone`, when that is durable.
    """
    begun[id] = asyncio.get_running_loop().create_future()
    at = time.perf_counter()
    published = asyncio.ensure_future(app.client.publish("orders", {"id": id}, key=id))
    seconds = await begun[id] - at
    await published
    await asyncio.sleep(0)
    if alone:
        await app.client.get(id).result()
    return seconds


@contextmanager
def table(folder: Path) -> Iterator[sqlite3.Connection]:
    """A file of its own, as durable as a store."""
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("create table one (id text primary key, value text)")
        yield connection


def commit(connection: sqlite3.Connection, id: str) -> float:
    """Seconds of a transaction of one row."""
    at = time.perf_counter()
    connection.execute("begin immediate")
    connection.execute("insert into one values (?, ?)", (id, "x" * 200))
    connection.execute("commit")
    return time.perf_counter() - at


async def measured(folder: Path, count: int) -> dict[str, float]:
    starts: list[float] = []
    alone: list[float] = []
    commits: list[float] = []
    await app.open(store=f"sqlite:///{folder}/app.db")
    try:
        with table(folder) as connection:
            for number in range(WARM_UP):
                await publish(f"warm-{number}")
                commit(connection, f"warm-{number}")
            for block in range(count // BLOCK):
                starts += [await publish(f"{block}-{number}") for number in range(BLOCK)]
                alone += [await publish(f"{block}-{number}-alone", alone=True) for number in range(BLOCK)]
                commits += [commit(connection, f"{block}-{number}") for number in range(BLOCK)]
    finally:
        await app.close()
    start, behind, lone = (statistics.median(seconds) for seconds in (alone, starts, commits))
    return {
        "start_s": start,
        "behind_s": behind,
        "commit_s": lone,
        "ratio": start / lone,
        "behind_ratio": behind / lone,
        "count": len(starts),
    }


def main(*arguments: str) -> None:
    folder = Path(arguments[-1] if arguments[-1] != "--quick" else arguments[-2])
    count = MESSAGES_QUICK if "--quick" in arguments else MESSAGES
    print(json.dumps(asyncio.run(measured(folder, count))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
