"""`perdure mcp` as a model's program has it: the real client, over the pipes of a real process and over HTTP."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from perdure import App, wait_for_event
from perdure.cli.mcp import role_of
from perdure.errors import NotPermitted
from perdure.remote.mcp import Access, mcp_server
from perdure.remote.mcp.answers import VALUE_CHARACTERS_MAX
from perdure.sdk.role import Role

LOOKS = {
    "overview",
    "list_instances",
    "show_instance",
    "explain_instance",
    "explain_all",
    "get_history",
    "list_failures",
}
STEERS = {
    "raise_event",
    "rerun_instance",
    "retry_failures",
    "suspend_instance",
    "resume_instance",
    "cancel_instance",
}


async def ask(client, tool, **arguments):
    """The structured answer of a tool, which is also what its text says."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert json.loads(answer.content[0].text) == answer.structured_content
    return answer.structured_content


async def refusal(client, tool, **arguments):
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return answer.content[0].text


def over_pipes(shell, *options):
    return Client(
        StdioServerParameters(
            command=sys.executable,
            args=["-m", "perdure", "mcp", *options],
            env=shell.environment,
            cwd=shell.folder,
        )
    )


@pytest.mark.long
def test_a_model_finds_out_over_pipes_why_an_instance_waits_and_moves_it(shell):
    async def talk():
        async with over_pipes(shell, "--allow-writes") as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {*LOOKS, *STEERS, "terminate_instance"}
            assert (await ask(client, "overview"))["runs_in"]
            told = await ask(client, "explain_instance", id="a/1")
            assert (told["cause"], told["normal"]) == ("event", True)
            assert told["command"] == "perdure raise a/1 approved '\"\"'"
            done = await ask(client, "raise_event", id="a/1", event="approved", data="yes")
            assert done["done"] == "event 'approved' sent"
            while (state := await ask(client, "show_instance", id="a/1"))["status"] == "running":
                await asyncio.sleep(0.02)
            assert state["output"] == "bob: yes"
            assert "is completed and takes no more commands [PERDURE-1204]" in await refusal(
                client, "cancel_instance", id="a/1"
            )
            assert "[PERDURE-1201]" in await refusal(client, "show_instance", id="none")

    with shell.worker():
        shell.begin("approval", "bob", id="a/1")
        shell.until("a/1", lambda state: state["status"] == "running")
        asyncio.run(talk())
        (entry, end) = shell.lines("audit", "show")
        assert (entry["action"], entry["actor"]["kind"], entry["actor"]["claims"]) == ("raise", "mcp", "mcp 0.1.0")
        assert end["outcome"] == "done"


@pytest.mark.long
def test_ctrl_c_ends_it_while_it_waits_for_a_request(shell):
    shell.begin("approval", "bob", id="waiting")
    command = [sys.executable, "-m", "perdure", "mcp"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=shell.environment, cwd=shell.folder, **pipes) as process:
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        assert b'"id":1' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == -signal.SIGINT
        finally:
            process.kill()


@pytest.mark.long
def test_over_http_it_asks_for_its_token_and_shows_who_called(shell):
    (shell.folder / "token").write_text("open-sesame\n")
    options = ("mcp", "--transport", "http", "--port", "0", "--token-file", "token", "--allow-writes")
    shell.begin("approval", "bob", id="waiting")
    with shell._running(*options, until="serving") as process:
        url = process.wait_for("serving")["url"]

        @asynccontextmanager
        async def caller(**headers):
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                yield client

        async def talk():
            async with caller(authorization="Bearer open-sesame") as client:
                done = await ask(client, "suspend_instance", id="waiting", reason="too early")
                assert done["note"] == "no process runs this app: it is kept until a worker does"
                answer = await client.read_resource("perdure://instances/waiting/explanation")
                assert json.loads(answer.contents[0].text)["cause"] == "no-node"
                with pytest.raises(MCPError, match=r"no instance 'none'.*PERDURE-1201"):
                    await client.read_resource("perdure://instances/none/explanation")
            async with httpx2.AsyncClient() as stranger:
                for headers, status in (
                    ({}, 401),
                    ({"authorization": "Bearer sesame"}, 401),
                    ({"authorization": "Bearer open-sesame", "host": "evil.example"}, 421),
                    ({"authorization": "Bearer open-sesame", "origin": "https://evil.example"}, 403),
                ):
                    asked = {"accept": "application/json", **headers}
                    answer = await stranger.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=asked)
                    assert answer.status_code == status, (headers, answer.text)

        asyncio.run(talk())
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    (entry, _) = shell.lines("audit", "show")
    assert (entry["action"], entry["actor"]["kind"], entry["actor"]["name"]) == ("suspend", "mcp", "mcp-token")
    assert entry["actor"]["place"].startswith("127.0.0.1:")
    assert entry["details"] == {"reason": "too early"}


