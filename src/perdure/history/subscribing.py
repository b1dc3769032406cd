"""How a group is given the messages of a topic, and what it says of each."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from perdure.clock import SECOND

ATTEMPTS_MAX = 10
"""How often a message is handled before it is a dead letter, if the subscription does not say."""
IN_HAND_MAX = 100
"""Messages of one group that one node handles at the same time, if the subscription does not say."""
HANDLE_SECONDS = 60.0
"""How long a handler may take, if the subscription does not say."""


class Begin(StrEnum):
    """Where a group begins that is new to a topic: with the oldest message that is kept, or with the next one."""

    EARLIEST = "earliest"
    NEWEST = "newest"


class Verdict(StrEnum):
    """What a receiver says of a message; Dapr's words.

    SUCCESS: it is done. RETRY: it comes again after a pause, up to the attempts of the subscription, then it goes to
    the dead letter topic, if there is one. DROP: it goes there at once.
    """

    SUCCESS = "SUCCESS"
    RETRY = "RETRY"
    DROP = "DROP"


class SubscribeOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a group is given its messages. Times in seconds.

    A message whose handling has failed comes again after `initial_interval`, each pause `backoff` times the one before,
    `max_interval` at most, and holds back only later messages of its key. After `attempts_max`, or when it is dropped,
    it goes to the topic `dead_letter`; None: nowhere. `timeout`: a handler that takes longer has failed.
    """

    begin: Begin = Begin.EARLIEST
    in_hand_max: int = IN_HAND_MAX
    attempts_max: int = ATTEMPTS_MAX
    initial_interval: float = 1.0
    backoff: float = 2.0
    max_interval: float = 60.0
    dead_letter: str | None = None
    timeout: float = HANDLE_SECONDS

    def pause(self, attempt: int) -> int:
        """Microseconds between the failure of an attempt, counted from 1, and the next one."""
        exponent = min(attempt - 1, 64)  # because a float has an end
        return round(min(self.initial_interval * self.backoff**exponent, self.max_interval) * SECOND)


DEFAULTS = SubscribeOptions()
"""Those of a subscription that says nothing."""
