"""What a subscription needs of a broker: the members of a group, the parts that they share, and what lies in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from perdure.blocks.pubsub import Message

FETCH_SECONDS = 1.0
"""How long a reader waits for messages before it looks around."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message in the hand of a reader. `mark` is how the broker knows it.

    `attempts`: how often it has been handed out, this time included.
    """

    mark: Any
    message: Message
    attempts: int


class Part(Protocol):
    """A part of a topic that this process alone reads for a group, as long as it keeps the part."""

    async def fetch(self, most: int) -> list[Delivery]:
        """The next messages, oldest first; none if none came for FETCH_SECONDS.

        Those come first that a former reader has left. Raises StoreError.
        """

    async def again(self, delivery: Delivery, attempts: int) -> None:
        """Another attempt begins, so that one that kills its process counts as well. Raises StoreError."""

    async def accuse(self, delivery: Delivery, attempts: int) -> int:
        """It is about to be handled with no other suspect; how often that was so, this time included.

        The same attempt counts once, however often it is told. Kept until it is done or buried. Raises StoreError.
        """

    async def done(self, delivery: Delivery) -> None:
        """It does not come again. Raises StoreError."""

    async def bury(self, delivery: Delivery, topic: str) -> None:
        """It goes to another topic, and does not come again. Raises StoreError."""

    async def close(self) -> None:
        """What is still in hand is the next reader's. Raises StoreError."""


class Group(Protocol):
    """The members that read a topic for a group, of which this is one. All of it raises StoreError."""

    parts: int

    async def beat(self) -> Sequence[str]:
        """Tell that this member lives; returns those that do."""

    async def take(self, part: int) -> Part | None:
        """Read a part alone; None while somebody else does."""

    async def keep(self, part: int) -> bool:
        """Read it for another lease; False if it is somebody else's by now."""

    async def give_back(self, part: int) -> None:
        """Read it no more."""

    async def leave(self) -> None:
        """This member is none any more."""
