"""What follows from how often a message was in hand when its process died: who kills is found, and set aside."""

from __future__ import annotations

from enum import StrEnum

from perdure.history.handling import Handled
from perdure.history.subscribing import Verdict

ALONE_DEATHS = 2
"""So many of the deaths that convict a message have to come about while it was the only suspect in hand."""


class Course(StrEnum):
    """How a message may be handed out: BESIDE others, ALONE, or not at all, because it is to be SET_ASIDE."""

    BESIDE = "beside"
    ALONE = "alone"
    SET_ASIDE = "set aside"


def course_of(unheard: int, deaths_max: int | None) -> Course:
    """`unheard`: handings out that were written down and of which nothing was heard, so that a process died with each.

    The last ALONE_DEATHS of `deaths_max` (None: nobody is ever set aside) have the message alone, because whatever else
    was in hand at those before is suspected with it.
    """
    if deaths_max is None or unheard < deaths_max - ALONE_DEATHS:
        return Course.BESIDE
    return Course.ALONE if unheard < deaths_max else Course.SET_ASIDE


def conviction(unheard: int) -> Handled:
    """Its end, with the reason that its dead letter has."""
    reason = f"quarantined: its process died {unheard} times running while this message was in hand"
    return Handled(Verdict.DROP, f"{reason}, the last {min(unheard, ALONE_DEATHS)} times with no other suspect")
