"""Agents of an unmodified dapr-agents, one role in each process: `python program.py ROLE`.

`keeper` has tools that block, fail and want to be approved; `weather` is another app's agent, which `lead` finds in the
registry and has as a tool; `chief` hands a task round. What really ran is in the folder $LEDGER.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import uvicorn
from dapr_agents import DurableAgent, OpenAIChatClient, tool
from dapr_agents.agents.configs import (
    AgentExecutionConfig,
    AgentPubSubConfig,
    AgentRegistryConfig,
    OrchestrationMode,
    RuntimeSubscriptionConfig,
)
from dapr_agents.hooks import Hooks, Proceed, RequireApproval, ToolHookContext
from dapr_agents.llm import DaprChatClient
from dapr_agents.storage.daprstores.stateservice import StateStoreService
from dapr_agents.workflow.runners import AgentRunner
from fastapi import FastAPI

LEDGER = Path(os.environ["LEDGER"])
BLOCKS_SECONDS = 60


def note(name: str) -> int:
    """Append a line to a file of the ledger; how many it has now."""
    with (LEDGER / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
        os.fsync(file.fileno())
    return len((LEDGER / name).read_text().splitlines())


@tool
def look_up(order: str) -> str:
    """What is known of an order."""
    note(f"look_up-{order}")
    return f"order {order} is late"


@tool
def slow(order: str) -> str:
    """Takes long, the first time."""
    if note(f"slow-{order}") == 1:
        time.sleep(BLOCKS_SECONDS)
    return f"order {order} was slow"


@tool
def refund(order: str) -> str:
    """Gives the money back."""
    note(f"refund-{order}")
    return f"order {order} refunded"


@tool
def forecast(city: str) -> str:
    """The weather of a city."""
    note(f"forecast-{city}")
    return f"{city}: sunny"


def approves(context: ToolHookContext) -> object:
    return RequireApproval(timeout_seconds=600) if context.step_name.lower() == "refund" else Proceed()


def model() -> OpenAIChatClient:
    return OpenAIChatClient(model="any", base_url=os.environ["OPENAI_BASE_URL"], api_key="none")


def registry() -> AgentRegistryConfig:
    return AgentRegistryConfig(store=StateStoreService(store_name="agents"), team_name="team")


def heard(topic: str) -> AgentPubSubConfig:
    return AgentPubSubConfig(pubsub_name="messages", agent_topic=topic, broadcast_topic="all")


def agent(role: str) -> DurableAgent:
    usual = {"role": role, "goal": "help", "instructions": ["be short"]}
    if role == "keeper":  # its state and memory are found by the names agent-workflow and agent-memory
        hooks = Hooks(before_tool_call=[approves])
        return DurableAgent(name=role, llm=model(), tools=[look_up, slow, refund], hooks=hooks, **usual)
    if role == "weather":
        return DurableAgent(
            name=role, llm=model(), tools=[forecast], registry=registry(), pubsub=heard("weather"), **usual
        )
    if role == "lead":
        return DurableAgent(name=role, llm=model(), tools=[look_up], registry=registry(), pubsub=heard("lead"), **usual)
    if role == "chief":
        rounds = AgentExecutionConfig(max_iterations=2, orchestration_mode=OrchestrationMode.ROUNDROBIN)
        return DurableAgent(
            name=role, llm=model(), registry=registry(), pubsub=heard("chief"), execution=rounds, **usual
        )
    # its model is the component of the block conversation, its tools are those of a declared server, and its settings
    # change while it runs
    follows = RuntimeSubscriptionConfig(store_name="settings", keys=["agent_role"])
    return DurableAgent(name=role, llm=DaprChatClient(component_name="llm"), configuration=follows, **usual)


def main() -> None:
    app = FastAPI()
    runner = AgentRunner()
    served = agent(sys.argv[1])
    runner.serve(served, app=app)

    @app.get("/settings")
    def settings() -> dict[str, str]:
        return {"role": served.profile.role or "", **served._runtime_secrets}

    print("READY", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["APP_PORT"]), log_level="warning")


if __name__ == "__main__":
    main()
