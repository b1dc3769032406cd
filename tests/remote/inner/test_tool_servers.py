"""A session with a server of tools: over pipes, over HTTP, and what becomes of it when the server dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from perdure.blocks.resources import McpServer, OAuth
from perdure.blocks.tool_servers import ToolServer
from perdure.blocks.tool_tokens import EARLY_SECONDS, LIFE_SECONDS, token_auth
from perdure.errors import ToolServerUnavailable
from servers.ports import free_port
from tests.conftest import Run

PROGRAM = str(Path(__file__).with_name("weather_program.py"))
START_SECONDS = 30.0


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    return path


def over_pipes(ledger: Path, **more: Any) -> McpServer:
    return McpServer(
        name="weather",
        transport="stdio",
        command=sys.executable,
        arguments=(PROGRAM, "stdio"),
        environment={"LEDGER": str(ledger)},
        **more,
    )


def text(result: dict[str, Any]) -> str:
    words: str = result["content"][0]["text"]
    return words


@pytest.mark.long
def test_a_session_is_kept_and_opened_again_when_the_program_was_killed(
    run: Run, ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "perdure")

    async def scenario() -> None:
        server = ToolServer(over_pipes(ledger))
        tools = {tool["name"]: tool for tool in await server.list_tools()}
        assert set(tools) == {"forecast", "refuse", "sleep", "die", "wait"}
        assert tools["forecast"]["inputSchema"]["required"] == ["city"]
        assert tools["forecast"]["description"] == "The weather of a city."
        assert text(await server.call_tool("forecast", {"city": "Rome"})) == "Rome: sunny"
        assert (await server.call_tool("refuse", {"why": "no"}))["isError"]
        assert "Unknown tool" in text(await server.call_tool("nothing", {}))
        await server.call_tool("forecast", {"city": "Oslo"})
        first, second = (line.split()[1] for line in ledger.read_text().splitlines())
        assert first == second, "one program for both"
        os.kill(int(first), signal.SIGKILL)
        await soon_answered(server, ledger)
        await server.close()

    run(scenario)
    assert [each.message for each in caplog.records if each.message.startswith("tools")] == ["tools weather: begun"] * 2


@pytest.mark.long
def test_a_program_that_is_not_there_and_one_that_is_slow_are_told_in_a_sentence(run: Run, ledger: Path) -> None:
    async def scenario() -> None:
        absent = ToolServer(McpServer(name="weather", transport="stdio", command="/no/such/program"))
        with pytest.raises(ToolServerUnavailable, match=r"'weather' \(/no/such/program\) cannot be reached"):
            await absent.list_tools()
        slow = ToolServer(over_pipes(ledger))
        await slow.list_tools()
        slow.declared = over_pipes(ledger, timeout=0.3)
        with pytest.raises(ToolServerUnavailable, match=r"has not answered within 0.3 s"):
            await slow.call_tool("sleep", {"seconds": 5})
        await slow.close()

    run(scenario)


@pytest.mark.long
@pytest.mark.parametrize("transport, path", [("streamable_http", "/mcp"), ("sse", "/sse")])
def test_a_server_over_http_may_be_down_and_come_back(run: Run, ledger: Path, transport: str, path: str) -> None:
    port = free_port()

    async def scenario() -> None:
        server = ToolServer(McpServer(name="weather", transport=transport, url=f"http://127.0.0.1:{port}{path}"))
        with _listening(transport, port, ledger):
            assert text(await server.call_tool("forecast", {"city": "Rome"})) == "Rome: sunny"
        with pytest.raises(ToolServerUnavailable, match="cannot be reached"):
            await server.call_tool("forecast", {"city": "Rome"})
        with _listening(transport, port, ledger):
            assert text(await server.call_tool("forecast", {"city": "Rome"})) == "Rome: sunny"
        with _listening(transport, port, ledger):
            await soon_answered(server, ledger)  # over a lost session
        await server.close()

    run(scenario)


@pytest.mark.long
def test_a_session_that_a_server_has_forgotten_is_opened_again(run: Run, ledger: Path) -> None:
    """One over HTTP that was started again says 404 to it, and so has not begun with the call."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    declared = McpServer(name="weather", transport="streamable_http", url=url, protocol_version="2025-06-18")

    async def scenario() -> None:
        server = ToolServer(declared)
        for city in ("Rome", "Oslo"):
            with _listening("streamable_http", port, ledger):
                assert text(await server.call_tool("forecast", {"city": city})) == f"{city}: sunny"
        await server.close()

    run(scenario)


