"""What `perdure serve` costs: CPU per workflow of a published SDK's worker and client, and memory per idle worker.

The load is that of processes of their own, which run the published `durabletask` SDK against Perdure or against a
server without an engine (`empty.py`), the floor of this measurement. Only the server's process is counted.
`python -m benchmarks.server workflows|workers floor|perdure FOLDER [--quick]` prints a sample as one line of JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import grpc
import grpc.aio

from benchmarks import published
from benchmarks.processes import Other, free_port, running
from benchmarks.size import FULL, QUICK, Size
from perdure.remote.wire.schema import RUNTIME_SCHEMA

Sample = dict[str, float]
CROWD = 100
"""Workflows that are unfinished at any time."""
WORKERS = 200
CONNECT_SECONDS = 60.0
LOOK_SECONDS = 0.05


def workflows(subject: str, folder: Path, size: Size) -> Sample:
    """Workflows of one activity: each is started, taken through two turns and an activity, and waited for."""
    with _server(subject, folder) as (server, address), ExitStack() as stack:
        stack.enter_context(running(published.command("worker", address), "ready"))
        client = stack.enter_context(running(published.command("client", address), "ready"))
        _crowd(client, "warm", size.warm_up)
        cpu, wall = server.cpu_seconds(), time.perf_counter()
        _crowd(client, "one", size.served)
        wall, cpu = time.perf_counter() - wall, server.cpu_seconds() - cpu
    return {"cpu_s": cpu / size.served, "wall_s": wall / size.served, "count": size.served}


def workers(subject: str, folder: Path, size: Size) -> Sample:
    """Workers that are connected, each over a connection of its own, and have nothing to do."""
    with _server(subject, folder) as (server, address):
        return asyncio.run(_idle(server, address, size))


async def _idle(server: Other, address: str, size: Size) -> Sample:
    alone = server.resident_mb()
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(WORKERS)]
        for channel in channels:
            await stack.enter_async_context(channel)
        streams = [channel.unary_stream("/TaskHubSidecarService/GetWorkItems")(b"") for channel in channels]
        await asyncio.wait_for(_connected(channels[0], WORKERS), CONNECT_SECONDS)
        await asyncio.sleep(size.settle)
        sample = {"rss_mb": server.resident_mb(), "alone_mb": alone, "count": WORKERS}
        for stream in streams:
            stream.cancel()
    return sample


async def _connected(channel: grpc.aio.Channel, count: int) -> None:
    """Return when the server says that so many workers are there."""
    ask = channel.unary_unary("/dapr.proto.runtime.v1.Dapr/GetMetadata")
    while RUNTIME_SCHEMA.parse("GetMetadataResponse", await ask(b"")).workflows.connected_workers < count:
        await asyncio.sleep(LOOK_SECONDS)


def _crowd(client: Other, prefix: str, count: int) -> None:
    client.hear(f"{prefix} {count} {CROWD}")
    client.says("done")


@contextmanager
def _server(subject: str, folder: Path) -> Iterator[tuple[Other, str]]:
    grpc_port, http_port = free_port(), free_port()
    command = [sys.executable, "-m", "benchmarks.empty", str(grpc_port)]
    word = "ready"
    if subject != "floor":
        command = [sys.executable, "-m", "perdure", "serve", "--store", f"sqlite:///{folder / 'bench.db'}", "--json"]
        command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port), "--app-id", "bench"]
        word = "owner"
    with running(command, word) as server:
        yield server, f"127.0.0.1:{grpc_port}"


SCENARIOS = {"workflows": workflows, "workers": workers}


def main(scenario: str, subject: str, folder: str, *options: str) -> None:
    size = QUICK if "--quick" in options else FULL
    print(json.dumps(SCENARIOS[scenario](subject, Path(folder), size)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
