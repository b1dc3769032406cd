"""Conversations with language models in Dapr's own API, in its two versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from google.protobuf import json_format, struct_pb2, wrappers_pb2
from google.protobuf.message import DecodeError

from perdure.blocks.conversation import Answer, Conversation, Message, Tool, ToolCall
from perdure.errors import MalformedMessage
from perdure.remote.wire.schema import RUNTIME_SCHEMA

INPUTS_MAX = 100
"""Conversations of one call, each of which is a request to the model."""
_VALUES: Mapping[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        wrappers_pb2.BoolValue,
        wrappers_pb2.DoubleValue,
        wrappers_pb2.FloatValue,
        wrappers_pb2.Int32Value,
        wrappers_pb2.Int64Value,
        wrappers_pb2.StringValue,
        wrappers_pb2.UInt32Value,
        wrappers_pb2.UInt64Value,
        struct_pb2.ListValue,
        struct_pb2.Struct,
    )
}
"""Messages that a parameter may be, by their names."""
_ROLES = ("developer", "system", "user", "assistant", "tool")


class Converse(msgspec.Struct, frozen=True, kw_only=True):
    """A call: what is said to which component. `scrubs`: names and numbers of people are to be taken out first."""

    component: str
    conversations: Sequence[Conversation]
    context: str = ""
    scrubs: bool = False


def read_alpha1(data: bytes) -> Converse:
    """A ConversationRequest, whose inputs are the messages of one conversation. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("ConversationRequest", data)
    said = tuple(Message(role=each.role or "user", text=each.content) for each in message.inputs)
    conversation = Conversation(
        messages=said, temperature=_temperature(message), parameters=_parameters(message.parameters)
    )
    scrubs = message.scrubPII or any(each.scrubPII for each in message.inputs)
    return Converse(
        component=message.name, conversations=(conversation,), context=message.contextID, scrubs=bool(scrubs)
    )


def read_alpha2(data: bytes) -> Converse:
    """A ConversationRequestAlpha2, each of whose inputs is a conversation. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("ConversationRequestAlpha2", data)
    if len(message.inputs) > INPUTS_MAX:
        raise MalformedMessage(f"{len(message.inputs)} inputs in one call; send at most {INPUTS_MAX}")
    tools = tuple(_tool(each.function) for each in message.tools if each.HasField("function"))
    conversations = tuple(
        Conversation(
            messages=tuple(_message(each) for each in one.messages),
            tools=tools,
            tool_choice=message.tool_choice or None,
            temperature=_temperature(message),
            answer_format=_plain(message.response_format) if message.HasField("response_format") else None,
            parameters=_parameters(message.parameters),
        )
        for one in message.inputs
    )
    scrubs = message.scrub_pii or any(each.scrub_pii for each in message.inputs)
    return Converse(
        component=message.name, conversations=conversations, context=message.context_id, scrubs=bool(scrubs)
    )


def write_alpha1(asked: Converse, answers: Sequence[Answer]) -> bytes:
    """A ConversationResponse."""
    message = RUNTIME_SCHEMA.ConversationResponse(
        outputs=[{"result": choice.message.text} for answer in answers for choice in answer.choices]
    )
    if asked.context:
        message.contextID = asked.context
    return _bytes(message)


def write_alpha2(asked: Converse, answers: Sequence[Answer]) -> bytes:
    """A ConversationResponseAlpha2."""
    message = RUNTIME_SCHEMA.ConversationResponseAlpha2(outputs=[_output(answer) for answer in answers])
    if asked.context:
        message.context_id = asked.context
    return _bytes(message)


class Version(NamedTuple):
    """One version of the call: the names of its messages, and how they are read and written."""

    request: str
    response: str
    read: Callable[[bytes], Converse]
    write: Callable[[Converse, Sequence[Answer]], bytes]

    def read_json(self, component: str, text: str) -> Converse:
        """A request in JSON, which names no component itself. Raises MalformedMessage."""
        message = RUNTIME_SCHEMA.parse_json(self.request, text)
        message.name = component
        return self.read(message.SerializeToString())

    def write_json(self, asked: Converse, answers: Sequence[Answer]) -> str:
        """The response in JSON."""
        return RUNTIME_SCHEMA.write_json(self.response, self.write(asked, answers))


ALPHA1 = Version("ConversationRequest", "ConversationResponse", read_alpha1, write_alpha1)
ALPHA2 = Version("ConversationRequestAlpha2", "ConversationResponseAlpha2", read_alpha2, write_alpha2)


def _message(message: Any) -> Message:
    kind = message.WhichOneof("message_types")
    if kind is None:
        raise MalformedMessage("a message of a conversation is of no kind; send one of " + ", ".join(_ROLES))
    said, role = getattr(message, kind), kind.removeprefix("of_")
    calls = [
        ToolCall(id=each.id, name=each.function.name, arguments=each.function.arguments)
        for each in (said.tool_calls if role == "assistant" else ())
    ]
    return Message(
        role=role,
        text="".join(part.text for part in said.content),
        name=said.name,
        tool_calls=tuple(calls),
        tool_id=said.tool_id if role == "tool" else "",
    )


def _tool(function: Any) -> Tool:
    parameters = _plain(function.parameters) if function.HasField("parameters") else None
    return Tool(name=function.name, description=function.description, parameters=parameters)


def _output(answer: Answer) -> Any:
    output = RUNTIME_SCHEMA.ConversationResultAlpha2()
    for index, choice in enumerate(answer.choices):
        written = output.choices.add(finish_reason=choice.finish, index=index)
        written.message.content = choice.message.text
        for call in choice.message.tool_calls:
            written.message.tool_calls.add(id=call.id, function={"name": call.name, "arguments": call.arguments})
    if answer.model:
        output.model = answer.model
    if answer.usage is not None:
        _count(output.usage, answer.usage)
    return output


def _count(usage: Any, counted: Mapping[str, Any]) -> None:
    """Those counts that the message has; others are the provider's own."""
    for field in usage.DESCRIPTOR.fields:
        value = counted.get(field.name)
        if isinstance(value, Mapping) and field.message_type is not None:
            _count(getattr(usage, field.name), value)
        elif field.message_type is None and isinstance(value, int) and 0 <= value < 2**63:
            setattr(usage, field.name, value)


def _temperature(message: Any) -> float | None:
    return message.temperature if message.HasField("temperature") else None


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(name, each) for name, each in given.items()}


def _value(name: str, given: Any) -> Any:
    """What an Any holds: one of Google's wrappers of a value, or a structure."""
    kind = _VALUES.get(given.type_url.rpartition("/")[2])
    try:
        if kind is None:
            raise DecodeError
        found = kind.FromString(given.value)
    except DecodeError:
        raise MalformedMessage(
            f"parameter {name!r} is a {given.type_url or 'value of no type'}; send one of {', '.join(_VALUES)}"
        ) from None
    return found.value if hasattr(found, "value") else _whole(json_format.MessageToDict(found))


def _plain(struct: Any) -> dict[str, Any]:
    found: dict[str, Any] = _whole(json_format.MessageToDict(struct))
    return found


def _whole(value: Any) -> Any:
    """Numbers as they were written, because a structure has them all as fractions, and a schema counts in wholes."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
