"""What becomes of a message after an attempt to handle it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from perdure.blocks.pubsub import SubscribeOptions, Verdict


class Fate(StrEnum):
    DONE = "done"
    AGAIN = "again"
    BURIED = "buried"


class Outcome(msgspec.Struct, frozen=True):
    """`pause`: seconds until it is handled again; `deaths`: tries running in which its receiver has died."""

    fate: Fate
    pause: float = 0.0
    deaths: int = 0


DONE = Outcome(Fate.DONE)
BURIED = Outcome(Fate.BURIED)


def outcome_of(verdict: Verdict, attempts: int, options: SubscribeOptions) -> Outcome:
    """`attempts`: how many there have been, this one included."""
    if verdict is Verdict.SUCCESS:
        return DONE
    if verdict is Verdict.DROP or attempts >= options.attempts_max:
        return BURIED
    return Outcome(Fate.AGAIN, pause_after(attempts, options))


def pause_after(attempts: int, options: SubscribeOptions) -> float:
    """Seconds between an attempt and the next one."""
    try:
        pause = options.initial_interval * options.backoff ** (attempts - 1)
    except OverflowError:
        return options.max_interval
    return min(pause, options.max_interval)
