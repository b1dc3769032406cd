"""Replays that look closer than the engine does, because in a test the code has not changed since it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.codec import Confidential, Payload
from perdure.history.actions import Action
from perdure.history.delivery import Delivery
from perdure.history.events import ActivityScheduled, ChildCreated
from perdure.history.replay import Difference
from perdure.sdk.run import Diverged, Run

SHOWN_MAX = 200
"""Characters of an input that a message shows."""


HIDDEN = "an input that is not shown, because it lies encrypted in the store"


class ExactRun(Run):
    """A run whose replays must ask with the inputs that history holds too: other inputs are not repeatable code."""

    __slots__ = ()

    def replay(self, turn: Delivery) -> list[Action]:
        asked = super().replay(turn)
        difference = of_inputs(turn.recorded, asked)
        if difference is not None:
            raise Diverged(difference)
        return asked


def of_inputs(recorded: Sequence[Any], asked: Sequence[Action]) -> Difference | None:
    """The first call that history holds with another input than the code asks with; None if there is none."""
    calls: dict[int, Any] = {action.number: action for action in asked if hasattr(action, "input")}
    for event in recorded:
        if not isinstance(event, (ActivityScheduled, ChildCreated)):
            continue
        action = calls.get(event.number)
        if action is not None and _plain(action.input) != _plain(event.input):
            is_hidden = isinstance(event.input, Confidential)
            held, now = (HIDDEN, HIDDEN) if is_hidden else (_plain(event.input), _plain(action.input))
            return Difference(
                event.number,
                f"a call of {event.name} with {held[:SHOWN_MAX]}",
                f"one with {now[:SHOWN_MAX]}",
                action.line,
            )
    return None


def _plain(payload: Payload | None) -> str:
    return bytes(payload.data).decode("utf-8", "replace") if payload is not None else "nothing"
