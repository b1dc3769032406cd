"""What a turn will commit, while it is being decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.history.events import RunCompleted, TurnStarted, UpdateAnswered, encode_event, encode_segment
from perdure.stores.contract import Creation, Head, Mail, Permit, Published, Turn, Wait


class Draft(msgspec.Struct):
    """What a turn will commit, while it is being decided. A struct, because every turn makes one."""

    head: Head
    waits: Mapping[int, Wait]
    at: int
    events: list[Any] = []
    opened: dict[int, Wait] = {}
    changed: list[Wait] = []
    closed: list[int] = []
    answered: set[int] = set()
    mail: list[Mail] = []
    created: list[Creation] = []
    published: list[Published] = []
    answers: list[UpdateAnswered] = []
    refused: list[Published] = []
    permits: Sequence[Permit] = ()
    retried: Sequence[int] = ()
    fields: dict[str, Any] = {}
    erase: bool = False
    hastens: bool = False
    completed: RunCompleted | None = None
    index: int = 0

    def __post_init__(self) -> None:
        self.events.append(TurnStarted(at=self.at))

    @property
    def more(self) -> dict[str, Any]:
        """What the head keeps of small facts, as of now."""
        kept: dict[str, Any] = self.fields.get("more", self.head.more)
        return kept

    def new_head(self) -> Head | None:
        """The head to store, None if only its sequence and time advance."""
        if not self.fields:
            return None
        changes = {**self.fields, "sequence": self.head.sequence + 1, "updated": self.at}
        return msgspec.structs.replace(self.head, **changes)

    def turn(self, shard: int, expected: int | None, consumed: Sequence[str], seen: Sequence[str]) -> Turn | None:
        """What the store is to write; None if that is nothing. `consumed` and `seen` are keys of the turn's messages.

        Requests that were refused are written beside other things only, because who asked may be elsewhere.
        """
        head = self.head
        turn = Turn(
            shard=shard,
            id=head.id,
            execution=head.execution,
            generation=head.generation,
            expected=expected,
            at=self.at,
            head=self.new_head(),
            segment=encode_segment(self.events) if len(self.events) > 1 else None,
            opened=tuple(self.opened.values()),
            changed=tuple(self.changed),
            closed=tuple(self.closed),
            consumed=consumed,
            seen=seen,
            mail=self.mail or (),
            created=self.created or (),
            published=self.published or (),
            permits=self.permits,
            erase=self.erase,
        )
        if turn.segment is None and _is_nothing(turn):
            return None
        if self.refused:
            turn.published = (*turn.published, *self.refused)
        return turn

    def send(
        self,
        instance: str,
        event: Any,
        execution: str | None = None,
        generation: int | None = None,
        app: str | None = None,
    ) -> None:
        """Queue mail; its id is (run, sequence, index), so that a repeated turn sends the same. `app` None: the own."""
        self.mail.append(Mail(instance, self.next_key(), encode_event(event), self.at, execution, generation, app))

    def tell_itself(self, event: Any) -> None:
        """Queue mail to this very run: an answer, or an event, that is there already."""
        self.send(self.head.id, event, self.head.execution, self.head.generation)

    def next_key(self) -> str:
        """An id for a message of this turn."""
        head = self.head
        self.index += 1
        return f"{head.id}/{head.execution}.{head.generation}/{head.sequence + 1}.{self.index}"


def _is_nothing(turn: Turn) -> bool:
    return turn.expected is not None and not (
        turn.head
        or turn.opened
        or turn.changed
        or turn.closed
        or turn.consumed
        or turn.mail
        or turn.created
        or turn.published
    )