@pytest.mark.long
def test_a_call_that_ends_its_server_is_made_once(run: Run, ledger: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"

    async def scenario() -> None:
        for declared in (over_pipes(ledger), McpServer(name="weather", transport="streamable_http", url=url)):
            server = ToolServer(declared)
            before = ledger.read_text().count("die")
            with pytest.raises(ToolServerUnavailable, match=r"was lost: .*; the tool may have run"):
                await server.call_tool("die", {})
            assert ledger.read_text().count("die") == before + 1
            await server.close()

    with _listening("streamable_http", port, ledger):
        run(scenario)


@pytest.mark.long
def test_a_call_that_takes_too_long_leaves_the_others_of_its_session_alone(run: Run, ledger: Path) -> None:
    async def scenario() -> None:
        server = ToolServer(over_pipes(ledger))
        await server.list_tools()
        patient = asyncio.create_task(server.call_tool("wait", {"file": f"{ledger}.there"}))
        while "wait:" not in ledger.read_text():
            await asyncio.sleep(0.02)
        server.declared = over_pipes(ledger, timeout=0.3)
        with pytest.raises(ToolServerUnavailable, match=r"has not answered within 0\.3 s"):
            await server.call_tool("wait", {"file": f"{ledger}.never"})
        Path(f"{ledger}.there").touch()
        assert text(await patient) == "there"
        assert ledger.read_text().count("wait:ledger.there") == 1
        await server.close()

    run(scenario)


def test_a_program_that_never_gets_ready_ends_with_the_call_that_began_it(run: Run, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    silent = f"import os, sys; open({str(pid)!r}, 'w').write(str(os.getpid()) + chr(10)); sys.stdin.read()"

    async def scenario() -> None:
        server = ToolServer(
            McpServer(name="silent", transport="stdio", command=sys.executable, arguments=("-c", silent))
        )
        call = asyncio.create_task(server.call_tool("any", {}))
        while not (pid.exists() and pid.read_text().endswith("\n")):
            await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while is_there(int(pid.read_text())):  # for as long as it takes to end, on a machine that is busy
            await asyncio.sleep(0.02)

    run(scenario)


def test_what_a_program_says_beside_its_answers_is_passed_over(run: Run) -> None:
    async def scenario() -> None:
        server = ToolServer(
            McpServer(name="loud", transport="stdio", command=sys.executable, arguments=("-c", LOUD), timeout=20.0)
        )
        assert text(await server.call_tool("any", {})) == "heard"
        await server.close()

    run(scenario)


LOUD = """
import json, sys

def say(id, **answer):
    sys.stdout.buffer.write(b"a caf\\xe9 in Latin-1\\n{}\\n[1, 2]\\n")
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", "id": id, **answer}).encode() + b"\\n")
    sys.stdout.buffer.flush()

for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "loud", "version": "1"}}
        say(asked["id"], result=about)
    elif asked.get("method") == "tools/call":
        say(asked["id"], result={"content": [{"type": "text", "text": "heard"}]})
    elif asked.get("method") == "tools/list":
        say(asked["id"], result={"tools": [{"name": "any", "inputSchema": {"type": "object"}}]})
    elif "id" in asked:
        say(asked["id"], error={"code": -32601, "message": "no such method"})
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def soon_answered(server: ToolServer, ledger: Path) -> None:
    """Until a call is answered. One that is not, because nobody had noticed the server's end, is not made again."""
    for number in range(100):
        try:
            city = f"Bonn-{number}-{time.monotonic_ns()}"
            assert text(await server.call_tool("forecast", {"city": city})) == f"{city}: sunny"
            break
        except ToolServerUnavailable:
            continue
    else:
        raise AssertionError("the server does not come back")
    cities = [line.split()[0] for line in ledger.read_text().splitlines() if "Bonn" in line]
    assert len(set(cities)) == len(cities), "no call twice"


def test_a_token_is_got_once_and_again_when_it_is_refused(run: Run) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        if request.url.path == "/token":
            assert request.content == b"grant_type=client_credentials&client_id=me&client_secret=s&scope=a+b"
            return httpx2.Response(200, json={"access_token": f"t{asked.count('/token')}", "expires_in": 3600})
        is_right = request.headers["authorization"] == "Bearer t2"
        return httpx2.Response(200 if is_right else 401)

    async def scenario() -> None:
        oauth = OAuth(issuer="http://there/token", client_id="me", client_secret="s", scopes=("a", "b"))
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=token_auth(oauth)) as client:
            for _ in range(2):
                assert (await client.get("http://there/mcp")).status_code == 200
        assert asked == ["/token", "/mcp", "/token", "/mcp", "/mcp"]

    run(scenario)


@pytest.mark.parametrize("told, seconds", [({"expires_in": 3600}, 3600.0), ({}, LIFE_SECONDS)])
def test_a_token_is_got_anew_shortly_before_it_runs_out(run: Run, told: dict[str, int], seconds: float) -> None:
    asked: list[str] = []
    time = 0.0

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"access_token": "t", **told})

    async def scenario() -> None:
        nonlocal time
        auth = token_auth(OAuth(issuer="http://there/token", client_id="me"), lambda: time)
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=auth) as client:
            for time in (0.0, seconds - EARLY_SECONDS - 1, seconds - EARLY_SECONDS):  # noqa: B007 the clock reads it
                await client.get("http://there/mcp")
        assert asked == ["/token", "/mcp", "/mcp", "/token", "/mcp"]

    run(scenario)


def test_a_token_that_is_not_given_is_told(run: Run) -> None:
    async def scenario() -> None:
        oauth = OAuth(issuer="http://there/token", client_id="me")
        transport = httpx2.MockTransport(lambda request: httpx2.Response(403, text="no"))
        async with httpx2.AsyncClient(transport=transport, auth=token_auth(oauth)) as client:
            with pytest.raises(ToolServerUnavailable, match=r"gave no token \(HTTP 403\)"):
                await client.get("http://there/mcp")

    run(scenario)


@contextmanager
def _listening(transport: str, port: int, ledger: Path) -> Iterator[None]:
    name = {"streamable_http": "streamable-http"}.get(transport, transport)
    environment = {**os.environ, "LEDGER": str(ledger)}
    process = subprocess.Popen(
        [sys.executable, PROGRAM, name, str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        assert process.poll() is None, "the server of tools ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server of tools does not listen")
