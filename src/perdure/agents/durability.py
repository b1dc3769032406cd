"""The capability that makes any pydantic-ai agent durable inside a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.capabilities import WrapRunHandler
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    conversation_id_from_run_id,
    external_event_scope,
)
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import AgentDepsT, RunContext

import perdure
from perdure import ApplicationError
from perdure.agents.external import EventWaiter
from perdure.agents.step_options import TOOL_KEY, StepConfig, StepOptions
from perdure.agents.steps import StepBackend
from perdure.agents.workflow_side import durably, in_workflow

NO_OPTIONS = StepOptions()


class WorkflowDurability(BaseDurabilityCapability[AgentDepsT]):
    """Makes an agent that runs inside a workflow durable: each model request and each tool call is a step.

    `Agent(..., name="support", capabilities=[WorkflowDurability()])`, and `await agent.run(...)` in a workflow survives
    crashes: what has completed is not made again, what was in flight is made again under the same idempotency key.
    Outside a workflow the agent is an ordinary one. The agent needs a name, and its toolsets need ids, because both are
    part of the names of the steps, which running instances hold.

    `models`: those that a run may switch to, by id. `event_stream_handler` hears the model's events while they come,
    inside the step. `model` and `tool` are the `StepOptions` of requests and of everything else; a tool has its own
    under metadata={"perdure": {...}}, or False: it runs in the workflow's code, where it may call workflows and
    activities and must be deterministic.
    """

    engine_spec: ClassVar[DurabilityEngineSpec] = DurabilityEngineSpec(
        engine_name="Perdure",
        durable_unit_noun="step",
        durable_container_noun="workflow",
        codec=JSON_CODEC,
        serialization_failure=lambda error: ApplicationError(str(error), type=type(error).__name__, retryable=False),
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        # a step enters its own, because what the workflow's loop has entered is of no use on the engine's
        toolset_lifecycles={"function": "enter-never", "mcp": "enter-never", "dynamic": "enter-never"},
        tool_config_key=TOOL_KEY,
    )

    def __init__(
        self,
        *,
        models: Mapping[str, Model] | None = None,
        event_stream_handler: EventStreamHandler[AgentDepsT] | None = None,
        name: str | None = None,
        model: StepOptions = NO_OPTIONS,
        tool: StepOptions = NO_OPTIONS,
    ) -> None:
        super().__init__(models=models, event_stream_handler=event_stream_handler, name=name)
        self._config = StepConfig(model, tool)

    @property
    def in_durable_context(self) -> bool:
        return in_workflow()

    def get_durable_operation_backend(self) -> StepBackend:
        return StepBackend(self.name, self.default_model_id, self._config)

    def get_default_run_id(self) -> str | None:
        return str(perdure.uuid4()) if in_workflow() else None

    def get_default_conversation_id(self, run_id: str) -> str | None:
        return conversation_id_from_run_id(run_id) if in_workflow() else None

    def get_run_clock(self) -> Callable[[], datetime] | None:
        return perdure.now if in_workflow() else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        return perdure.now() if in_workflow() else None

    async def wrap_run(self, ctx: RunContext[AgentDepsT], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        if not in_workflow():
            return await super().wrap_run(ctx, handler=handler)
        with external_event_scope(EventWaiter(self.name)), durably():
            return await super().wrap_run(ctx, handler=handler)
