"""What an engine is told when it is made, and what it takes if nothing is said; whoever makes an app loads this, and
only who opens one loads the engine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from perdure.clock import SECOND
from perdure.errors import InvalidArgument
from perdure.stores.contract import FINISHED, Status

DRAIN_SECONDS = 10.0
"""How long closing waits for attempts that run."""
HISTORY_EVENTS_MAX = 1_000_000
"""A run whose history is longer stalls; continue_as_new is the remedy."""
QUARANTINE_DEATHS = 3
"""How many owners in a row may die while they run an instance before it stands still; from one less on it runs alone.
None: it never stands still for that."""
QUARANTINE_DEATHS_MIN = 2
RETENTION_MAX = 1_000 * 366 * 86_400
"""In seconds: longer ages are mistakes."""


class Retention(msgspec.Struct, frozen=True):
    """How long instances are kept after their end, in microseconds by final status; those of others stay."""

    ages: Mapping[Status, int]

    def __post_init__(self) -> None:
        assert FINISHED.issuperset(self.ages), "only what is finished grows old"


KEEP_ALL = Retention({})


def checked_retention(given: Mapping[str, float | timedelta]) -> Retention:
    """The ages that a user gives, in seconds by the name of a final status. Raises InvalidArgument."""
    if not isinstance(given, Mapping):
        raise InvalidArgument(f"retention is {given!r}; give seconds or a timedelta for each final status, in a dict")
    ages: dict[Status, int] = {}
    for name, age in given.items():
        if name not in FINISHED:
            final = ", ".join(sorted(FINISHED))
            raise InvalidArgument(f"retention names {name!r}; how long instances are kept goes by {final}")
        seconds = age.total_seconds() if isinstance(age, timedelta) else age
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < RETENTION_MAX:
            raise InvalidArgument(f"retention of {name} is {age!r}; give seconds, or a timedelta")
        ages[Status(name)] = round(seconds * SECOND)
    return Retention(ages)
