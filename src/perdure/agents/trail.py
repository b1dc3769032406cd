"""What a run of an agent did, step by step, read off its history; and what a step's result has to look like in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_ai.messages import ModelResponse, TextPart

from perdure.agents.records import WORKFLOW_PREFIX, Answer
from perdure.errors import InvalidArgument
from perdure.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
)

STEP_TAG = "perdure.step"
"""The tag of a step, whose value is its kind."""
_LABEL = re.compile(r"__(?:[^_].*\.)?(?P<operation>call_tool|model\.\w+|\w+)(?::(?P<label>.+))?$")
_ENDS = (ActivityCompleted, ActivityFailed, ChildCompleted, ChildFailed)


class AgentStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `name` is what it is called by with how often so far: `model#2`, `weather#1`, `researcher#1`.

    `kind` is model, tool, agent (one that was asked), or another kind of step; `number` is that of its call in the
    history. `result` is as it is stored, None as long as there is none.
    """

    number: int
    name: str
    kind: str
    state: Literal["open", "completed", "failed"]
    result: Any = None


def trail(events: Iterable[Any]) -> list[AgentStep]:
    """The steps of a run, in the order in which they were asked for."""
    asked: dict[int, AgentStep] = {}
    counts: Counter[str] = Counter()
    for event in events:
        if isinstance(event, _ENDS) and event.number in asked:
            asked[event.number] = _ended(asked[event.number], event)
        elif (begun := _begun(event)) is not None:
            label, kind = begun
            counts[label] += 1
            asked[event.number] = AgentStep(
                number=event.number, name=f"{label}#{counts[label]}", kind=kind, state="open"
            )
    return list(asked.values())


def _begun(event: Any) -> tuple[str, str] | None:
    """What a step is called by, and its kind; None for an event that begins none."""
    if isinstance(event, ChildCreated) and event.name.startswith(WORKFLOW_PREFIX):
        return event.name.removeprefix(WORKFLOW_PREFIX), "agent"
    if isinstance(event, ActivityScheduled) and event.tags is not None and STEP_TAG in event.tags:
        kind = event.tags[STEP_TAG]
        found = _LABEL.search(event.name)
        label = (found["label"] or found["operation"]) if found is not None else event.name
        return ("model" if kind == "model" else label), kind
    return None


def _ended(step: AgentStep, event: Any) -> AgentStep:
    if isinstance(event, (ActivityFailed, ChildFailed)):
        return msgspec.structs.replace(step, state="failed")
    result = msgspec.json.decode(event.result.data) if event.result is not None else None
    return msgspec.structs.replace(step, state="completed", result=result)


def found(steps: Iterable[AgentStep], name: str | int) -> AgentStep:
    """The step of a name or number. Raises InvalidArgument."""
    known = list(steps)
    for step in known:
        if name in (step.name, step.number):
            return step
    names = ", ".join(step.name for step in known) or "none"
    raise InvalidArgument(f"the run has no step {name!r}; there are: {names}")


def edited(step: AgentStep, result: Any) -> Any:
    """A result as the history is to have it. Raises InvalidArgument for a step whose result nobody can write."""
    match step.kind:
        case "tool":
            return {"kind": "tool_return", "result": result}
        case "model":
            return _response(result)
        case "agent":
            answer = msgspec.convert(step.result, Answer) if step.result is not None else Answer(agent="nobody")
            return msgspec.structs.replace(answer, output=result, kind="")
        case _:
            raise InvalidArgument(f"step {step.name} is of kind {step.kind}, whose result cannot be edited")


def _response(result: Any) -> Any:
    adapter = _adapter()
    try:
        response = ModelResponse([TextPart(result)]) if isinstance(result, str) else adapter.validate_python(result)
    except ValidationError as error:
        raise InvalidArgument(f"the result is no answer of a model; give text or a ModelResponse: {error}") from error
    return adapter.dump_python(response, mode="json")


@cache
def _adapter() -> TypeAdapter[ModelResponse]:
    """Made when a result is edited first, because that takes longer than the import of all that is here."""
    return TypeAdapter(ModelResponse)
