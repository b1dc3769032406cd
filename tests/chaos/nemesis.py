"""Who does harm, and when: a plan from a seed, so that a run can be repeated as nearly as real processes allow."""

from __future__ import annotations

import random

import msgspec

PAUSE_LEASES = 3
"""A paused node sleeps for so many lease times, so that others have long taken what was its."""


class Harm(msgspec.Struct, frozen=True):
    """One deed: `at` seconds after the beginning, for so many `seconds`, to whichever node is number `target`."""

    at: float
    what: str
    seconds: float = 0.0
    target: int = 0


KILL, PAUSE, JOIN, LEAVE = "kill", "pause", "join", "leave"
CRASH, STOP = "crash the store", "stop the store"
CUT, DEAF, MUTE, FLAP, DROP, SWALLOW = "cut", "deaf", "mute", "flap", "drop", "swallow"
OF_STORE = (CRASH, STOP)
OF_NETWORK = (CUT, DEAF, MUTE, FLAP, DROP, SWALLOW)
ALL = (KILL, PAUSE, JOIN, LEAVE, *OF_STORE, *OF_NETWORK)


def plan(seed: int, seconds: float, kinds: tuple[str, ...], pause_seconds: float, lease_seconds: float) -> list[Harm]:
    """Harms of these kinds in turn, in random order, about one in `pause_seconds`."""
    dice = random.Random(seed)
    harms: list[Harm] = []
    at = pause_seconds
    bag: list[str] = []
    while at < seconds:
        bag = bag or dice.sample(kinds, len(kinds))  # each kind before any comes twice
        what = bag.pop()
        harms.append(Harm(round(at, 3), what, round(_duration(what, dice, lease_seconds), 3), dice.randrange(1_000)))
        at += pause_seconds * dice.uniform(0.5, 1.5)
    return harms


def _duration(what: str, dice: random.Random, lease_seconds: float) -> float:
    match what:
        case "kill" | "leave":
            return dice.uniform(0, 1.5)  # until another node joins in its place
        case "pause":
            return PAUSE_LEASES * lease_seconds
        case "crash the store" | "stop the store":
            return dice.uniform(0, 1.5)
        case "cut" | "deaf" | "mute":
            return dice.choice((0.3, 0.8, 2.0)) * lease_seconds
        case "flap":
            return dice.uniform(1, 2) * lease_seconds
        case "swallow":
            return dice.uniform(0.3, 1.5)
        case _:
            return 0.0
