"""How often an engine looks by itself: what polling finds when every hint is lost."""

from __future__ import annotations

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses in seconds. Virtual time wants long ones, since it passes every pause at once."""

    mail_seconds: float = 1.0
    """Between looks for mail."""
    standby_seconds: float = 0.5
    """Between looks of a standby whether the shards are free."""
    window_seconds: float = 30.0
    """How far ahead of now due times are kept in memory; what is due later lies in the store."""


PACE = Pace()

LOOK_SECONDS = 0.02
"""How soon a node looks again for what another may have done: an end, an answer, an item of a stream."""
LOOK_SECONDS_MAX = 0.25
"""How far that pause grows while it finds nothing."""
LOOK_SECONDS_EACH = 0.0002
"""How long a look lets the next one wait, for each who waits: few are answered at once, and many in few looks."""
LOOK_GAP_SECONDS_MAX = 0.1
"""How far that grows."""
LOOK_GROWTH = 1.5


def look_gap(waiting: int) -> float:
    """Seconds that lie at least between two looks for so many who wait."""
    return min(LOOK_GAP_SECONDS_MAX, waiting * LOOK_SECONDS_EACH)


class LookPause:
    """The pause before the next look: short after one that found something, longer after each that did not."""

    def __init__(self) -> None:
        self.seconds = LOOK_SECONDS

    def restart(self) -> None:
        """Somebody waits anew, or something was found."""
        self.seconds = LOOK_SECONDS

    def after(self, found: bool) -> float:
        """In seconds, after a look that has, or has not, found something."""
        self.seconds = LOOK_SECONDS if found else min(self.seconds * LOOK_GROWTH, LOOK_SECONDS_MAX)
        return self.seconds
