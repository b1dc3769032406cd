"""The wire's numbers of an instance's statuses, and of the reasons for a stall."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.errors import MalformedMessage

CONTINUED = "continued"
"""How a run ends that is no end of its instance."""
SUSPENDED = "suspended"
STALLED = "stalled"

STATUSES = {
    "running": 0,
    "completed": 1,
    CONTINUED: 2,
    "failed": 3,
    "canceled": 4,
    "terminated": 5,
    "pending": 6,
    SUSPENDED: 7,
    STALLED: 8,
}
ENDS = frozenset(("completed", "failed", "canceled", "terminated"))
"""Statuses with which a run can end for good."""
_WORDS = {number: word for word, number in STATUSES.items()}

PATCH_MISMATCH = "patch-mismatch"
STALL_REASONS = {
    PATCH_MISMATCH: 0,
    "version-not-available": 1,
    "payload-size-exceeded": 2,
    "version-not-registered": 1,
    "payload-too-large": 2,
}
"""Words of the wire and, after them, the engine's own that mean the same."""


def status_of(number: int) -> str:
    """The word of a status. Raises MalformedMessage for a number that is none."""
    word = _WORDS.get(number)
    if word is None:
        raise MalformedMessage(f"{number} is no status; send {min(_WORDS)} to {max(_WORDS)}")
    return word


def statuses_of(numbers: Iterable[int]) -> frozenset[str]:
    """The words of a selection of statuses. An unknown one is refused, because without it more would be selected."""
    return frozenset(map(status_of, numbers))
