"""The code of an open step, where a worker expects an activity's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from perdure.codec import Payload

Body = Callable[[], Awaitable[Any]]


class StepCode:
    """A closure of a workflow under the name of its step."""

    __slots__ = ("function", "has_stream", "name")
    is_transaction = False
    is_async = True

    def __init__(self, name: str, function: Body, *, has_stream: bool = False) -> None:
        self.name = name
        self.function = function
        self.has_stream = has_stream

    @property
    def signature(self) -> StepCode:
        """Says itself what arguments there are."""
        return self

    def decode(self, input: Payload | None) -> tuple[tuple[()], dict[str, Any]]:
        """A step has none."""
        return (), {}

    def __repr__(self) -> str:
        return f"<step {self.name}>"


Bodies = dict[tuple[str, int, int], StepCode]
"""The code of open steps, by (execution, generation, number)."""
