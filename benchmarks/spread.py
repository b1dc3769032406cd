"""A fan-out of one workflow over node processes of few slots each, on PostgreSQL: how near to the ideal it is.

python -m benchmarks.spread FOLDER [--quick]
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

from benchmarks.databases import new_database, on_postgres, wait_until_shared
from perdure import App, Client

NODES = 4
SLOTS = 10
CALL_SECONDS = 0.1
CALLS, CALLS_QUICK = 1_000, 200
LEASE_SECONDS = 4.0
BOUND_SECONDS = 120.0
NAME = "spread"
app = App(NAME, slots=SLOTS, drain_seconds=0.0)


@app.activity
async def pause(call: int) -> int:
    """Who has made the call."""
    await asyncio.sleep(CALL_SECONDS)
    return os.getpid()


@app.workflow
async def fan_out(calls: int) -> list[int]:
    return await asyncio.gather(*(pause(call) for call in range(calls)))


async def node(url: str) -> None:
    """Be one of them until SIGTERM."""
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    await app.open(store=url)
    print("open", flush=True)
    await leave.wait()
    await app.close()


async def drive(url: str, calls: int) -> dict[str, float]:
    async with Client(url, app_id=NAME) as client:
        begun = time.perf_counter()
        made = await (await client.workflow("fan_out").start(calls)).result(BOUND_SECONDS)
        wall = time.perf_counter() - begun
    by_node = Counter(made)
    if len(made) != calls or len(by_node) != NODES:
        raise RuntimeError(f"{len(made)} of {calls} calls were made, by {dict(by_node)}")
    ideal = calls * CALL_SECONDS / (NODES * SLOTS)
    least, most = min(by_node.values()), max(by_node.values())
    return {"wall_s": wall, "ideal_s": ideal, "ratio": wall / ideal, "least": least, "most": most}


def measured(calls: int) -> dict[str, float]:
    with on_postgres() as server, ExitStack() as stack:
        url = new_database(server, NAME) + f"?lease={LEASE_SECONDS:g}"
        for process in [_started(url) for _ in range(NODES)]:
            stack.callback(_ended, process)
            assert process.stdout is not None, "it has a pipe"
            process.stdout.readline()
        wait_until_shared(server, NAME, NODES)
        return asyncio.run(drive(url, calls))


def _started(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.spread", "node", url], stdout=subprocess.PIPE)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
    assert process.stdout is not None, "it has a pipe"
    process.stdout.close()


def main(*options: str) -> None:
    if options and options[0] == "node":
        asyncio.run(node(options[1]))
    else:
        print(json.dumps(measured(CALLS_QUICK if "--quick" in options else CALLS)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
