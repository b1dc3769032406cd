"""A model that follows a script, so that the examples run offline and say the same each time.

Set EXAMPLE_MODEL to the name of a real one, as pydantic-ai knows it ("openai:gpt-5"), and they talk to that.
"""

import os
from collections.abc import Callable
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel

Reply = str | dict[str, Any] | list[ToolCallPart]
"""What the script says: words, the fields of a typed answer, or calls of tools."""


def model(script: Callable[[str, list[str]], Reply]) -> Model | str:
    """A model for an agent; `script` is given the last prompt and what tools have returned since."""
    real = os.environ.get("EXAMPLE_MODEL")
    if real is not None:
        return real

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        reply = script(*_asked(messages))
        if isinstance(reply, str):
            return ModelResponse([TextPart(reply)])
        if isinstance(reply, dict):
            return ModelResponse([ToolCallPart(info.output_tools[0].name, reply)])
        return ModelResponse(reply)

    return FunctionModel(answer)


def _asked(messages: list[ModelMessage]) -> tuple[str, list[str]]:
    prompt, returned = "", []
    for message in messages:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart):
                prompt, returned = str(part.content), []
            elif isinstance(part, ToolReturnPart):
                returned.append(str(part.content))
    return prompt, returned
