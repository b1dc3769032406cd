"""What a method of an actor asks for is written with its turn: where code that is no workflow's finds that turn."""

from __future__ import annotations

import contextvars
from typing import Protocol

from perdure.history.actions import CreateDetached, SignalEntity


class Outgoing(Protocol):
    """The turn of an actor, as far as it takes what is to leave with it."""

    def next_request(self) -> str:
        """The name of what is asked next, the same when the turn is run again."""

    def record(self, action: SignalEntity | CreateDetached) -> None:
        """Let it be written with the turn."""


OUTGOING: contextvars.ContextVar[Outgoing | None] = contextvars.ContextVar("perdure_outgoing", default=None)
"""The turn whose code is asking; None outside of actors."""
