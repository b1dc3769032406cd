"""What one server takes at most, and how it tells that it can go on no more."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from perdure.errors import ServerUnavailable
from perdure.history.actions import ScheduleActivity
from perdure.remote import grpc as transport
from perdure.remote.dispatch.stream import IN_FLIGHT_ONE_QUEUE_MAX
from perdure.remote.requests import Capability, OpenStream
from perdure.remote.rpc.caller import Caller, has_narrow_channel
from perdure.remote.rpc.table import Table
from perdure.remote.security import Grant
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.stores.memory import MemoryStore
from tests.remote.peer import Peer, until
from tests.remote.test_server import port, serving

CODE = grpc.StatusCode
JAVASCRIPT_QUEUE = 110
"""What Dapr's JavaScript worker keeps of all kinds together."""


def test_a_worker_beyond_the_bound_is_told_so_and_gets_in_when_another_leaves(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, "shop", "lab", streams_max=2) as server, Peer(port(server)) as peer:
            streams = [peer.work(), peer.work()]
            await until(lambda: len(server.hosted.dispatcher.streams) == 2)
            refused = peer.work()
            assert await refused.status() == CODE.UNAVAILABLE
            assert "2 workers are connected" in await refused.words()
            async with Peer(port(server, 1)) as other:
                other.work()
                await until(lambda: len(server.hosted.dispatcher.streams) == 3)
            streams[0].leave()
            await until(lambda: [stream.app for stream in server.hosted.dispatcher.streams] == ["shop"])
            peer.work()
            await until(lambda: len(server.hosted.dispatcher.streams) == 2)

    asyncio.run(play())


def test_a_worker_has_as_many_items_as_the_server_says(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, items_per_stream_max=2) as server, Peer(port(server)) as peer:
            work = peer.work()
            for _ in range(4):
                await peer.start("checkout")
            turns = [await work.turn() for _ in range(2)]
            (stream,) = server.hosted.dispatcher.streams
            await until(lambda: server.hosted.dispatcher.backlog == 2)
            assert stream.load == 2
            await peer.answer(turns[0])
            await work.turn()

    asyncio.run(play())


def test_a_worker_that_drops_what_its_one_queue_has_no_room_for_is_sent_less(tmp_path: Path) -> None:
    agent = (("x-user-agent", "dapr-js-sdk/workflow grpc-node-js/1.14.4"),)

    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server), metadata=agent) as peer:
            work = peer.work()
            for _ in range(IN_FLIGHT_ONE_QUEUE_MAX + 1):
                await peer.start("checkout")
            calls = [ScheduleActivity(number=number, name="charge") for number in range(IN_FLIGHT_ONE_QUEUE_MAX + 1)]
            await peer.answer(await work.turn(), *calls)
            (stream,) = server.hosted.dispatcher.streams
            await until(lambda: server.hosted.dispatcher.backlog == 1)
            assert stream.load == 2 * IN_FLIGHT_ONE_QUEUE_MAX <= JAVASCRIPT_QUEUE

    asyncio.run(play())


@pytest.mark.parametrize(
    "agent, capability, is_narrow",
    [
        ("grpc-python/1.80.0", None, True),
        ("grpc-python/1.80.0", Capability.STATEFUL_HISTORY, False),
        ("grpc-go/1.76.0", Capability.STATEFUL_HISTORY, True),
        ("dapr-sdk-java/v1.17.1", None, True),
        ("grpc-dotnet/2.71.0", None, True),
        ("dapr-js-sdk/workflow grpc-node-js/1.14.4", None, False),
        ("perdure-python/0.1", None, False),
    ],
)
def test_a_worker_is_sent_no_more_at_once_than_its_library_takes(
    agent: str, capability: Capability | None, is_narrow: bool
) -> None:
    """A stream to which more is sent breaks, and the same item would break the next one."""
    caller = Caller(Grant("shop", frozenset(("shop",))), agent)
    opened = OpenStream(capabilities=frozenset((capability,) if capability is not None else ()))
    assert has_narrow_channel(caller, opened) == is_narrow


def test_a_message_beyond_the_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, message_bytes_max=1_000) as server, Peer(port(server)) as peer:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await peer.start("checkout", input='"' + "x" * 1_000 + '"')
            assert error.value.code() == CODE.RESOURCE_EXHAUSTED
            assert await peer.start("checkout")

    asyncio.run(play())


def test_a_hostile_message_of_64_megabytes_is_refused_by_default(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await peer.call("CompleteOrchestratorTask", b"\x12\x00" * (32 * 1024 * 1024), timeout=60)
            assert error.value.code() == CODE.RESOURCE_EXHAUSTED

    asyncio.run(play())


def test_a_port_that_ceases_to_listen_is_the_failure_of_the_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server:
            assert server.failure is None
            await server._ports[0]._grpc._server.stop(None)  # type: ignore[union-attr]
            failure = await until(lambda: server.failure)
            assert isinstance(failure, ServerUnavailable)
            assert f"gRPC port {port(server)}" in str(failure)

    asyncio.run(play())


def test_an_http_port_that_ceases_to_listen_is_too(tmp_path: Path) -> None:
    async def play() -> None:
        listener = Listener(app_id="shop", grpc_port=0, http_port=0)
        server = Server(MemoryStore(), ServerSettings(listeners=(listener,), store="memory:", drain_seconds=0.0))
        await server.open()
        server._ports[0]._http._server.on_tick = _leave  # type: ignore[union-attr,method-assign]
        assert isinstance(await until(lambda: server.failure), ServerUnavailable)
        await server.close()

    asyncio.run(play())


@pytest.mark.long
def test_a_dispatch_that_ends_is_too_and_a_server_that_closes_has_not_failed(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server:
            server.hosted.dispatcher.tick = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
            assert isinstance(await until(lambda: server.failure), ZeroDivisionError)
        async with serving(tmp_path) as server:
            await server.close()
            assert server.failure is None

    asyncio.run(play())


async def _leave(ticks: int) -> bool:
    return True


FROZEN_WORKER = """
import asyncio, sys
from tests.remote.peer import Peer
async def main():
    async with Peer(int(sys.argv[1])) as peer:
        await peer.work().next(3600)
asyncio.run(main())
"""


@pytest.mark.long
def test_a_worker_that_is_frozen_or_without_power_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_MS", 500)
    monkeypatch.setattr(transport, "KEEPALIVE_TIMEOUT_MS", 500)

    async def play() -> None:
        async with serving(tmp_path) as server:
            command = (sys.executable, "-c", FROZEN_WORKER, str(port(server)))
            worker = await asyncio.create_subprocess_exec(*command)
            try:
                await until(lambda: server.hosted.dispatcher.streams)
                worker.send_signal(signal.SIGSTOP)
                await until(lambda: not server.hosted.dispatcher.streams)
            finally:
                worker.kill()
                await worker.wait()

    asyncio.run(play())


def test_a_stream_that_its_worker_broke_off_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The library writes a stack for each worker that is killed while something is written to it."""

    async def play() -> None:
        transport.GrpcListener(
            Table({}, {}, {}), lambda metadata: pytest.fail("nobody calls"), message_bytes_max=1, calls_max=1
        )
        library = logging.getLogger(transport.LIBRARY_LOG)
        library.error("ExecuteBatchError raised in core by servicer method [/TaskHubSidecarService/GetWorkItems]")
        library.error("Unexpected [ValueError] raised by servicer method [/TaskHubSidecarService/Hello]")

    asyncio.run(play())
    assert [record.message.split()[0] for record in caplog.records if record.name.startswith("grpc")] == ["Unexpected"]
