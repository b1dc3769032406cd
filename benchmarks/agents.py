"""What it costs an agent to be durable: the same runs with and without a workflow, in turn, in one process.

python -m benchmarks.agents agents perdure FOLDER [--quick]
"""

import asyncio
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from benchmarks.process import Meter
from perdure import App
from perdure.agents import WorkflowDurability

CALLS = 20
"""Requests to the model in a run; each but the last asks for a tool."""
PAIRS, PAIRS_QUICK = 30, 5
IMPORTS, IMPORTS_QUICK = 5, 2
IMPORT = """
import time
before = time.perf_counter()
import perdure.agents
print(time.perf_counter() - before)
"""


async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Answers at once, so that what is measured is not the model."""
    if len(messages) >= 2 * CALLS - 1:
        return ModelResponse([TextPart("done")])
    return ModelResponse([ToolCallPart("look", {}, tool_call_id=f"call-{len(messages)}")])


async def look() -> str:
    return "seen"


agent = Agent(FunctionModel(model), name="bench", tools=[look], capabilities=[WorkflowDurability()])


async def measure(folder: Path, pairs: int) -> dict[str, Any]:
    """CPU of a request to the model with its tool, plain and durable: the median of each."""
    app = App("bench", store=f"sqlite:///{folder}/agents.db")

    @app.workflow
    async def ask(prompt: str) -> str:
        return (await agent.run(prompt)).output

    plain: list[dict[str, float]] = []
    durable: list[dict[str, float]] = []
    async with app:
        for _ in range(pairs + 2):
            with Meter() as meter:
                await agent.run("Look.")
            plain.append(meter.each(CALLS))
            with Meter() as meter:
                await (await ask.start("Look.")).result()
            durable.append(meter.each(CALLS))
    return {
        "plain_s": statistics.median(sample["cpu_s"] for sample in plain[2:]),
        "cpu_s": statistics.median(sample["cpu_s"] for sample in durable[2:]),
        "wall_s": statistics.median(sample["wall_s"] for sample in durable[2:]),
    }


def imported(count: int) -> float:
    """Seconds of `import perdure.agents` in a fresh interpreter, the best of some after one that may compile."""
    command = [sys.executable, "-c", IMPORT]
    return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(count + 1))


def main(_: str, __: str, folder: str, *options: str) -> None:
    is_quick = "--quick" in options
    sample = asyncio.run(measure(Path(folder), PAIRS_QUICK if is_quick else PAIRS))
    print(json.dumps({**sample, "import_s": imported(IMPORTS_QUICK if is_quick else IMPORTS)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
