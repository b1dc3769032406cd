"""The built-in workflows of declared servers of tools, asked for as an SDK of Dapr asks, and killed in the middle."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import App
from perdure.app import open_store
from perdure.blocks.resources import Hook, McpServer, Resources
from perdure.remote.inner.tools import arguments_in
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from tests.compat.process import Process
from tests.compat.server import free_ports
from tests.remote.inner.test_tool_servers import PROGRAM
from tests.remote.peer import Peer, text, until

APP = "agent"
LIST, CALL = "dapr.internal.mcp.weather.ListTools", "dapr.internal.mcp.weather.CallTool."


class Place:
    """A store, and what a server on it is declared to have."""

    def __init__(self, folder: Path) -> None:
        self.store = f"sqlite:///{folder}/app.db"
        self.ledger = folder / "ledger"
        self.ledger.touch()

    def server(self, **more: Any) -> Server:
        usual = {
            "transport": "stdio",
            "command": sys.executable,
            "arguments": (PROGRAM, "stdio"),
            "environment": {"LEDGER": str(self.ledger)},
        }
        declared = McpServer(name="weather", **{**usual, **more})
        listener = Listener(app_id=APP, grpc_port=0, http_port=None, resources=Resources(mcp_servers=(declared,)))
        settings = ServerSettings(listeners=(listener,), store=self.store, drain_seconds=0.2)
        return Server(open_store(self.store), settings)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def play(place: Place, scenario: Callable[[Peer], Awaitable[None]], **declared: Any) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            server = place.server(**declared)
            await server.open()
            try:
                async with Peer(server.listeners[0].grpc_port) as peer:
                    await scenario(peer)
            finally:
                await server.close()

    asyncio.run(within())


async def output(peer: Peer, name: str, input: Any = None) -> Any:
    """The output of a workflow that has completed."""
    id = await peer.start(name, input=None if input is None else json.dumps(input))
    view = await peer.ended(id)
    assert view.failure is None, view.failure
    return json.loads(text(view.output) or "")


def test_tools_are_listed_and_called(place: Place) -> None:
    async def scenario(peer: Peer) -> None:
        listed = await output(peer, LIST, {"mcpServerName": "weather"})
        assert {tool["name"] for tool in listed["tools"]} >= {"forecast", "refuse", "sleep"}
        answer = await output(peer, CALL + "forecast", {"arguments": {"city": "Rome"}})
        assert (answer["isError"], answer["content"]) == (False, [{"type": "text", "text": "Rome: sunny"}])
        for tool, asked in (("refuse", {"arguments": {"why": "x"}}), ("nothing", None), ("forecast", {"arguments": 1})):
            assert (await output(peer, CALL + tool, asked))["isError"] is True

    play(place, scenario)


@pytest.mark.long
def test_a_worker_of_the_app_gets_none_of_it_and_all_else(place: Place) -> None:
    async def scenario(peer: Peer) -> None:
        stream = peer.work()
        await output(peer, CALL + "forecast", {"arguments": {"city": "Rome"}})
        id = await peer.start("dapr.internal.mcp.other.ListTools")
        assert (await stream.turn()).instance == id, "of a server that is not declared"

    play(place, scenario)


def test_a_server_that_is_not_there_is_an_answer_and_no_list(place: Place) -> None:
    async def scenario(peer: Peer) -> None:
        answer = await output(peer, CALL + "forecast", {"arguments": {"city": "Rome"}})
        assert answer["isError"] is True
        assert "cannot be reached" in answer["content"][0]["text"]
        view = await peer.ended(await peer.start(LIST))
        assert view.failure is not None
        assert "cannot be reached" in view.failure.message

    play(place, scenario, command="/no/such/program")


@pytest.mark.long
def test_a_server_that_stands_by_takes_the_calls_over_without_a_word(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            first, second = place.server(), place.server()
            await first.open()
            await second.open()
            await asyncio.sleep(1.2)  # in which it looks twice
            assert not second.is_ready
            await first.close()
            try:
                async with Peer(second.listeners[0].grpc_port) as peer:
                    await until(lambda: second.is_ready)
                    answer = await output(peer, CALL + "forecast", {"arguments": {"city": "Rome"}})
                    assert answer["isError"] is False
            finally:
                await second.close()

    asyncio.run(within())
    assert [record.message for record in caplog.records if "the stream of work" in record.message] == []


@pytest.mark.long
def test_hooks_stand_around_a_call(place: Place) -> None:
    """Those of an app's own worker: one changes the arguments, one the answer, one lets nothing through to Oslo."""
    told: list[Any] = []

    async def scenario(peer: Peer) -> None:
        app = App(APP, server=f"grpc://127.0.0.1:{peer.port}")

        @app.workflow
        def guards(ctx: Any, asked: Any) -> Any:
            told.append(asked)
            if asked["arguments"]["city"] == "oslo":
                raise ValueError("nobody asks about Oslo")
            return {**asked, "arguments": {"city": asked["arguments"]["city"].title()}}
            yield

        @app.workflow
        def signs(ctx: Any, asked: Any) -> Any:
            result = json.loads(base64.b64decode(asked["result"]))
            result["content"].append({"type": "text", "text": "signed"})
            return {**asked, "result": base64.b64encode(json.dumps(result).encode()).decode()}
            yield

        async with app:
            answer = await output(peer, CALL + "forecast", {"arguments": {"city": "rome"}})
            assert [part["text"] for part in answer["content"]] == ["Rome: sunny", "signed"]
            assert told == [{"name": "weather", "toolName": "forecast", "arguments": {"city": "rome"}}]
            refused = await output(peer, CALL + "forecast", {"arguments": {"city": "oslo"}})
            assert refused["isError"] is True
            assert "nobody asks about Oslo" in refused["content"][0]["text"]
        assert "oslo" not in place.ledger.read_text().lower()

    play(
        place,
        scenario,
        before_call=(Hook(workflow="guards", mutates=True),),
        after_call=(Hook(workflow="signs", mutates=True),),
    )


