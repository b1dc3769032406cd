"""Which work is suspected of killing the processes of its workers, and what is done about it. Pure.

A process that is dead cannot be asked what it ran. What was with it, and had been for a short time only, is blamed;
what was blamed again and again runs alone; and what kills even then is not handed out any more.
"""

from __future__ import annotations

from perdure.engine.standstill import QUARANTINED
from perdure.history.work import Stall
from perdure.remote.dispatch.work import Work

DEATHS_SUSPECT = 2
"""After how many deaths in a row a piece of work is handed out only to a worker that has nothing else."""
DEATHS_ALONE_MAX = 2
"""How many workers in a row may die while they have nothing but it. One more would be no news, and one less might be
somebody who ends workers by hand."""
BLAME_SECONDS = 60.0
"""Who has had a piece of work for longer did not die of it: then its end is one like any other."""
CLEARING_SECONDS = 30.0
"""How long a worker gets no other work so that a suspect can have it alone; then the suspect runs beside the rest."""


def blame(work: Work, now: float, *, is_alone: bool) -> None:
    """Count the death of a worker that had the work; `is_alone` if it had nothing else."""
    if now - work.given_at > BLAME_SECONDS:
        work.deaths = work.deaths_alone = 0
    else:
        work.deaths += 1
        work.deaths_alone = work.deaths_alone + 1 if is_alone and work.deaths > DEATHS_SUSPECT else 0
    work.need = work.need._replace(alone=is_suspect(work))


def is_suspect(work: Work) -> bool:
    """Whether a worker that gets it is to have nothing else."""
    return work.deaths >= DEATHS_SUSPECT and not is_convicted(work)


def is_convicted(work: Work) -> bool:
    """Whether it is handed out no more."""
    return work.deaths_alone >= DEATHS_ALONE_MAX


def verdict(work: Work) -> Stall:
    """Why the work is not handed out any more, in words for people."""
    need, call = work.need, f" (call {work.number})" if work.number else ""
    what = f"the {need.kind} {need.name}{call}" if work.number else f"a {need.kind} of {need.name}"
    return Stall(
        QUARANTINED,
        f"{work.deaths} workers in a row died within {BLAME_SECONDS:.0f} s of getting {what}, the last "
        f"{work.deaths_alone} while they had nothing else; repair that and resume it, or terminate it",
    )
