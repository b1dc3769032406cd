"""The handle of one run of an agent: its answer, whom it waits for, its steps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from perdure import Handle
from perdure.agents.following import Told, follow
from perdure.agents.records import PENDING, WORKFLOW_PREFIX, Answer, Decision, Pending, Spent
from perdure.agents.trail import AgentStep, edited, found, trail
from perdure.errors import InstanceNotFound, InvalidArgument, NotDecodable

if TYPE_CHECKING:
    from perdure.agents.hosted import DurableAgent

O = TypeVar("O")  # noqa: E741 because it stands for the output
DEPTH_MAX = 10
"""How deep `pending` looks among the agents that were asked by agents."""


class AgentRun(Generic[O]):
    """One run of an agent. `handle` is that of its workflow."""

    def __init__(self, agent: DurableAgent[Any, O], handle: Handle[Answer]) -> None:
        self.agent = agent
        self.handle = handle

    @property
    def id(self) -> str:
        return self.handle.id

    async def result(self, timeout: float | None = None) -> O:
        """The agent's output, when it is there. Raises what the workflow ended with: WorkflowFailed, TimeoutError."""
        return self.agent.read(await self.answer(timeout))

    async def answer(self, timeout: float | None = None) -> Answer:
        """The output as it is stored, with usage and messages, and who has answered. Raises also NotDecodable."""
        result = await self.handle.result(timeout)
        try:
            # converted, because the handle of a run that was started elsewhere knows no type
            return msgspec.convert(result, Answer)
        except msgspec.ValidationError as error:
            raise NotDecodable(
                f"instance {self.id!r} has no answer of an agent, so it is no run of one: {error}"
            ) from None

    def stream(self, after: str = "") -> AsyncGenerator[Told, None]:
        """What the run says and does, live, from behind an offset that a reader was given, until the run has ended.

        Pieces of answers come where the agent's model is a `LiveModel`. Raises InstanceNotFound, InvalidArgument.
        """
        return follow(self.agent.app.client, self.id, after)

    async def usage(self) -> Spent:
        """What the run has used, the agents that it has asked included. It has to have ended."""
        return (await self.answer()).usage

    async def pending(self) -> list[Pending]:
        """The calls that wait for a decision, those of the agents included that it has asked in this app.

        Raises InstanceNotFound.
        """
        return await _pending(self.agent, self.handle, DEPTH_MAX)

    async def approve(self, call_id: str, *, by: str | None = None, arguments: dict[str, Any] | None = None) -> None:
        """Let a call be made that waits for it, with `arguments` instead of the model's if they are given.

        Raises InvalidArgument if no such call waits, or if those of several runs have that id.
        """
        await self._decide(call_id, Decision(approved=True, by=by, arguments=arguments), "approval")

    async def deny(self, call_id: str, *, by: str | None = None, reason: str | None = None) -> None:
        """Do not let a call be made; the model is told the reason. Raises InvalidArgument."""
        await self._decide(call_id, Decision(approved=False, by=by, reason=reason), None)

    async def provide(self, call_id: str, result: Any, *, by: str | None = None) -> None:
        """Give the result of a call whose tool runs elsewhere. Raises InvalidArgument."""
        await self._decide(call_id, Decision(approved=True, by=by, result=result), "result")

    async def _decide(self, call_id: str, decision: Decision, kind: str | None) -> None:
        pending = waiting_call(await self.pending(), self.id, call_id, kind)
        await self.agent.app.client.get(pending.run).raise_event(pending.event, decision)

    async def steps(self) -> list[AgentStep]:
        """What the run did, and does, in the order in which it was asked for."""
        return trail([event async for event in self.handle.history()])

    async def fork(self, step: str | int, *, result: Any = msgspec.UNSET, id: str | None = None) -> AgentRun[O]:
        """A new run with this one's history up to a step; all that follows is made anew. This one has to have ended.

        `step` is the name of one (`weather#1`) or its number. It is made again, unless it gets a `result`: what the
        tool, or the agent that was asked, should have answered; the model's answer as text or a `ModelResponse`. What
        was said in a session stays as it is. Raises InvalidArgument, InstanceNotFinished, EventNotRerunnable.
        """
        chosen = found(await self.steps(), step)
        if result is msgspec.UNSET:
            return AgentRun(self.agent, await self.handle.rerun(chosen.number, id=id))
        return AgentRun(self.agent, await self.handle.rerun(chosen.number, result=edited(chosen, result), id=id))

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to end; what it has in flight is called off."""
        await self.handle.cancel(reason)

    def __repr__(self) -> str:
        return f"<AgentRun {self.id} of {self.agent.name}>"


def waiting_call(waiting: Sequence[Pending], run: str, call_id: str, kind: str | None) -> Pending:
    """The call that a decision is meant for; of any kind with None. Raises InvalidArgument."""
    meant = [pending for pending in waiting if pending.call_id == call_id]
    if not meant:
        known = ", ".join(pending.call_id for pending in waiting) or "none"
        raise InvalidArgument(f"no call {call_id[:200]!r} of {run!r} waits for a decision; there are: {known}")
    if len(meant) > 1:
        # because models number their calls as they like, and a decision for one must not become that of another
        runs = ", ".join(f"{pending.run} of {pending.agent}" for pending in meant)
        raise InvalidArgument(
            f"calls of {len(meant)} runs are called {call_id[:200]!r}; decide each at its run: {runs}"
        )
    pending = meant[0]
    if kind is not None and pending.kind != kind:
        way = "approve or deny it" if pending.kind == "approval" else "provide it, or deny it"
        raise InvalidArgument(f"call {call_id[:200]!r} of {pending.tool} waits for its {pending.kind}; {way}")
    return pending


async def _pending(agent: DurableAgent[Any, Any], handle: Handle[Any], depth: int) -> list[Pending]:
    try:
        found = list(await handle.query(list[Pending], PENDING) or [])
        children = [
            wait for wait in await handle.waits() if wait.kind == "child" and wait.name.startswith(WORKFLOW_PREFIX)
        ]
    except InstanceNotFound:
        if depth == DEPTH_MAX:
            raise
        return []  # because it is of another app, or gone
    for wait in children if depth else ():
        if wait.on is not None:
            found += await _pending(agent, agent.app.client.get(wait.on), depth - 1)
    return found
