"""How the steps of an agent are tried: again or not, and for how long; by kind of step, and by tool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict, cast

from pydantic_ai.durable_exec import DurableOperationId, OperationConfigRole
from pydantic_ai.exceptions import UserError
from pydantic_ai.tools import ToolDefinition

from perdure import Retry

TOOL_KEY = "perdure"
"""Key of a tool's metadata under which its `StepOptions` are, or False: it runs in the workflow's own code."""


class StepOptions(TypedDict, total=False):
    """Options of a step, as those of an activity; times in seconds. What is left out is as the agent says."""

    retry: Retry
    timeout: float | timedelta
    heartbeat_timeout: float | timedelta


MODEL_OPTIONS = StepOptions(retry=Retry(max_attempts=5, max_interval=60.0, jitter=0.1))
"""Of model requests: a provider that is busy, or away, is asked again for half a minute."""
TOOL_OPTIONS = StepOptions(retry=Retry(max_attempts=3, max_interval=60.0, jitter=0.1))
"""Of tools, discovery and what else an agent does outside."""
_KNOWN = frozenset(StepOptions.__annotations__)


class StepConfig:
    """The options of each operation, as pydantic-ai asks for them."""

    def __init__(self, model: StepOptions, tool: StepOptions) -> None:
        self._model = {**MODEL_OPTIONS, **checked_options(model, "model")}
        self._tool = {**TOOL_OPTIONS, **checked_options(tool, "tool")}

    def base(self, role: OperationConfigRole, *, operation_id: DurableOperationId) -> StepOptions:
        """Of what no tool has its own options for."""
        return cast(StepOptions, self._model if role == "model" else self._tool)

    def for_tool(
        self, role: OperationConfigRole, *, operation_id: DurableOperationId, tool: object | None, tool_name: str
    ) -> StepOptions | Literal[False]:
        """Of one tool, from its metadata; False: it is no step. Raises UserError for metadata that says neither."""
        own = _metadata(tool).get(TOOL_KEY)
        if own is False:
            return False
        if own is None:
            return cast(StepOptions, self._tool)
        if not isinstance(own, Mapping):
            raise UserError(
                f"tool {tool_name!r} has metadata {TOOL_KEY!r} of type {type(own).__name__}; give a dict of options, "
                "or False to run it in the workflow's own code"
            )
        return cast(StepOptions, {**self._tool, **checked_options(own, f"tool {tool_name!r}")})


def checked_options(options: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    """The options. Raises UserError for one that does not exist, or cannot be."""
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise UserError(f"the options of {of} have no {unknown[0]!r}; there are {', '.join(sorted(_KNOWN))}")
    retry = options.get("retry")
    if retry is not None and not isinstance(retry, Retry):
        raise UserError(f"the retry of {of} is {retry!r}; give Retry(max_attempts=...)")
    for name in ("timeout", "heartbeat_timeout"):
        span = options.get(name)
        seconds = span.total_seconds() if isinstance(span, timedelta) else span
        if seconds is not None and not (isinstance(seconds, (int, float)) and seconds > 0):
            raise UserError(f"the {name} of {of} is {span!r}; give seconds above 0, or a timedelta")
    return options


def _metadata(tool: object | None) -> Mapping[str, Any]:
    definition = getattr(tool, "tool_def", None)
    found = definition.metadata if isinstance(definition, ToolDefinition) else None
    return found or {}
