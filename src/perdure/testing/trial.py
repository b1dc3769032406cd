"""One run of a durable test: the moments at which it could be disturbed, and the disturbance of this run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from perdure.testing.faults import Fault

AWAIT = "await"
"""The kind of a moment at which an activity's code goes on."""
WRITES = ("commit", "create", "deliver", "purge", "transact")
"""Operations of the store after which something is there that was not before."""
ORDERS = 3
"""How many other orders of what is ready, and of mail, are tried."""
DISORDER = 0.5
"""Share of steps at which another callback than the oldest may run, in another order."""


@dataclass
class Moment:
    """Something that happened in the undisturbed run, in order: an operation of the store, or an await."""

    kind: str
    told: str


@dataclass(frozen=True)
class Disturbance:
    """What happens to one run of a test. `told` is for people."""

    told: str
    moment: int = -1
    fault: Fault | None = None
    evicts: bool = False
    repeats: bool = False
    order: int = 0


CALM = Disturbance("nothing")


class Trial:
    """Decides over the faults of one run, as a `Plan`; keeps its moments while it is `armed`."""

    def __init__(self, disturbance: Disturbance = CALM) -> None:
        self.disturbance = disturbance
        self.evicts = disturbance.evicts
        self.disorder = DISORDER if disturbance.order else 0.0
        self.moments: list[Moment] = []
        self.story: list[str] = []
        self.armed = False
        self._chance = random.Random(disturbance.order)

    @property
    def seed(self) -> int:
        """For the choices of the loop."""
        return self.disturbance.order

    def arm(self) -> None:
        """Moments count from now on."""
        self.armed = True

    def stop(self) -> None:
        self.armed = False

    def operation(self, name: str) -> Fault | None:
        return self._reach(Moment(name, name))

    def awakes(self, activity: str) -> bool:
        """The code of an activity goes on after an await; whether the process dies before it does."""
        return self._reach(Moment(AWAIT, f"{activity} goes on")) is not None

    def _reach(self, moment: Moment) -> Fault | None:
        if not self.armed:
            return None
        self.moments.append(moment)
        return self.disturbance.fault if len(self.moments) - 1 == self.disturbance.moment else None

    def delay(self) -> float | None:
        return None

    def happens(self, what: str) -> bool:
        match what:
            case "evict":
                return self.evicts
            case "twice" | "created twice":
                return self.armed and self.disturbance.repeats
            case "reorder":
                return self.armed and self.disturbance.order > 0 and self._chance.random() < DISORDER
            case _:
                return False

    def log(self, text: str) -> None:
        """A line of what happens in the store; the one after a commit says what was in it."""
        self.story.append(text)
        if self.moments and self.moments[-1].kind == "commit" and text.startswith("commit, "):
            self.moments[-1].told = "commit of " + text.partition("[")[2].rstrip("]")

    def __repr__(self) -> str:
        return f"<Trial of {self.disturbance.told}: {len(self.moments)} moments>"


def every_commit(moments: Sequence[Moment]) -> list[Disturbance]:
    """A crash before and after each write, and one whose answer is lost; then what needs no moment of its own."""
    return [*_faults([(index, moment) for index, moment in enumerate(moments) if moment.kind in WRITES]), *_GENERAL]


def every_step(moments: Sequence[Moment]) -> list[Disturbance]:
    """As `every_commit`, and a crash at each read of the store and each await of an activity."""
    return [*_faults(list(enumerate(moments))), *_GENERAL]


MODES = {"every-step": every_step, "every-commit": every_commit}
"""What the mark `durable` may ask for with `crash=`."""

_GENERAL = [
    Disturbance("no instance is kept in memory between two steps", evicts=True),
    Disturbance("every message is delivered twice", repeats=True),
    *(
        Disturbance(f"another order of what is ready, {order} of {ORDERS}", order=order)
        for order in range(1, ORDERS + 1)
    ),
]


def _faults(moments: Sequence[tuple[int, Moment]]) -> list[Disturbance]:
    return [
        Disturbance(f"{fault}: {moment.told}", moment=index, fault=fault)
        for index, moment in moments
        for fault in _faults_at(moment.kind)
    ]


def _faults_at(kind: str) -> tuple[Fault, ...]:
    if kind in ("commit", "transact"):
        return Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.ANSWER_LOST
    return (Fault.CRASH_BEFORE, Fault.CRASH_AFTER) if kind in WRITES else (Fault.CRASH_BEFORE,)
