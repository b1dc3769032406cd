"""One process with an agent whose tools are those of an MCP server: `STORE PORT`; it prints the answer."""

import asyncio
import sys
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel

from perdure import App, Retry
from perdure.agents import StepOptions, WorkflowDurability
from tests.agents.scripts import call, returned, says

STORE, PORT = sys.argv[1:]
PATIENT = StepOptions(retry=Retry(max_attempts=100, initial_interval=0.1, max_interval=0.2))
app = App("shop", store=STORE)


async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    got = returned(messages)
    if "stock" not in got:
        return says(call("stock", sku="abc"))
    if "add" not in got:
        return says(call("add", x=got["stock"]))
    return says(f"{sorted(tool.name for tool in info.function_tools)}: {got['add']}")


agent = Agent(
    FunctionModel(respond),
    name="keeper",
    toolsets=[MCPToolset(f"http://127.0.0.1:{PORT}/mcp", id="shop")],
    capabilities=[WorkflowDurability(tool=PATIENT)],
)


@agent.tool_plain
async def add(x: int) -> int:
    print("adding", flush=True)
    while Path("hold-add").exists():
        await asyncio.sleep(0.01)
    return x + 1


@app.workflow
async def keep() -> str:
    return (await agent.run("How many?")).output


async def main() -> None:
    async with app:
        handle = await keep.with_options(id="k", if_exists="return").start()
        print("begun", flush=True)
        print(await handle.result(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
