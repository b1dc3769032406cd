"""What the server asks of a protocol: its own records as bytes, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from perdure.remote.requests import (
    ActivityItem,
    ActivityResult,
    EntityItem,
    EntityResult,
    Flavour,
    TurnItem,
    TurnResult,
)


class Codec(Protocol):
    """One flavour of the wire. Bytes that are no such message raise MalformedMessage."""

    flavour: Flavour

    def event(self, event: Any, instance: str, execution: str, app: str = "") -> bytes | None:
        """An event of a history, framed as items hold it; None for one that workers of this flavour are not shown."""

    def history(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """Events as clients are shown them, framed likewise."""

    def history_for_work(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """Events as workers are shown them, framed likewise."""

    def turn_item(self, item: TurnItem) -> bytes: ...
    def activity_item(self, item: ActivityItem) -> bytes: ...
    def entity_item(self, item: EntityItem) -> bytes: ...
    def ping(self) -> bytes: ...
    def cancel_item(self, token: str) -> bytes | None:
        """Word that nobody wants the answer to an attempt any more; None where the flavour has no word for it."""

    def shows(self, event: Any) -> bool:
        """Whether workers of the flavour can be told of such an event."""

    def read_turn_result(self, data: bytes) -> TurnResult: ...
    def read_activity_result(self, data: bytes) -> ActivityResult: ...
    def read_entity_result(self, data: bytes) -> EntityResult: ...
