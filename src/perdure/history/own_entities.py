"""Which entities are the engine's own: no code of an app operates them, and nobody is told of them."""

from __future__ import annotations

from perdure.history.lending import is_lender
from perdure.history.slots import is_door
from perdure.history.topics import is_topic


def is_own(id: str) -> bool:
    """Whether an id is that of a queue's door, a topic's partition, or a lender."""
    return is_door(id) or is_topic(id) or is_lender(id)
