"""What a turn will commit, while it is being decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.history.events import RunCompleted, TurnStarted, UpdateAnswered, encode_event
from perdure.stores.contract import Creation, Head, Mail, Permit, Published, Wait


class Draft:
    """What a turn will commit, while it is being decided."""

    __slots__ = (
        "answered",
        "answers",
        "at",
        "changed",
        "closed",
        "completed",
        "created",
        "erase",
        "events",
        "fields",
        "head",
        "index",
        "mail",
        "opened",
        "permits",
        "published",
        "refused",
        "waits",
    )

    def __init__(self, head: Head, waits: Mapping[int, Wait], at: int) -> None:
        self.head = head
        self.waits = waits
        self.at = at
        self.events: list[Any] = [TurnStarted(at=at)]
        self.opened: dict[int, Wait] = {}
        self.changed: list[Wait] = []
        self.closed: list[int] = []
        self.answered: set[int] = set()
        self.mail: list[Mail] = []
        self.created: list[Creation] = []
        self.published: list[Published] = []
        self.answers: list[UpdateAnswered] = []
        self.refused: list[Published] = []
        self.permits: Sequence[Permit] = ()
        self.fields: dict[str, Any] = {}
        self.erase = False
        self.completed: RunCompleted | None = None
        self.index = 0

    def new_head(self) -> Head | None:
        """The head to store, None if only its sequence and time advance."""
        if not self.fields:
            return None
        changes = {**self.fields, "sequence": self.head.sequence + 1, "updated": self.at}
        return msgspec.structs.replace(self.head, **changes)

    def send(self, instance: str, event: Any, execution: str | None = None, generation: int | None = None) -> None:
        """Queue mail; its id is (run, sequence, index), so that a repeated turn sends the same."""
        head = self.head
        self.index += 1
        key = f"{head.id}/{head.execution}.{head.generation}/{head.sequence + 1}.{self.index}"
        self.mail.append(Mail(instance, key, encode_event(event), self.at, execution, generation))
