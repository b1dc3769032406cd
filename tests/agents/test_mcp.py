"""Tools of an MCP server, a real one in a process of its own: each call is a step, and what has completed stays."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, RunContext
from pydantic_ai.exceptions import UserError
from pydantic_ai.mcp import CallToolFunc, MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.test import TestModel

import perdure
from perdure import App
from perdure.agents import DurableAgent
from tests.agents.scripts import call, plain, returned, says

SERVER = textwrap.dedent(
    """
    import sys
    from mcp.server.mcpserver import Context, MCPServer

    server = MCPServer("shelf")

    @server.tool()
    def count(sku: str, context: Context) -> int:
        key = (context.request_context.meta or {}).get("perdure/idempotency-key")
        with open(sys.argv[1], "a") as ledger:
            ledger.write(f"{sku} {key}\\n")
        return 12

    server.run()
    """
)


async def keyed(ctx: RunContext[Any], call_tool: CallToolFunc, name: str, arguments: dict[str, Any]) -> Any:
    """As the page on agents has it."""
    key = perdure.activity_context().idempotency_key
    return await call_tool(name, arguments, metadata={"perdure/idempotency-key": key})


@pytest.mark.long
def test_a_tool_of_a_server_is_called_once_and_its_answer_outlives_the_process(run, url, tmp_path):
    program, ledger = tmp_path / "server.py", tmp_path / "ledger"
    program.write_text(SERVER)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        if "count" not in got:
            return says(call("count", sku="tea"))
        return says(call("pause")) if "pause" not in got else says(f"{got['count']} are left")

    def fresh(pause: float) -> tuple[App, DurableAgent[None, str]]:
        transport = StdioTransport(sys.executable, [str(program), str(ledger)], keep_alive=False)
        toolset = MCPToolset(transport, id="shelf", process_tool_call=keyed)
        agent = Agent(plain(answer), name="storekeeper", toolsets=[toolset])

        @agent.tool_plain(name="pause")
        async def paused() -> str:
            await asyncio.sleep(pause)
            return "rested"

        hosted = DurableAgent(agent)
        return App("shelf", store=url, agents=[hosted], drain_seconds=0.0), hosted

    async def scenario():
        app, agent = fresh(60)
        async with app:
            await agent.start("How many?", id="r")
            while "pause#1" not in [step.name for step in await agent.get("r").steps()]:
                await asyncio.sleep(0.05)
        app, agent = fresh(0)
        async with app:
            result = await agent.get("r").result(30)
            return result, [(step.name, step.kind) for step in await agent.get("r").steps()]

    result, steps = run(scenario)
    assert result == "12 are left"
    (line,) = Path(ledger).read_text().splitlines()
    assert line.startswith("tea ")
    assert len(line) > len("tea None")
    assert ("call_tool#1", "tool") in steps


def test_a_toolset_without_an_id_is_refused_where_the_agent_is_hosted():
    agent = Agent(TestModel(), name="x", toolsets=[MCPToolset("http://127.0.0.1:9/mcp")])
    with pytest.raises(UserError, match="id"):
        DurableAgent(agent)
