"""What follows from how often a message was in hand when its process died: who kills is found, and set aside."""

from __future__ import annotations

from enum import StrEnum

from perdure.history.handling import Handled
from perdure.history.subscribing import SubscribeOptions, Verdict

ALONE_DEATHS = 2
"""So many of the deaths that convict a message have to come about while it was the only suspect in hand."""
BESIDE_DEATHS = 2
"""How often a process behind a server may die with a message in hand until the message is handled alone."""


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


def course_lent(unheard: int, deaths_max: int | None) -> Course:
    """As `course_of`, for a message on loan: there the first death counts as well, because its claim was written."""
    if not unheard or deaths_max is None:
        return Course.BESIDE
    return course_of(unheard, max(deaths_max, 1 + ALONE_DEATHS))


def deaths_max_behind(options: SubscribeOptions, *, is_judged: bool) -> int:
    """How many processes behind a server may die with a message in hand.

    A server cannot tell one that died from one whose connection comes and goes. So a message is given up early only
    where somebody has asked for that (`is_judged`), and where it is not lost by that because it has a dead letter.
    """
    is_early = is_judged and options.dead_letter is not None
    return (BESIDE_DEATHS if is_early else options.attempts_max) + ALONE_DEATHS


def course_behind(unheard: int, deaths_max: int) -> Course:
    """As `course_of`, for a message that a process behind a server handles: alone as soon as it is suspected."""
    if unheard >= deaths_max:
        return Course.SET_ASIDE
    return Course.BESIDE if unheard < BESIDE_DEATHS else Course.ALONE


def conviction(unheard: int) -> Handled:
    """Its end, with the reason that its dead letter has."""
    reason = f"quarantined: its process died {unheard} times running while this message was in hand"
    return Handled(Verdict.DROP, f"{reason}, the last {min(unheard, ALONE_DEATHS)} times with no other suspect")
