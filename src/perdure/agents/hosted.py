"""An agent as an application hosts it: a name, a workflow for each run, and the handle of what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, UserContent
from pydantic_ai.usage import UsageLimits

from perdure import App, Queue, Workflow
from perdure.agents.budget import checked_limits
from perdure.agents.conduct import PROMPT, conduct
from perdure.agents.durability import WorkflowDurability
from perdure.agents.outputs import Outputs
from perdure.agents.records import WORKFLOW_PREFIX, Answer, Approval, Task
from perdure.agents.running import AgentRun
from perdure.agents.sessions import Sessions, checked_session
from perdure.agents.values import loaded, misfit, stored
from perdure.agents.workflow_side import in_workflow
from perdure.errors import InvalidArgument

CONVERSATIONS = Queue("agent.conversations", per_key=1)
"""Where runs wait for those before them in their conversation."""
D = TypeVar("D")
O = TypeVar("O")  # noqa: E741 because it stands for the output
Approvals = Approval | Mapping[str, Approval]


class DurableAgent(Generic[D, O]):
    """A pydantic-ai agent whose runs are workflows: `App("desk", agents=[DurableAgent(Agent(..., name="support"))])`.

    `limits` bound each run together with all the agents that it asks, by default `REQUESTS_MAX` requests. `approvals`
    say how long people are waited for, for all tools or by tool name. `sequential`: one tool call after the other, even
    if the model asks for several. `deps` makes the dependencies of a run from what `start` was given as such, in
    workflow code; without it that is read as the agent's `deps_type`. `durability` has the options of steps, unless the
    agent has the capability itself. Raises InvalidArgument for an agent without a name, and pydantic-ai's UserError for
    a toolset without an id.
    """

    def __init__(
        self,
        agent: Agent[D, O],
        *,
        limits: UsageLimits | None = None,
        approvals: Approvals | None = None,
        sequential: bool = False,
        deps: Callable[[Any], D] | None = None,
        durability: WorkflowDurability[D] | None = None,
    ) -> None:
        if not isinstance(agent, Agent):
            raise InvalidArgument(f"agent is a {type(agent).__name__}; give a pydantic_ai.Agent")
        if agent.name is None:
            raise InvalidArgument("the agent has no name, which its workflow has to have; write Agent(..., name=...)")
        self.agent = agent
        self.name: str = agent.name
        self.limits = checked_limits(limits)
        self.approvals = _checked_approvals(approvals)
        self.sequential = sequential
        self.outputs = Outputs(agent.output_type)
        self.durability: WorkflowDurability[D] = durability or WorkflowDurability()
        if WorkflowDurability.from_agent(agent) is None:
            # now, because a toolset without an id is better refused here, and a run's first turn imports nothing then
            self.durability.for_agent(agent)
        self._make_deps = deps
        self.app = App(f"{WORKFLOW_PREFIX}{self.name}")
        self.sessions = Sessions(self.app, self.name)
        self.workflow: Workflow[[Task], Answer] = self._registered()

    def _registered(self) -> Workflow[[Task], Answer]:
        async def answer(task: Task) -> Answer:
            return await conduct(self, task)

        workflow: Workflow[[Task], Answer] = self.app.workflow(name=f"{WORKFLOW_PREFIX}{self.name}")(answer)
        return workflow

    async def start(
        self,
        prompt: str | Sequence[UserContent],
        *,
        id: str | None = None,
        session: str | None = None,
        deps: Any = None,
    ) -> AgentRun[O]:
        """Begin a run and return its handle once it is durable. The same `id` is the same run, however often it begins.

        `session` names the conversation that it belongs to: the model sees what was said before in it, and what is said
        now is added; its runs go one after the other. `deps`: JSON types, or a value of the agent's `deps_type`.
        """
        return await self.begin(Task(prompt=_stored_prompt(prompt), session=session, deps=self._stored_deps(deps)), id)

    async def begin(self, task: Task, id: str | None = None) -> AgentRun[O]:
        """`start` for a task that is made already, as messages and requests bring it."""
        workflow = self.workflow.with_options(id=id, if_exists="return") if id is not None else self.workflow
        if task.session is not None:
            workflow, task = self._in_turn(workflow, task, task.session)
        return AgentRun(self, await workflow.start(task))

    async def wait_for_turn(self, task: Task, session: str) -> Answer:
        """The answer of a child that has a place in the conversation, for a run that has none. Workflow code."""
        workflow, placed = self._in_turn(self.workflow, task, session)
        return await workflow(placed)

    def _in_turn(
        self, workflow: Workflow[[Task], Answer], task: Task, session: str
    ) -> tuple[Workflow[[Task], Answer], Task]:
        placed = workflow.with_options(queue=CONVERSATIONS, key=f"{self.name}/{checked_session(session)}")
        return placed, msgspec.structs.replace(task, in_turn=True)

    def get(self, id: str) -> AgentRun[O]:
        """The handle of a run that there is, without asking whether."""
        return AgentRun(self, self.app.client.get(id))

    async def __call__(self, prompt: str | Sequence[UserContent], *, deps: Any = None) -> O:
        """In a workflow: the agent's output, from a child workflow. Elsewhere use `start`."""
        answer = await self.workflow(Task(prompt=_stored_prompt(prompt), deps=self._stored_deps(deps)))
        return self.read(answer)

    def read(self, answer: Answer) -> O:
        """The output of an answer; after a handoff to an agent of other outputs as it is stored."""
        if answer.agent != self.name:
            return answer.output  # type: ignore[no-any-return]
        output: O = self.outputs.read(answer.output, answer.kind)
        return output

    async def history(self, session: str) -> list[ModelMessage]:
        """What was said in a conversation, oldest first, by the runs that have ended well. Outside workflows."""
        begun = await self.sessions.book(checked_session(session)).begin("")
        return ModelMessagesTypeAdapter.validate_python(await self.sessions.read(session, range(begun.chapters)))

    def deps_of(self, told: Any) -> D:
        """The dependencies of a run, from what it was started with. Workflow code."""
        if self._make_deps is not None:
            return self._make_deps(told)
        if told is None:
            return None  # type: ignore[return-value]
        try:
            return loaded(self._deps_adapter(), told)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise InvalidArgument(f"the deps of the task do not fit the agent's deps_type: {misfit(error)}") from error

    def check_deps(self, told: Any) -> None:
        """Raise InvalidArgument if no run could have these dependencies. What a function makes of them, a run sees."""
        if self._make_deps is None:
            self.deps_of(told)

    def _stored_deps(self, deps: Any) -> Any:
        return deps if deps is None or self._make_deps is not None else stored(self._deps_adapter(), deps)

    def _deps_adapter(self) -> TypeAdapter[D]:
        try:
            return TypeAdapter(self.agent.deps_type)
        except PydanticSchemaGenerationError as error:
            raise InvalidArgument(
                f"deps of the type of agent {self.name} cannot be stored; give start(deps=...) what they are made "
                "from, and DurableAgent(..., deps=...) a function that makes them"
            ) from error

    def __repr__(self) -> str:
        where = "in a workflow" if in_workflow() else repr(self.app.id)
        return f"<DurableAgent {self.name} {where}>"


def _stored_prompt(prompt: object) -> Any:
    if not isinstance(prompt, (str, Sequence)) or isinstance(prompt, (bytes, bytearray)):
        raise InvalidArgument(f"the prompt is a {type(prompt).__name__}; give text, or a list of parts")
    try:
        checked = PROMPT.validate_python(prompt if isinstance(prompt, str) else list(prompt))
    except ValidationError as error:
        raise InvalidArgument(f"the prompt has a part that is none; give text, images, documents: {error}") from error
    return PROMPT.dump_python(checked, mode="json")


def _is_span(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and 0 < seconds < float("inf")


def _checked_approvals(given: Approvals | None) -> dict[str, Approval]:
    if given is None:
        return {}
    rules = {"": given} if isinstance(given, Approval) else dict(given)
    for tool, rule in rules.items():
        if not isinstance(rule, Approval) or rule.default not in ("deny", "approve"):
            raise InvalidArgument(f"the approval of {tool or 'all tools'} is {rule!r}; give an Approval(...)")
        if rule.timeout is not None and not _is_span(rule.timeout):
            raise InvalidArgument(
                f"the approval of {tool or 'all tools'} has the timeout {rule.timeout!r}; give seconds above 0, or None"
            )
    return rules
