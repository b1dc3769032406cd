"""People in the loop: a call that asks for approval waits in the workflow, for days if need be, and costs nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import (
    AgentDepsT,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDenied,
)

import perdure
from perdure import set_state, workflow_context
from perdure.agents.records import PENDING, Approval, Decision, Pending
from perdure.agents.workflow_side import heard, in_workflow

APPROVAL = Approval()
"""Of a tool of which nothing is said."""
ID_CHARACTERS_MAX = 200
"""Of the id of a call that is part of the name of an event; some providers put a whole state into theirs."""


def event_of(call_id: str, time: int = 1) -> str:
    """The event that decides the `time`-th call of an id in its run, because models use ids again.

    So a decision that comes twice, or too late, is never that of a call which is asked later.
    """
    word = call_id
    if len(call_id) > ID_CHARACTERS_MAX or not call_id.isprintable():
        word = hashlib.sha256(call_id.encode()).hexdigest()  # because an event's name is short and can be printed
    return f"agent.decision.{word}" if time == 1 else f"agent.decision#{time}.{word}"


class Approvals(AbstractCapability[AgentDepsT]):
    """Waits for a `Decision` on each call that is deferred; `rules` by tool, "" for the others."""

    def __init__(self, agent: str, rules: Mapping[str, Approval]) -> None:
        self._agent = agent
        self._rules = rules
        self._pending: dict[str, Pending] = {}
        self._times: Counter[str] = Counter()
        """How often each id of a call has been asked about."""

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """The decisions, once all are there; outside a workflow nobody is asked, and the run ends with the requests."""
        if not in_workflow():
            return None
        approvals, calls = await asyncio.gather(
            asyncio.gather(*(self._decided(call, "approval") for call in requests.approvals)),
            asyncio.gather(*(self._decided(call, "result") for call in requests.calls)),
        )
        return requests.build_results(
            approvals={call.tool_call_id: _verdict(d) for call, d in zip(requests.approvals, approvals, strict=True)},
            calls={call.tool_call_id: _outcome(d) for call, d in zip(requests.calls, calls, strict=True)},
        )

    async def _decided(self, call: ToolCallPart, kind: Literal["approval", "result"]) -> Decision:
        rule = self._rules.get(call.tool_name) or self._rules.get("", APPROVAL)
        known = call.tool_call_id.lower()  # because the case of an event's name does not matter
        self._times[known] += 1
        event = event_of(call.tool_call_id, self._times[known])
        self._publish(call, self._asked(call, kind, rule, event))
        try:
            async with asyncio.timeout(rule.timeout):
                decision = await heard(event, Decision)
        except TimeoutError:
            approved = rule.default == "approve" and kind == "approval"
            decision = Decision(approved=approved, reason=f"nobody decided within {rule.timeout:g} s")
        self._publish(call, None)
        return decision

    def _asked(self, call: ToolCallPart, kind: Literal["approval", "result"], rule: Approval, event: str) -> Pending:
        return Pending(
            run=workflow_context().instance_id,
            call_id=call.tool_call_id,
            agent=self._agent,
            tool=call.tool_name,
            kind=kind,
            arguments=call.args_as_dict(),
            until=perdure.now() + timedelta(seconds=rule.timeout) if rule.timeout is not None else None,
            event=event,
        )

    def _publish(self, call: ToolCallPart, asked: Pending | None) -> None:
        """Let `AgentRun.pending` see what is waited for."""
        if asked is None:
            self._pending.pop(call.tool_call_id, None)
        else:
            self._pending[call.tool_call_id] = asked
        set_state(list(self._pending.values()), PENDING)


def _verdict(decision: Decision) -> ToolApproved | ToolDenied:
    if decision.approved:
        return ToolApproved(override_args=decision.arguments)
    return ToolDenied(decision.reason or "The tool call was denied.")


def _outcome(decision: Decision) -> Any:
    return decision.result if decision.approved else ToolFailed(decision.reason or "There is no result.")
