"""What an agent said and did, read off the history of its run: requests, answers, tools, tokens.

The names of steps and the JSON of their results are pydantic-ai's; both are stored, so neither changes, and it is not
needed to read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from perdure.codec import Payload, decode, is_packed
from perdure.errors import NotDecodable
from perdure.history import events

STEP_TAG = "perdure.step"
"""The tag of a step, whose value is its kind."""
MODEL, TOOL, ASK = "model", "tool", "ask"
SECOND = 1_000_000
_MODEL_STEP = re.compile(r"(?P<agent>.+)__model\.\w+")
_TOOL_STEP = re.compile(r"(?P<agent>.+?)__.+\.call_tool(:(?P<tool>.+))?")


class Usage(msgspec.Struct, frozen=True):
    """Tokens, and dollars where the price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None

    def plus(self, other: Usage) -> Usage:
        costs = [each for each in (self.cost, other.cost) if each is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            sum(costs, Decimal(0)) if costs else None,
        )


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that the model called. `id` is the provider's."""

    id: str
    tool: str
    arguments: Any


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Something of a run. `at` in microseconds since 1970 UTC; `number` is that of the call in the history, or 0."""

    at: int
    number: int = 0


class Prompted(Entry, frozen=True, tag="prompted"):
    """The run began with this input."""

    input: Any


class Delta(Entry, frozen=True, tag="delta"):
    """A piece of an answer that is being made, where the agent is live."""

    text: str = ""
    thinking: str = ""


class Restarted(Entry, frozen=True, tag="restarted"):
    """An answer is made anew by another attempt: what came of it is to be forgotten."""

    attempt: int


class Asked(Entry, frozen=True, tag="asked"):
    """The model was asked."""

    agent: str


class Answered(Entry, frozen=True, tag="answered"):
    """The model answered. `seconds` with all attempts before; `is_readable` False: a codec keeps it from us."""

    agent: str
    text: str = ""
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    model: str = ""
    seconds: float = 0.0
    attempt: int = 1
    is_readable: bool = True


class Returned(Entry, frozen=True, tag="returned"):
    """A tool returned. `instance` is that of the child workflow that did the work, if one did."""

    tool: str
    call: ToolCall | None = None
    result: Any = None
    seconds: float = 0.0
    attempt: int = 1
    instance: str | None = None


class Failed(Entry, frozen=True, tag="failed"):
    """A request, a tool or a child failed for good: `what` by name."""

    what: str
    message: str
    call: ToolCall | None = None
    attempt: int = 1
    instance: str | None = None


class Waited(Entry, frozen=True, tag="waited"):
    """Somebody outside was asked for something: `what` by name."""

    what: str


class Ended(Entry, frozen=True, tag="ended"):
    """The run ended. `status` is completed, failed, canceled or terminated."""

    status: str
    output: Any = None
    message: str = ""


AnyEntry = Prompted | Asked | Delta | Restarted | Answered | Returned | Failed | Waited | Ended


class _Part(msgspec.Struct):
    part_kind: str
    content: Any = None
    tool_name: str = ""
    args: Any = None
    tool_call_id: str = ""


class _Response(msgspec.Struct):
    parts: list[_Part]
    usage: Usage = Usage()
    model_name: str | None = None


class Transcript:
    """Takes the events of one run in order, and gives entries."""

    def __init__(self) -> None:
        self.usage = Usage()
        """Of all requests that were answered."""
        self._open: dict[int, Any] = {}
        self._called: dict[str, list[ToolCall]] = {}
        self._calls_of: dict[int, ToolCall | None] = {}

    @property
    def under_way(self) -> list[str]:
        """What of the agent's has begun and not ended, by name."""
        return [_called(event) for event in self._open.values() if kind_of(event) in (MODEL, TOOL)]

    def read(self, event: Any) -> Iterable[AnyEntry]:
        """The entries that the event adds."""
        match event:
            case events.RunStarted():
                yield Prompted(at=event.at, input=_value(event.input))
            case events.ActivityScheduled() | events.ChildCreated():
                yield from self._scheduled(event)
            case events.ActivityCompleted() | events.ChildCompleted():
                yield from self._completed(event)
            case events.ActivityFailed() | events.ChildFailed():
                yield from self._failed(event)
            case events.ActivityCancelled() | events.ChildCancelled():
                self._open.pop(event.number, None)
            case events.RunCompleted():
                message = f"{event.failure.type}: {event.failure.message}" if event.failure is not None else ""
                yield Ended(at=event.at, status=event.status, output=_value(event.output), message=message)

    def _scheduled(self, event: Any) -> Iterable[AnyEntry]:
        kind = kind_of(event)
        self._open[event.number] = event
        if kind == MODEL:
            yield Asked(at=event.at, number=event.number, agent=agent_of(event.name))
        elif kind == ASK:
            yield Waited(at=event.at, number=event.number, what=event.name.partition("__ask:")[2])
        elif kind == TOOL:
            self._calls_of[event.number] = self._claimed(_TOOL_STEP.fullmatch(event.name))
        elif isinstance(event, events.ChildCreated):
            self._calls_of[event.number] = self._claimed(None)

    def _claimed(self, step: re.Match[str] | None) -> ToolCall | None:
        """The oldest call that no step has taken, because tools are scheduled in the order of their calls.

        `step`: of that agent and, where the name tells it, that tool.
        """
        for agent, called in self._called.items():
            for at, call in enumerate(called):
                if step is None or (agent == step["agent"] and step["tool"] in (None, call.tool)):
                    return called.pop(at)
        return None

    def _completed(self, event: Any) -> Iterable[AnyEntry]:
        asked = self._open.pop(event.number, None)
        kind = kind_of(asked)
        if kind == MODEL:
            yield self._answered(asked, event)
        elif kind == TOOL:
            call = self._calls_of.pop(event.number, None)
            yield Returned(
                at=event.at,
                number=event.number,
                tool=_tool_of(asked.name) or (call.tool if call is not None else asked.name),
                call=call,
                result=_result(event.result),
                seconds=(event.at - asked.at) / SECOND,
                attempt=event.attempt,
            )
        elif isinstance(asked, events.ChildCreated):
            yield Returned(
                at=event.at,
                number=event.number,
                tool=asked.name,
                call=self._calls_of.pop(event.number, None),
                result=_value(event.result),
                seconds=(event.at - asked.at) / SECOND,
                instance=asked.instance,
            )

    def _answered(self, asked: Any, event: Any) -> Answered:
        agent, seconds = agent_of(asked.name), (event.at - asked.at) / SECOND
        try:
            response: _Response = decode(event.result, _Response)
        except NotDecodable:
            return Answered(at=event.at, number=event.number, agent=agent, seconds=seconds, is_readable=False)
        calls = tuple(
            ToolCall(part.tool_call_id, part.tool_name, _arguments(part.args))
            for part in response.parts
            if part.part_kind == "tool-call"
        )
        self._called[agent] = list(calls)
        self.usage = self.usage.plus(response.usage)
        return Answered(
            at=event.at,
            number=event.number,
            agent=agent,
            text=_joined(response, "text"),
            thinking=_joined(response, "thinking"),
            calls=calls,
            usage=response.usage,
            model=response.model_name or "",
            seconds=seconds,
            attempt=event.attempt,
        )

    def _failed(self, event: Any) -> Iterable[AnyEntry]:
        asked = self._open.pop(event.number, None)
        if asked is None or (kind_of(asked) is None and not isinstance(asked, events.ChildCreated)):
            return
        failure = event.failure
        yield Failed(
            at=event.at,
            number=event.number,
            what=_tool_of(asked.name) or asked.name,
            message=f"{failure.type}: {failure.message}" if failure is not None else "",
            call=self._calls_of.pop(event.number, None),
            attempt=getattr(event, "attempt", 1),
            instance=getattr(asked, "instance", None),
        )


