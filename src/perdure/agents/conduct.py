"""One run of a hosted agent, as workflow code: the conversation before it, the agent, a handoff, what is kept of it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, UserContent
from pydantic_ai.run import AgentRunResult
from pydantic_ai.usage import RunUsage, UsageLimits

from perdure import ApplicationError
from perdure.agents.approvals import Approvals
from perdure.agents.budget import share, spent, usage_of, within
from perdure.agents.conversation import found
from perdure.agents.delegation import HANDOFFS_MAX, Handoff, child
from perdure.agents.durability import WorkflowDurability
from perdure.agents.records import Answer, Task
from perdure.agents.workflow_side import durably

if TYPE_CHECKING:
    from perdure.agents.hosted import DurableAgent

PROMPT: TypeAdapter[str | list[UserContent]] = TypeAdapter(str | list[UserContent])


async def conduct(hosted: DurableAgent[Any, Any], task: Task) -> Answer:
    """Answer a task. Workflow code."""
    if task.session is not None and not task.in_turn:
        # because whoever begins a run, such as a topic, need not know that a conversation's runs go one by one
        return await hosted.wait_for_turn(task, task.session)
    conversation = await found(hosted.sessions, task.session)
    history = ModelMessagesTypeAdapter.validate_python([*conversation.messages, *task.history])
    usage, limits = RunUsage(), within(hosted.limits, task.limits)
    result = await _asked(hosted, task, history, usage, limits)
    messages: list[Any] = ModelMessagesTypeAdapter.dump_python(result.new_messages(), mode="json")
    if isinstance(result.output, Handoff):
        answer = await _handed_over(
            result.output, task, [*conversation.messages, *task.history, *messages], usage, limits
        )
        answer = Answer(
            agent=answer.agent,
            output=answer.output,
            kind=answer.kind,
            usage=spent(usage + usage_of(answer.usage)),
            messages=[*messages, *answer.messages],
        )
    else:
        output, kind = hosted.outputs.store(result.output)
        answer = Answer(agent=hosted.name, output=output, kind=kind, usage=spent(usage), messages=messages)
    await conversation.append(answer.messages)
    return answer


async def _asked(
    hosted: DurableAgent[Any, Any], task: Task, history: list[ModelMessage], usage: RunUsage, limits: UsageLimits
) -> AgentRunResult[Any]:
    agent = hosted.agent
    capabilities: list[Any] = [Approvals(hosted.name, hosted.approvals)]
    if WorkflowDurability.from_agent(agent) is None:
        capabilities.append(hosted.durability)
    one_by_one = agent.parallel_tool_call_execution_mode("sequential") if hosted.sequential else nullcontext()
    with one_by_one, durably():
        return await agent.run(
            PROMPT.validate_python(task.prompt),
            message_history=history or None,
            deps=hosted.deps_of(task.deps),
            usage=usage,
            usage_limits=limits,
            conversation_id=task.session,
            capabilities=capabilities,
        )


async def _handed_over(to: Handoff, task: Task, messages: list[Any], usage: RunUsage, limits: UsageLimits) -> Answer:
    """The answer of the agent that the conversation was handed to."""
    if task.handoffs >= HANDOFFS_MAX:
        raise ApplicationError(
            f"the task was handed over {HANDOFFS_MAX} times; let an agent answer it",
            type="TooManyHandoffs",
            retryable=False,
        )
    asked = child(to.agent, to.app_id)
    return await asked(
        Task(
            prompt=to.message,
            deps=task.deps,
            history=messages,
            limits=share(limits, usage, 1),
            handoffs=task.handoffs + 1,
        )
    )
