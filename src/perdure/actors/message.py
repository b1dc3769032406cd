"""A message in a mailbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.errors import InstanceNotFound
from perdure.history.events import decode_event
from perdure.stores.contract import Mail

Answer = Callable[[Exception | None], None]


class Message(msgspec.Struct):  # not gc=False, because `answer` may lead back to whoever holds the message
    """An event on its way into a turn. `key` is its id (None: a reply from this process, which its open wait dedups);
    `stored` tells that it lies in the store as mail; `answer` is called when the turn that took it is durable."""

    event: Any
    key: str | None = None
    execution: str | None = None
    generation: int | None = None
    stored: bool = False
    answer: Answer | None = None

    def refuse(self, id: str) -> None:
        """There is nobody to take it."""
        if self.answer is not None:
            self.answer(InstanceNotFound(f"instance {id[:200]!r} is not in the store any more", id))


def from_mail(mail: Mail) -> Message:
    """The message of stored mail. Mail that cannot be read becomes a message whose event is its error."""
    try:
        event = decode_event(mail.event)
    except ValueError as error:
        event = error
    return Message(event, mail.key, mail.execution, mail.generation, stored=True)
