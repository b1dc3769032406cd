"""What an agent does outside, each as a step of the workflow that runs it: names, kinds, and which errors are final."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from pydantic_ai.durable_exec import (
    CapabilityOperationId,
    DurableOperationId,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelCancelSuspendedResponseId,
    ModelCompactMessagesId,
    ModelRequestId,
    ToolsetCallToolId,
)
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError, UserError

from perdure import ApplicationError, step
from perdure.agents.step_options import StepConfig, StepOptions
from perdure.errors import NotStarted, OnlyInWorkflow

Body = Callable[[], Awaitable[object]]
PASSING_STATUS = frozenset((408, 409, 425, 429))
"""Answers of a provider below 500 after which the same request may succeed."""


class StepBackend(JournalCallableOperationBackend[StepOptions]):
    """Runs pydantic-ai's operations as steps, under the names that its journal convention gives them."""

    def __init__(self, agent_name: str, default_model_id: str | None, config: StepConfig) -> None:
        super().__init__(agent_name=agent_name, default_model_id=default_model_id, config=config)

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Body,
        cache_key: tuple[object, ...],
        config: StepOptions,
    ) -> object:
        """One operation as one step; its place in the run identifies it, so the cache key is not used."""
        kind = kind_of(operation_id)
        # with a stream for the model's words, which a LiveModel puts there
        return await step(name, _decided(body), kind=kind, stream=kind == "model", **config)


def kind_of(operation: DurableOperationId) -> str:
    """What kind of step an operation is: model, tool, event, capability or toolset; kept with the call."""
    match operation:
        case ModelRequestId() | ModelCompactMessagesId() | ModelCancelSuspendedResponseId():
            return "model"
        case ToolsetCallToolId():
            return "tool"
        case EventStreamHandlerId():
            return "event"
        case CapabilityOperationId():
            return "capability"
        case _:
            return "toolset"


def _decided(body: Body) -> Body:
    """The body, whose errors say whether another attempt may help."""

    async def decided() -> object:
        try:
            return await body()
        except Exception as error:
            if is_final(error):
                raise ApplicationError(str(error), type=type(error).__name__, retryable=False) from error
            raise

    return decided


def is_final(error: Exception) -> bool:
    """Whether the same request would fail again: a mistake in the program, or one that the provider has refused."""
    if isinstance(error, ModelHTTPError):
        return error.status_code < 500 and error.status_code not in PASSING_STATUS
    if isinstance(error, AgentRunError):
        return not isinstance(error, ModelAPIError)  # because that is a connection that failed
    return isinstance(error, (UserError, ValidationError, TypeError, NotImplementedError, OnlyInWorkflow, NotStarted))