@pytest.mark.long
def test_at_a_server_its_log_has_who_the_caller_claims_to_be(shell):
    async def talk(port):
        async with over_pipes(shell, "--server", f"127.0.0.1:{port}", "--allow-writes") as client:
            await ask(client, "raise_event", id="waiting", event="approved", data="yes")
            assert (await ask(client, "explain_instance", id="waiting"))["command"].count("--server 127.0.0.1:") == 1

    shell.begin("approval", "bob", id="waiting")
    with shell.server() as server:
        asyncio.run(talk(server.wait_for("owner")["grpc_port"]))
        (entry, _) = shell.lines("audit", "show")
    assert (entry["action"], entry["actor"]["kind"]) == ("raise", "server")
    assert entry["actor"]["claims"].startswith("mcp:")


@pytest.mark.long
def test_without_writes_there_is_nothing_to_write_with(shell):
    async def talk():
        async with over_pipes(shell) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == LOOKS
            assert "Unknown tool" in await refusal(client, "cancel_instance", id="waiting")

    shell.begin("approval", "bob", id="waiting")
    asyncio.run(talk())


@pytest.fixture
def shop(tmp_path):
    """An app that fails, waits and returns much, and a client of its tools in this process."""
    app = App("shop", store=f"sqlite:///{tmp_path}/shop.db")

    @app.workflow
    async def waits() -> str:
        return await wait_for_event("approved", str)

    @app.workflow
    async def fails(text: str) -> None:
        raise ValueError(text)

    @app.workflow
    async def long(text: str) -> str:
        return text

    @asynccontextmanager
    async def opened(role=Role.ADMIN):
        async with app:
            server = mcp_server(app.client, lambda told: told.command, Access(role, "ann", "here"))
            async with Client(server) as client:
                yield app, client

    yield opened
    logging.getLogger().handlers[:] = [
        one for one in logging.getLogger().handlers if "rich" not in type(one).__module__
    ]


def test_the_tools_that_look(shop):
    async def talk():
        async with shop() as (app, client):
            for number in range(3):
                await app.client.workflow("waits").with_options(id=f"w{number}", tags={"n": str(number)}).start()
            handle = await app.client.workflow("fails").with_options(id="f").start("not today")
            await asyncio.wait([asyncio.create_task(handle.result())])
            much = await app.client.workflow("long").with_options(id="l").start("x" * 10_000)
            await much.result()

            listed = await ask(client, "list_instances", workflow="waits", limit=2)
            assert ([one["id"] for one in listed["instances"]], listed["more"]) == (["w2", "w1"], True)
            tagged = await ask(client, "list_instances", tags={"n": "0"}, status=["running", "pending"])
            assert [one["id"] for one in tagged["instances"]] == ["w0"]
            shown = await ask(client, "show_instance", id="f")
            assert shown["failure"][-1] == "ValueError: not today"
            output = (await ask(client, "show_instance", id="l"))["output"]
            assert len(output) < VALUE_CHARACTERS_MAX + 100
            assert output.endswith("... (10,002 characters in all)")
            (cause,) = (await ask(client, "explain_all"))["causes"]
            assert (cause["cause"], cause["count"], cause["example"]["id"]) == ("event", 3, "w0")
            told = await ask(client, "explain_instance", id="f")
            assert (told["cause"], told["sentence"]) == ("finished", "It is failed.")
            first = await ask(client, "get_history", id="w0", limit=1)
            assert (len(first["events"]), first["next_after"]) == (1, 1)
            rest = await ask(client, "get_history", id="w0", after=1)
            assert [event["index"] for event in rest["events"]] == list(range(2, 2 + len(rest["events"])))
            assert "next_after" not in rest
            assert "[PERDURE-1201]" in await refusal(client, "get_history", id="none")
            (group,) = (await ask(client, "list_failures", hours=1))["groups"]
            assert (group["ids"], group["sentence"]) == (["f"], "ValueError: not today")

    asyncio.run(talk())


