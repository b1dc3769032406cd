"""Replays that look closer than the engine does, because in a test the code has not changed since it ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.history.actions import Action
from perdure.history.delivery import Delivery
from perdure.history.events import ActivityScheduled, ChildCreated
from perdure.history.replay import Difference
from perdure.sdk.run import Diverged, Run

SHOWN_MAX = 200
"""Characters of an input that a message shows."""


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
        if action is not None and action.input != event.input:
            held, now = _shown(event.input), _shown(action.input)
            return Difference(event.number, f"a call of {event.name} with {held}", f"one with {now}", action.line)
    return None


def _shown(payload: Any) -> str:
    return bytes(payload.data).decode("utf-8", "replace")[:SHOWN_MAX] if payload is not None else "nothing"
