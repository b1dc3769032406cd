"""Perdure's own worker at `perdure serve`: what it costs its process, and what the wire adds to a step.

Server and worker are processes of their own, whose CPU the operating system tells; this one starts workflows and waits.
`python -m benchmarks.remote_worker perdure FOLDER [--quick]` prints a sample as one line of JSON.
"""

import asyncio
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import ORDER, receipt
from benchmarks.processes import Other, free_port, running
from benchmarks.size import FULL, QUICK, Size
from perdure import App, Client

CROWD = 100
"""Workflows that are unfinished at any time while the cost of one is measured."""
STEPS = 1_000
"""Of the one long sequence, whose early steps are compared with its late ones."""
EARLY, LATE = (50, 150), (900, 1_000)
LONE_STEPS = 300

app = App("bench")
_clocks: list[tuple[float, float]] = []


@app.activity
async def activity(argument: Any) -> dict[str, Any]:
    return receipt(argument)


@app.activity
async def clock(step: int) -> int:
    _clocks.append((time.process_time(), time.perf_counter()))
    return step


@app.activity
async def clocks() -> list[tuple[float, float]]:
    """When, by CPU and by wall, each step ran since this was asked last."""
    found = list(_clocks)
    _clocks.clear()
    return found


@app.workflow
async def one(order: dict[str, Any]) -> dict[str, Any]:
    return await activity(order)


@app.workflow
async def sequence(steps: int) -> list[tuple[float, float]]:
    await clocks()
    for step in range(steps):
        await clock(step)
    return await clocks()


async def measured(folder: Path, size: Size) -> dict[str, float]:
    """One sample: CPU seconds per workflow, seconds per step early and late, and at the median here and remotely."""
    count = size.crowd
    with _server(folder) as (url, server), _worker(url) as worker:
        async with Client(url) as client:
            await _crowd(client, size.warm_up, "warm")
            before, began = (worker.cpu_seconds(), server.cpu_seconds()), time.perf_counter()
            await _crowd(client, count, "one")
            wall = time.perf_counter() - began
            spent = worker.cpu_seconds() - before[0], server.cpu_seconds() - before[1]
            long = await _sequence(client.workflow("sequence").start, STEPS)
            lone = await _sequence(client.workflow("sequence").start, LONE_STEPS)
    os.environ["PERDURE_STORE"] = f"sqlite:///{folder / 'embedded.db'}"
    async with app:
        embedded = await _sequence(sequence.start, LONE_STEPS)
    return {
        "cpu_s": spent[0] / count,
        "server_cpu_s": spent[1] / count,
        "wall_s": wall / count,
        "early_s": _cpu_per_step(long, EARLY),
        "late_s": _cpu_per_step(long, LATE),
        "remote_step_s": _median_step(lone),
        "embedded_step_s": _median_step(embedded),
        "count": count,
    }


async def _crowd(client: Client, count: int, prefix: str) -> None:
    numbers = iter(range(count))

    async def take_turns() -> None:
        for number in numbers:
            handle = await client.workflow("one").with_options(id=f"{prefix}-{number}").start(ORDER)
            await handle.result()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CROWD):
            tasks.create_task(take_turns())


async def _sequence(start: Callable[[int], Awaitable[Any]], steps: int) -> list[tuple[float, float]]:
    handle = await start(steps)
    found: list[tuple[float, float]] = await handle.result()
    return found


def _cpu_per_step(clocks: list[tuple[float, float]], between: tuple[int, int]) -> float:
    first, last = between
    last = min(last, len(clocks) - 1)
    return (clocks[last][0] - clocks[first][0]) / (last - first)


def _median_step(clocks: list[tuple[float, float]]) -> float:
    return statistics.median(later[1] - earlier[1] for earlier, later in itertools.pairwise(clocks))


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, Other]]:
    port = str(free_port())
    command = [sys.executable, "-m", "perdure", "serve", "--store", f"sqlite:///{folder / 'bench.db'}", "--no-http"]
    with running([*command, "--grpc-port", port, "--app-id", "bench", "--json"], "owner") as server:
        yield f"grpc://127.0.0.1:{port}", server


@contextmanager
def _worker(url: str) -> Iterator[Other]:
    with running([sys.executable, "-m", "benchmarks.remote_worker", "--worker", url], "ready") as worker:
        yield worker


async def _work(url: str) -> None:
    await app.open(server=url)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main(*options: str) -> None:
    if options[0] == "--worker":
        asyncio.run(_work(options[1]))
    else:
        size = QUICK if "--quick" in options else FULL
        print(json.dumps(asyncio.run(measured(Path(options[1]), size))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
