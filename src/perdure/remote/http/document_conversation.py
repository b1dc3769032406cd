"""What the OpenAPI document says of conversations: the bodies of the two versions, as far as most programs use them."""

from __future__ import annotations

from typing import Any

from perdure.remote.http.operations import Body
from perdure.remote.wire.conversation import INPUTS_MAX

_TEXT = {"type": "string"}
_TEMPERATURE = {"type": "number", "minimum": 0, "maximum": 2}
_METADATA = {"type": "object", "additionalProperties": _TEXT}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_CONTENT = {"type": "array", "items": _object(["text"], text=_TEXT)}
_CALL = _object(["function"], id=_TEXT, function=_object(["name", "arguments"], name=_TEXT, arguments=_TEXT))
_MESSAGE = {
    "oneOf": [
        *(_object([of], **{of: _object(["content"], name=_TEXT, content=_CONTENT)}) for of in ("ofUser", "ofSystem")),
        _object(["ofDeveloper"], ofDeveloper=_object(["content"], name=_TEXT, content=_CONTENT)),
        _object(
            ["ofAssistant"],
            ofAssistant=_object([], name=_TEXT, content=_CONTENT, toolCalls={"type": "array", "items": _CALL}),
        ),
        _object(["ofTool"], ofTool=_object(["name", "content"], toolId=_TEXT, name=_TEXT, content=_CONTENT)),
    ]
}
_TOOL = _object(["function"], function=_object(["name"], name=_TEXT, description=_TEXT, parameters={"type": "object"}))
BODIES: dict[Body, dict[str, Any]] = {
    Body.CONVERSATION: _object(
        ["inputs"],
        inputs={
            "description": "The messages of one conversation.",
            "type": "array",
            "minItems": 1,
            "items": _object(["content"], content=_TEXT, role={"enum": ["user", "system", "assistant"]}),
        },
        contextID=_TEXT,
        temperature=_TEMPERATURE,
        metadata=_METADATA,
    ),
    Body.CONVERSATIONS: _object(
        ["inputs"],
        inputs={
            "description": "Conversations, each of which is answered.",
            "type": "array",
            "minItems": 1,
            "maxItems": INPUTS_MAX,
            "items": _object(["messages"], messages={"type": "array", "minItems": 1, "items": _MESSAGE}),
        },
        contextId=_TEXT,
        temperature=_TEMPERATURE,
        metadata=_METADATA,
        tools={"type": "array", "items": _TOOL},
        toolChoice=_TEXT,
    ),
}
