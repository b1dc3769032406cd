"""Requests to a program's own port, against a real one and against sockets that misbehave."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from perdure.errors import InvalidArgument
from perdure.remote import app_channel
from perdure.remote.app_channel import AppAbsent, AppChannel, AppUnreachable
from perdure.remote.http.listener import HttpListener
from servers.ports import free_port


async def echo(request: Request) -> Response:
    body = await request.body()
    peer = str(request.client.port)
    return Response(body[::-1], 201, {"x-peer": peer, "x-token": request.headers.get("dapr-api-token", "")})


async def parts(request: Request) -> Response:
    async def chunks():
        for number in range(3):
            yield f"part {number};"

    return StreamingResponse(chunks())


async def slow(request: Request) -> Response:
    await asyncio.sleep(5)
    return Response()


@asynccontextmanager
async def program(token=None):
    routes = [Route("/echo", echo, methods=["PUT"]), Route("/parts", parts), Route("/slow", slow)]
    async with HttpListener(Starlette(routes=routes), port=0, drain_seconds=0) as listener:
        channel = AppChannel(f"http://127.0.0.1:{listener.port}", token)
        try:
            yield channel
        finally:
            await channel.close()


def test_an_answer_comes_over_a_connection_that_is_kept(run):
    async def scenario():
        async with program(token="open") as channel:
            first = await channel.request("PUT", "/echo", b"abc")
            second = await channel.request("PUT", "/echo", b"def", {"content-type": "text/plain"})
            both = await asyncio.gather(*(channel.request("PUT", "/echo", b"x") for _ in range(2)))
            return first, second, both, await channel.request("GET", "/parts"), await channel.request("GET", "/none")

    first, second, both, parts, none = run(scenario)
    assert (first.status, first.body, first.headers["x-token"], first.is_success) == (201, b"cba", "open", True)
    assert (second.body, second.headers["x-peer"]) == (b"fed", first.headers["x-peer"])
    assert len({one.headers["x-peer"] for one in both}) == 2
    assert parts.body == b"part 0;part 1;part 2;"
    assert (none.status, none.is_success) == (404, False)


def test_who_is_not_there_was_asked_nothing(run):
    async def scenario():
        with pytest.raises(AppAbsent, match="nobody listens"):
            await AppChannel(f"http://127.0.0.1:{free_port()}").request("GET", "/")

    run(scenario)


def test_a_program_that_breaks_off_or_is_too_slow_gave_no_answer(run):
    async def scenario():
        async def break_off(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            writer.close()

        server = await asyncio.start_server(break_off, "127.0.0.1", 0)
        async with server:
            channel = AppChannel(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(AppUnreachable) as raised:
                await channel.request("GET", "/")
            assert not isinstance(raised.value, AppAbsent)
        async with program() as channel:
            with pytest.raises(AppUnreachable, match=r"in 0\.05 s"):
                await channel.request("GET", "/slow", timeout=0.05)

    run(scenario)


def test_an_answer_without_end_is_not_read_to_it(run, monkeypatch):
    monkeypatch.setattr(app_channel, "ANSWER_BYTES_MAX", 10)

    async def scenario():
        async with program() as channel:
            with pytest.raises(AppUnreachable, match="larger than 10 bytes"):
                await channel.request("GET", "/parts")

    run(scenario)


def test_a_connection_that_the_program_has_closed_is_not_used_again(run):
    async def scenario():
        async def once(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
            channel = AppChannel(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            for _ in range(3):
                assert (await channel.request("GET", "/")).body == b"ok"
                await asyncio.sleep(0.01)
            await channel.close()

    run(scenario)


@pytest.mark.parametrize("url", ["127.0.0.1:80", "https://127.0.0.1:80", "http://127.0.0.1", "http://:80"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidArgument, match="write http://"):
        AppChannel(url)
