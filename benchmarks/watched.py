"""What it costs to be watched: the same workflows with and without, in turn, in one process.

python -m benchmarks.watched metrics|traces perdure FOLDER [--quick]
"""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import ORDER, receipt
from benchmarks.process import Meter
from perdure import App, Tracing

AT_ONCE = 500
BLOCK = 1_000
LONG_BLOCK = 5_000
"""Of traces, because spans are sent by the batch, and what is left of one is sent at the end of a block."""
BLOCKS, BLOCKS_QUICK = 30, 6
SCRAPE_EVERY = 5
"""Blocks between two scrapes: more often than Prometheus asks."""
SAMPLE = 0.1
"""The share of runs that are traced."""
RECEIVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
"""Takes spans over HTTP, in a process of its own, whose CPU is not counted."""


class Program:
    """An app that runs workflows of one activity, by the block."""

    def __init__(self, folder: Path, name: str, size: int, **settings: Any) -> None:
        self._size = size
        self.app = App("bench", store=f"sqlite:///{folder}/{name}.db", **settings)
        self._blocks = 0

        @self.app.activity
        async def activity(order: dict[str, Any]) -> dict[str, Any]:
            return receipt(order)

        @self.app.workflow
        async def one(order: dict[str, Any]) -> dict[str, Any]:
            return await activity(order)

        self._one = one

    async def block(self) -> float:
        """Run a block; CPU seconds of a workflow."""
        self._blocks += 1
        numbers = iter(range(self._size))

        async def take_turns() -> None:
            for number in numbers:
                handle = await self._one.with_options(id=f"{self._blocks}-{number}").start(ORDER)
                await handle.result()

        gc.collect()
        with Meter() as meter:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(take_turns())
        return meter.cpu / self._size


@asynccontextmanager
async def both(
    folder: Path, size: int, plain: dict[str, Any], watched: dict[str, Any]
) -> AsyncIterator[tuple[Program, Program]]:
    programs = Program(folder, "plain", size, **plain), Program(folder, "watched", size, **watched)
    async with AsyncExitStack() as opened:
        for program in programs:
            await opened.enter_async_context(program.app)
            await program.block()
        yield programs


async def metrics(folder: Path, blocks: int) -> dict[str, float]:
    """Counting, and being scraped."""
    async with both(folder, BLOCK, {"metrics": False}, {}) as (plain, watched):

        async def counted(number: int) -> float:
            with Meter() as meter:
                if number % SCRAPE_EVERY == 0:
                    await watched.app.metrics.text()
            return await watched.block() + meter.cpu / BLOCK

        return await compared(plain.block, counted, blocks)


async def traces(folder: Path, blocks: int) -> dict[str, float]:
    """A share of the runs traced, and their spans sent over OTLP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    receiver = subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE)  # noqa: ASYNC220 before it counts
    try:
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{int(receiver.stdout.readline())}/v1/traces"
        tracing = Tracing(SAMPLE, exporter=OTLPSpanExporter(url))
        async with both(folder, LONG_BLOCK, {}, {"tracing": tracing}) as (plain, watched):

            async def traced(number: int) -> float:
                cost = await watched.block()
                with Meter() as meter:
                    await tracing.flush()  # because what is still to be sent is part of the cost
                return cost + meter.cpu / LONG_BLOCK

            return await compared(plain.block, traced, blocks // 3)
    finally:
        receiver.kill()
        receiver.communicate()


async def compared(plain: Callable[[], Any], watched: Callable[[int], Any], blocks: int) -> dict[str, float]:
    """Pairs, each in the other order than the one before; the median of their ratios decides.

    On a busy machine the ratio of the cheapest blocks tells more, because others only ever add to a block's cost.
    """
    costs: list[tuple[float, float]] = []
    for number in range(blocks):
        if number % 2:
            second = await watched(number)
            costs.append((await plain(), second))
        else:
            first = await plain()
            costs.append((first, await watched(number)))
    ratios = [second / first for first, second in costs]
    return {
        "ratio": statistics.median(ratios),
        "least_ratio": min(second for _, second in costs) / min(first for first, _ in costs),
        "plain_s": statistics.median(first for first, _ in costs),
        "watched_s": statistics.median(second for _, second in costs),
        "blocks": blocks,
    }


SCENARIOS = {"metrics": metrics, "traces": traces}


def main(scenario: str, _subject: str, folder: str, *options: str) -> None:
    blocks = BLOCKS_QUICK if "--quick" in options else BLOCKS
    print(json.dumps(asyncio.run(SCENARIOS[scenario](Path(folder), blocks))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
