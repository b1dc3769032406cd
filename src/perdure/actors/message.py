"""A message in a mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.errors import InstanceNotFound
from perdure.history.accept import COMMANDS
from perdure.history.events import SlotGranted, decode_event
from perdure.stores.contract import Mail

REMEMBERED = (*COMMANDS, SlotGranted)
"""Events whose mail is remembered as seen, because a second one would count again: a reply's open wait is closed by the
first, while a call may wait for a slot of its queue more than once."""


class Message(msgspec.Struct):  # not gc=False, because `answer` may lead back to whoever holds the message
    """An event on its way into a turn. `key` is its id (None: a reply from this process, which its open wait dedups);
    `stored` tells that it lies in the store as mail; `answer` is done when the turn that took it is durable."""

    event: Any
    key: str | None = None
    execution: str | None = None
    generation: int | None = None
    stored: bool = False
    answer: asyncio.Future[None] | None = None

    def settle(self, error: Exception | None = None) -> None:
        """Tell who waits that the turn which took it is durable, or why none will."""
        answer = self.answer
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def refuse(self, id: str) -> None:
        """There is nobody to take it."""
        if self.answer is not None:
            self.settle(InstanceNotFound(f"instance {id[:200]!r} is not in the store any more", id))


def from_mail(mail: Mail) -> Message:
    """The message of stored mail. Mail that cannot be read becomes a message whose event is its error."""
    try:
        event = decode_event(mail.event)
    except ValueError as error:
        event = error
    return Message(event, mail.key, mail.execution, mail.generation, stored=True)


def keys_of(batch: Sequence[Message]) -> tuple[Sequence[str], Sequence[str]]:
    """Of the messages of a turn: the keys of mail that it consumes, and of what is to be remembered as seen."""
    for message in batch:
        if message.key is not None:
            break
    else:
        return (), ()
    keyed = [message for message in batch if message.key is not None]
    consumed = [str(message.key) for message in keyed if message.stored]
    return consumed, [str(message.key) for message in keyed if isinstance(message.event, REMEMBERED)]
