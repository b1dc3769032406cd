"""Knows OpenAI's chat protocol: what a request asks of an agent, and an agent's answer whole and in pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    UserPromptPart,
)

from perdure.agents.records import Answer, Spent, Task
from perdure.errors import InvalidArgument
from perdure.transcript import Answered, AnyEntry, Delta, Ended, Restarted

MESSAGES_MAX = 2_000
"""Messages of one request."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""When earlier messages were said, because nobody tells, and the same request has to be the same run."""


class Part(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: str = ""


class Message(msgspec.Struct):
    """Something that was said. Assistants that called tools are not taken, because an agent's tools are its own."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[Any] | None = None

    @property
    def text(self) -> str:
        """The words. Raises InvalidArgument for a part that is none."""
        if isinstance(self.content, list):
            other = next((part.type for part in self.content if part.type not in ("text", "input_text")), None)
            if other is not None:
                raise InvalidArgument(f"a message has a part of type {other[:40]!r}; an agent takes text here")
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct):
    """What a stream is to have beside the pieces."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a chat request. How a model samples is the agent's affair, so those fields are not used."""

    model: str
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    response_format: Any = None
    frequency_penalty: Any = None
    max_completion_tokens: Any = None
    max_tokens: Any = None
    metadata: Any = None
    parallel_tool_calls: Any = None
    presence_penalty: Any = None
    prompt_cache_key: Any = None
    reasoning_effort: Any = None
    safety_identifier: Any = None
    seed: Any = None
    service_tier: Any = None
    store: Any = None
    temperature: Any = None
    top_p: Any = None
    user: Any = None
    verbosity: Any = None


def chat_request(body: bytes) -> ChatRequest:
    """The request in a body. Raises InvalidArgument for what is none, and for what an agent cannot follow."""
    try:
        asked = msgspec.json.decode(body, type=ChatRequest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArgument(f"the body is no chat request: {error}") from None
    if asked.tools:
        raise InvalidArgument("an agent's tools are its own; send the request without `tools`")
    if asked.n not in (None, 1):
        raise InvalidArgument("a run has one answer; send the request without `n`")
    if asked.response_format is not None and asked.response_format != {"type": "text"}:
        raise InvalidArgument("the type of an agent's answer is its own; send the request without `response_format`")
    if not 0 < len(asked.messages) <= MESSAGES_MAX:
        raise InvalidArgument(f"there are {len(asked.messages)} messages; send 1 to {MESSAGES_MAX:,}")
    return asked


def task_of(asked: ChatRequest, session: str | None) -> Task:
    """What the agent is to do: the last message, after those before it. Raises InvalidArgument.

    In a session the agent knows what was said before, so the messages before the last one are left out.
    """
    *before, last = asked.messages
    if last.role != "user":
        raise InvalidArgument(f"the last message is of {last.role[:40]!r}; let it be of the user")
    if session is not None:
        return Task(prompt=last.text, session=session)
    history = ModelMessagesTypeAdapter.dump_python(list(_history(before)), mode="json")
    return Task(prompt=last.text, history=history)


def _history(messages: Iterable[Message]) -> Iterator[ModelMessage]:
    for message in messages:
        if message.role == "user":
            yield ModelRequest([UserPromptPart(message.text, timestamp=EPOCH)])
        elif message.role in ("system", "developer"):
            yield ModelRequest([SystemPromptPart(message.text, timestamp=EPOCH)])
        elif message.role == "assistant" and not message.tool_calls:
            yield ModelResponse([TextPart(message.text)], timestamp=EPOCH)
        else:
            what = "calls tools" if message.role == "assistant" else f"is of {message.role[:40]!r}"
            raise InvalidArgument(f"a message {what}; send those of user, assistant and system, without tools")


def content_of(output: Any) -> str:
    """An output as words: itself, or its JSON."""
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def completion(run: str, model: str, created: int, answer: Answer) -> dict[str, Any]:
    """The whole answer. `created` in seconds since 1970."""
    message = {"role": "assistant", "content": content_of(answer.output), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {
        "id": run,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": _usage(answer.usage),
    }


class Chunks:
    """Makes the pieces of an answer, as OpenAI's protocol has them, of the entries of its run, in order.

    `is_over`: the run had ended before, so its answers are taken whole, and not from what attempts left behind.
    """

    def __init__(self, run: str, model: str, created: int, *, include_usage: bool, is_over: bool) -> None:
        self._head = {"id": run, "object": "chat.completion.chunk", "created": created, "model": model}
        self._include_usage = include_usage
        self._is_over = is_over
        self._said = ""
        """What has come of the answer under way."""
        self._last = ""
        """The words of the last whole answer."""

    def begin(self) -> dict[str, Any]:
        """The first piece."""
        return self._chunk({"role": "assistant", "content": ""})

    def read(self, entry: AnyEntry) -> Iterator[dict[str, Any]]:
        """The pieces that an entry adds. Raises Withdrawn."""
        match entry:
            case Restarted() if self._said:
                raise Withdrawn("the model was interrupted and answers anew; ask again with the same key")
            case Delta() if entry.text and not self._is_over:
                self._said += entry.text
                yield self._content(entry.text)
            case Answered():
                rest = entry.text.removeprefix(self._said)
                self._said, self._last = "", entry.text
                if rest:
                    yield self._content(rest)
            case Ended() if entry.status == "completed":
                yield from self._end(msgspec.convert(entry.output, Answer))

    def _end(self, answer: Answer) -> Iterator[dict[str, Any]]:
        output = content_of(answer.output)
        if output != self._last:
            yield self._content(output)
        yield self._chunk({}, "stop")
        if self._include_usage:
            yield {**self._head, "choices": [], "usage": _usage(answer.usage)}

    def _content(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}


class Withdrawn(Exception):
    """What was said in pieces does not hold any more, and the protocol cannot take it back."""


def models(names: Iterable[str]) -> dict[str, Any]:
    """The list of agents, where clients look for models."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "perdure"} for name in names]
    return {"object": "list", "data": data}


def failure(sentence: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"message": sentence, "type": kind, "param": None, "code": code}}


def _usage(spent: Spent) -> dict[str, int]:
    return {
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.total_tokens,
    }
