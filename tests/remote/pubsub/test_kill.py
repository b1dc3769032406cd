"""A server is killed with -9 while programs publish and listen: nothing that it took is lost, keys stay in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest

from servers.valkey import Valkey
from tests.remote.native.processes import ServerProcess
from tests.remote.pubsub.program import Listening, Program

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]
KEYS = [f"k{number}" for number in range(8)]
COUNT = 40
"""Events of each key."""
KILLS = 2
SECONDS = 60.0
COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: bus
spec:
  type: {type}
  version: v1
  metadata: [{metadata}]
"""


async def published(program: Program) -> None:
    """All events; one that the server did not acknowledge is published again under its id."""
    for number in range(COUNT):
        for key in KEYS:
            await insisted(program, f"{key}:{number:02}", key)


async def insisted(program: Program, id: str, key: str) -> None:
    while True:
        try:
            return await program.publish(
                "bus", "orders", id.encode(), "text/plain", **{"cloudevent.id": id, "partitionKey": key}
            )
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
            await asyncio.sleep(0.05)


async def heard(program: Program, got: list[str]) -> None:
    """Every event that comes, over as many streams as it takes."""
    while True:
        try:
            await listened(await program.subscribe("bus", "orders"), got)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
            await asyncio.sleep(0.05)


async def listened(stream: Listening, got: list[str]) -> None:
    while True:
        event = await stream.event()
        got.append(event.id)
        await stream.answer(event.id)


def played(folder: Path, type: str, metadata: str = "") -> None:
    (folder / "bus.yaml").write_text(COMPONENT.format(type=type, metadata=metadata))
    server = ServerProcess(folder, "shop", "--resources-path", str(folder))
    got: list[str] = []
    sent = {f"{key}:{number:02}" for key in KEYS for number in range(COUNT)}

    async def play() -> None:
        async with Program(server.port) as program, Program(server.port) as other, asyncio.timeout(SECONDS):
            hearing = asyncio.ensure_future(heard(other, got))
            publishing = asyncio.ensure_future(published(program))
            for kill in range(KILLS):
                while len(set(got)) < (kill + 1) * len(sent) // (KILLS + 1):
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(server.kill_and_restart)
            await publishing
            while set(got) != sent:
                await asyncio.sleep(0.02)
            hearing.cancel()

    try:
        asyncio.run(play())
    finally:
        server.process.kill()
    for key in KEYS:
        first = list(dict.fromkeys(id for id in got if id.startswith(f"{key}:")))
        assert first == sorted(first)


def test_on_the_store_of_the_server(tmp_path: Path) -> None:
    played(tmp_path, "pubsub.perdure")


def test_on_redis(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path / "valkey", "no")
    try:
        metadata = f'{{name: redisHost, value: "127.0.0.1:{valkey.port}"}}, {{name: processingTimeout, value: 1s}}'
        played(tmp_path, "pubsub.redis", metadata)
    finally:
        valkey.stop()
