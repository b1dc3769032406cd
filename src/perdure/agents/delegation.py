"""Agents that ask others: as a tool, whose call is a child workflow, or by a handoff: then the other one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, create_model
from pydantic_ai.messages import ModelResponse
from pydantic_ai.output import ToolOutput
from pydantic_ai.tools import RunContext, Tool

from perdure import App, Workflow
from perdure.agents.budget import DEFAULT_LIMITS, share, usage_of
from perdure.agents.records import WORKFLOW_PREFIX, Answer, Task
from perdure.agents.step_options import TOOL_KEY
from perdure.agents.workflow_side import in_workflow
from perdure.errors import InvalidArgument, NotStarted

if TYPE_CHECKING:
    from perdure.agents.hosted import DurableAgent

HANDOFFS_MAX = 10
"""Handoffs of one task, so that agents do not send it round in a circle."""
ASKED = "perdure.agent"
"""Key of a tool's metadata that has the name of the agent which the tool asks."""
_tools: set[str] = set()
"""Names of the tools of this program that ask agents."""


def agent_tool(
    agent: DurableAgent[Any, Any] | str,
    *,
    name: str | None = None,
    description: str | None = None,
    app_id: str | None = None,
) -> Tool[Any]:
    """Another agent as a tool: each call is a child workflow, with its own run, history and retries.

    `agent` is one of this program, or the name of one, with `app_id` if another app has it. It gets the prompt that the
    model writes and a share of the caller's limits; what it has used is added to the caller's usage. `name` of the tool
    is else `ask_NAME`. Outside a workflow an agent of this program is run in place. Raises InvalidArgument.
    """
    asked = agent if isinstance(agent, str) else agent.name
    tool_name = name or f"ask_{asked.replace('-', '_').replace('.', '_')}"

    _tools.add(tool_name)

    async def ask(ctx: RunContext[Any], prompt: str) -> Any:
        if not in_workflow():
            return await _in_place(agent, ctx, prompt)
        limits = share(ctx.usage_limits or DEFAULT_LIMITS, ctx.usage, _asked_with(ctx, tool_name))
        answer = await child(asked, app_id)(Task(prompt=prompt, limits=limits))
        ctx.usage.incr(usage_of(answer.usage))
        return answer.output

    return Tool(
        ask,
        takes_ctx=True,
        name=tool_name,
        description=description or _described(agent),
        metadata={TOOL_KEY: False, ASKED: asked},
    )


def handoff(agent: DurableAgent[Any, Any] | str, *, description: str | None = None, app_id: str | None = None) -> Any:
    """An output of an agent that hands the conversation over: the other agent answers in its place.

    `Agent(..., output_type=[str, handoff(billing)])`. The other one gets the messages so far, and what the model adds.
    """
    asked = agent if isinstance(agent, str) else agent.name
    told = create_model(f"HandOff_{asked}", __base__=Handoff)
    told.agent, told.app_id = asked, app_id
    text = description or f"Hand the conversation over to {asked}, who answers from then on. {_described(agent)}"
    return ToolOutput(told, name=f"hand_over_to_{asked.replace('-', '_').replace('.', '_')}", description=text)


class Handoff(BaseModel):
    """What the model says when it hands over; to which agent, of which app, is the class's."""

    agent: ClassVar[str] = ""
    app_id: ClassVar[str | None] = None
    message: str


def child(agent: str, app_id: str | None) -> Workflow[[Task], Answer]:
    """The workflow of an agent, to be called by name: its code may be in another app."""
    workflow: Workflow[[Task], Answer] = Workflow(_elsewhere, WORKFLOW_PREFIX + agent, _NOWHERE)
    return workflow if app_id is None else workflow.with_options(app_id=app_id)


async def _elsewhere(task: Task) -> Answer:
    raise NotStarted("this stands for the code of an agent that runs as a child")


_NOWHERE = App("agents")


async def _in_place(agent: DurableAgent[Any, Any] | str, ctx: RunContext[Any], prompt: str) -> Any:
    if isinstance(agent, str):
        raise InvalidArgument(f"agent {agent!r} is known by name alone; run its caller in a workflow")
    result = await agent.agent.run(prompt, usage=ctx.usage, usage_limits=ctx.usage_limits)
    return result.output


def _asked_with(ctx: RunContext[Any], tool_name: str) -> int:
    """How many agents the model's last answer asks; at least this one."""
    last = next((message for message in reversed(ctx.messages) if isinstance(message, ModelResponse)), None)
    names = [part.tool_name for part in last.tool_calls] if last is not None else []
    return max(sum(name == tool_name or name in _tools for name in names), 1)


def _described(agent: DurableAgent[Any, Any] | str) -> str:
    described = None if isinstance(agent, str) else agent.agent.render_description(None)
    return described or f"Ask the agent {agent if isinstance(agent, str) else agent.name}."
