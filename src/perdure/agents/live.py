"""A model whose answers are put on the stream of their step while they come, so that they are read as they are made."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from perdure import activity_context
from perdure.errors import OnlyInWorkflow


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item of the stream of a request: some text, some thinking, or which attempt begins here."""

    text: str = ""
    thinking: str = ""
    attempt: int = 0


class LiveModel(WrapperModel):
    """Asks the model it wraps for a stream, inside a step; elsewhere it is that model.

    The step's result is the whole answer all the same, so a run is replayed from it and not from the pieces.
    """

    def __init__(self, wrapped: Model | str) -> None:
        super().__init__(wrapped)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        try:
            attempt = activity_context()
        except OnlyInWorkflow:
            return await self.wrapped.request(messages, model_settings, model_request_parameters)
        await attempt.put(Piece(attempt=attempt.attempt))
        async with self.wrapped.request_stream(messages, model_settings, model_request_parameters) as stream:
            async for event in stream:
                piece = piece_of(event)
                if piece is not None:
                    await attempt.put(piece)
        return stream.get()


def piece_of(event: ModelResponseStreamEvent) -> Piece | None:
    """What readers are told of an event of the model; None: nothing, because tools are told when they are called."""
    part: Any = event.part if isinstance(event, PartStartEvent) else None
    part = event.delta if isinstance(event, PartDeltaEvent) else part
    match part:
        case TextPart(content=text) | TextPartDelta(content_delta=text) if text:
            return Piece(text=text)
        case ThinkingPart(content=text) | ThinkingPartDelta(content_delta=text) if text:
            return Piece(thinking=text)
        case _:
            return None
