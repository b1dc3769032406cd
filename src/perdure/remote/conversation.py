"""The language models of the apps of a server, as programs of Dapr converse with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perdure.blocks.conversation import Answer
from perdure.blocks.resources import Resources
from perdure.errors import ComponentNotFound, InvalidArgument
from perdure.remote.models import Model, Models
from perdure.remote.wire.conversation import Converse


class ConversationDesk:
    """Asked by the calls and routes of conversations."""

    def __init__(self, resources_of: Callable[[str], Resources]) -> None:
        self._resources_of = resources_of
        self._models = Models()

    async def converse(self, app: str, asked: Converse) -> Sequence[Answer]:
        """An answer for each conversation. Raises ComponentNotFound, InvalidArgument, ModelUnavailable."""
        if asked.scrubs:
            raise InvalidArgument(
                "nothing here takes personal data out of a conversation (scrub PII); do it in the program, and "
                "leave the option out"
            )
        model = self._model(app, asked.component)
        return await asyncio.gather(*(model.answer(each) for each in asked.conversations))

    def close(self) -> None:
        """Ask no model any more."""
        self._models.close()

    def _model(self, app: str, name: str) -> Model:
        found = {one.name: one for one in self._resources_of(app).block("conversation")}
        if name not in found:
            there = ", ".join(sorted(found)) or "none"
            raise ComponentNotFound(
                f"app {app!r} has no model {name[:80]!r}; its components of this block are: {there}"
            )
        return self._models.of(found[name])