def test_the_tools_that_steer(shop):
    async def talk():
        async with shop() as (app, client):
            await app.client.workflow("waits").with_options(id="w").start()
            failed = await app.client.workflow("fails").with_options(id="f").start("not today")
            await asyncio.wait([asyncio.create_task(failed.result())])

            again = await ask(client, "rerun_instance", id="f", new_id="f2")
            assert (again["id"], again["done"]) == ("f2", "started as a rerun of f")
            assert "[PERDURE-1202]" in await refusal(client, "rerun_instance", id="f", new_id="w")
            (group, *_) = (await ask(client, "list_failures"))["groups"]
            tried = await ask(client, "retry_failures", fingerprint=group["fingerprint"], canary_seconds=5)
            assert tried["hitch"]
            assert "no failure has the fingerprint" in await refusal(client, "retry_failures", fingerprint="nothing")
            await ask(client, "suspend_instance", id="w", reason="lunch")
            handle = app.client.get("w")
            while (await handle.state()).suspended is None:
                await asyncio.sleep(0.01)
            assert "lunch" in (await ask(client, "show_instance", id="w"))["suspended"]
            await ask(client, "resume_instance", id="w")
            await ask(client, "terminate_instance", id="w")
            while (await handle.state()).status == "running":
                await asyncio.sleep(0.01)
            assert (await handle.state()).status == "terminated"
            entries = (await app.client.audited()).entries
            actors = {json.loads(stored)["actor"]["kind"] for _, stored in entries}
            assert actors == {"mcp"}

    asyncio.run(talk())


MADE_UP = [
    ("list_instances", {"limit": 101}, "less than or equal to 100"),
    ("list_instances", {"status": ["done"]}, "'pending', 'running'"),
    ("list_instances", {"created_after": "yesterday"}, "is no time; write 2030-01-31T12:00:00Z [PERDURE-1001]"),
    ("show_instance", {"id": ""}, "at least 1 character"),
    ("show_instance", {"id": "x" * 1_024}, "[PERDURE-1201]"),
    ("show_instance", {"id": "x" * 1_025}, "at most 1024 characters"),
    ("terminate_instance", {"id": "x", "recursiv": False}, "recursiv\n  Extra inputs are not permitted"),
    ("get_history", {"id": "x", "limit": 0}, "greater than or equal to 1"),
    ("retry_failures", {"fingerprint": "x", "canary_seconds": 1e9}, "less than or equal to 300"),
]


def test_what_a_model_makes_up_is_refused_with_what_is_right(shop):
    async def talk():
        async with shop() as (_, client):
            return [await refusal(client, tool, **arguments) for tool, arguments, _ in MADE_UP]

    for (tool, _, part), said in zip(MADE_UP, asyncio.run(talk()), strict=True):
        assert part in said, tool


def test_hints_tell_what_looks_and_what_ends(shop):
    async def talk(role):
        async with shop(role) as (_, client):
            return {tool.name: tool.annotations for tool in (await client.list_tools()).tools}

    hints = asyncio.run(talk(Role.OPERATE))
    assert set(hints) == LOOKS | STEERS
    assert {name for name, hint in hints.items() if hint.read_only_hint} == LOOKS
    assert {name for name, hint in hints.items() if hint.destructive_hint} == {"cancel_instance"}


def test_a_target_for_readers_takes_no_writes(tmp_path, monkeypatch):
    (tmp_path / "targets.toml").write_text(
        '[prod]\nstore = "sqlite:///a.db"\nrole = "read"\n[lab]\nstore = "sqlite:///b.db"\nrole = "operate"\n'
    )
    monkeypatch.setenv("PERDURE_TARGETS", str(tmp_path / "targets.toml"))
    assert role_of("prod", allow_writes=False) is Role.READ
    assert role_of("lab", allow_writes=True) is Role.OPERATE
    assert role_of(None, allow_writes=True) is Role.ADMIN
    with pytest.raises(NotPermitted, match="leave it away"):
        role_of("prod", allow_writes=True)


def test_a_public_address_needs_tls_and_a_token(refused):
    sentence = refused("mcp", "--store", "sqlite:///x.db", "--transport", "http", "--host", "0.0.0.0", code=2)
    assert "no TLS" in sentence