@pytest.mark.long
def test_a_hook_that_returns_something_else_is_told_in_a_sentence(place: Place) -> None:
    async def scenario(peer: Peer) -> None:
        app = App(APP, server=f"grpc://127.0.0.1:{peer.port}")

        @app.workflow
        def guards(ctx: Any, asked: Any) -> Any:
            return "Rome" if asked["arguments"] else asked
            yield

        @app.workflow
        def signs(ctx: Any, asked: Any) -> Any:
            return {**asked, "result": 5}
            yield

        async with app:
            refused = await output(peer, CALL + "forecast", {"arguments": {"city": "rome"}})
            assert refused["content"][0]["text"] == "the call was not let through: guards returns no arguments"
            view = await peer.ended(await peer.start(CALL + "forecast"))
            assert view.failure is not None
            assert "with another `result`" in view.failure.message

    play(
        place,
        scenario,
        before_call=(Hook(workflow="guards", mutates=True),),
        after_call=(Hook(workflow="signs", mutates=True),),
    )


@pytest.mark.long
def test_a_call_outlives_the_server_that_makes_it(tmp_path: Path) -> None:
    """kill -9 of `perdure serve` while a tool runs: the next one calls the tool again, and there is an answer."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    (tmp_path / "tools.yaml").write_text(DECLARED.format(python=sys.executable, program=PROGRAM, ledger=ledger))
    port, _ = free_ports()
    words = ["serve", "--app-id", APP, "--no-http", "--grpc-port", str(port), "--resources-path", str(tmp_path)]
    command = [sys.executable, "-m", "perdure", *words, "--store", f"sqlite:///{tmp_path}/app.db"]

    def begun(number: int) -> Process:
        process = Process(command, tmp_path / f"server-{number}.log", cwd=tmp_path, env={})
        process.wait(lambda: any("owner" in line for line in process.lines()), 20.0, "server")
        return process

    async def start() -> str:
        async with Peer(port) as peer:
            return await peer.start(CALL + "sleep", input='{"arguments": {"seconds": 60}}')

    async def end(id: str) -> Any:
        async with Peer(port) as peer:
            return json.loads(text((await peer.ended(id)).output) or "")

    server = begun(1)
    try:
        id = asyncio.run(start())
        server.wait(lambda: "sleep" in ledger.read_text(), 10.0, "call of the tool")
        server.kill()
        server = begun(2)
        assert asyncio.run(end(id))["content"][0]["text"] == "slept"
        keys = [line.split()[0] for line in ledger.read_text().splitlines() if line.startswith("sleep")]
        assert keys == [f"sleep:{keys[0].partition(':')[2]}"] * 2, "under one key, by which the tool can know it"
        assert keys[0] not in ("sleep:", "sleep:None")
    finally:
        server.kill()


DECLARED = """
apiVersion: dapr.io/v1alpha1
kind: MCPServer
metadata:
  name: weather
spec:
  endpoint:
    stdio:
      command: {python}
      args: [{program}, stdio]
      env:
        - name: LEDGER
          value: {ledger}
"""


@pytest.mark.parametrize(
    "asked, arguments",
    [
        (None, {}),
        ({}, {}),
        ({"arguments": None}, {}),
        ({"arguments": {"a": 1}}, {"a": 1}),
        ({"arguments": [1]}, None),
        ("text", None),
    ],
)
def test_the_arguments_of_a_call(asked: Any, arguments: Any) -> None:
    assert arguments_in(asked) == arguments