def transcript(history: Iterable[Any]) -> list[AnyEntry]:
    """The entries of a whole history."""
    reader = Transcript()
    return [entry for event in history for entry in reader.read(event)]


def is_of_agent(history: Iterable[Any]) -> bool:
    """Whether a model was asked in this history."""
    return any(kind_of(event) == MODEL for event in history)


def kind_of(event: Any) -> str | None:
    """The kind of step that an event begins; None: it begins none."""
    tags = event.tags if isinstance(event, events.ActivityScheduled) else None
    return tags.get(STEP_TAG) if tags else None


def agent_of(step: str) -> str:
    """The name of the agent in the name of a request."""
    found = _MODEL_STEP.match(step)
    return found["agent"] if found is not None else step


def _tool_of(step: str) -> str | None:
    found = _TOOL_STEP.fullmatch(step)
    return found["tool"] if found is not None else None


def _called(event: Any) -> str:
    return _tool_of(event.name) or agent_of(event.name)


def _joined(response: _Response, kind: str) -> str:
    return "".join(str(part.content) for part in response.parts if part.part_kind == kind and part.content)


def _arguments(given: Any) -> Any:
    """Providers give arguments as an object, or as its text."""
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given)
    except msgspec.DecodeError:
        return given


def _result(payload: Payload | None) -> Any:
    value = _value(payload)
    return value.get("result", value) if isinstance(value, dict) else value


def _value(payload: Payload | None) -> Any:
    """What a payload holds; None for nothing, and for what a codec keeps from us."""
    if payload is None or is_packed(payload):
        return None
    try:
        return decode(payload)
    except NotDecodable:
        return None
