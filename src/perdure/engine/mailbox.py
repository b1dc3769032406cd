"""The mailbox of a workflow instance: the messages that wait, those that its turn has taken, and who is answered."""

from __future__ import annotations

from typing import Any

from perdure.actors.message import Message

NONE: list[Any] = []
"""Stands for a list that nobody fills, because a thousand waiting instances need not hold a thousand empty ones."""


class Mailbox:
    """Messages of one instance, each in one of two lists.

    Whoever waits for a message hears of it once: when the turn that took it is durable, or why none will be.
    """

    __slots__ = ("taken", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Message] = NONE
        """Those that no turn has taken, in the order in which they came."""
        self.taken: list[Message] = NONE
        """Those of the turn that is under way."""

    def put(self, message: Message) -> None:
        """It waits, behind the others."""
        if self.waiting:
            self.waiting.append(message)
        else:
            self.waiting = [message]

    def take(self, messages: list[Message], rest: list[Message]) -> None:
        """A turn begins with some of those that wait, and the rest of them goes on waiting, both in these orders."""
        assert len(messages) + len(rest) == len(self.waiting), "a message is lost, or taken twice"
        self.taken, self.waiting = messages, rest

    def take_along(self, message: Message) -> None:
        """The turn that is under way takes one more, which did not wait."""
        self.taken = [*self.taken, message]

    def give_back(self) -> None:
        """The turn is taken back: what it took waits again, before what came since."""
        self.waiting, self.taken = [*self.taken, *self.waiting], NONE

    def give_back_stored(self) -> None:
        """Likewise, but only what lies in the store, which comes with the next load."""
        stored = [message for message in self.taken if message.stored]
        if stored:
            self.taken = [message for message in self.taken if not message.stored]
            self.waiting = stored + self.waiting

    def settle(self, error: Exception | None = None) -> None:
        """The turn is durable, or `error` says why it never is: tell those who wait for its messages."""
        taken, self.taken = self.taken, NONE
        for message in taken:
            if message.answer is not None:
                message.settle(error)

    def withdraw(self) -> list[Message]:
        """Take out those that wait and lie in no store."""
        withdrawn = self.unstored
        if withdrawn:
            self.waiting = [message for message in self.waiting if message.stored]
        return withdrawn

    def clear(self) -> list[Message]:
        """Forget all that is here; what lies in no store, because then nobody has it any more."""
        here = (*self.taken, *self.waiting)
        self.taken = self.waiting = NONE
        return [message for message in here if not message.stored]

    @property
    def unstored(self) -> list[Message]:
        """Those that wait and lie in no store."""
        return [message for message in self.waiting if not message.stored]

    def untaken(self) -> list[str]:
        """Keys of the mail here that no turn has consumed."""
        if not self.taken and not self.waiting:
            return NONE
        return [message.key for message in (*self.taken, *self.waiting) if message.stored and message.key is not None]
