"""The ways between the nodes of a simulated cluster and its store: cut, deaf in one direction, late."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from perdure.testing.tape import Tape

TIMEOUTS = (0.0, 0.05, 0.5)
"""Seconds until a node takes a request for lost."""
LATE_SECONDS = (0.0, 0.001, 0.03, 0.1, 2.0)
"""How long after that a late request arrives."""
LATE = frozenset(("commit", "beat", "release", "acquire", "deliver", "report", "leave"))
"""Operations that may arrive when whoever asked has given up. A start or a purge that does would be that of a client
who has gone on."""
LATE_SHARES = (0.5, 1.0)
"""Shares of what is late on a slow way: who asks again may then be answered before the first request has come."""
LOSSES = (0.3, 0.7)
"""Shares of what a flapping cable loses."""


class Way(StrEnum):
    """What is between a node and the store."""

    OPEN = "open"
    CUT = "nothing arrives"
    MUTE = "requests arrive and answers are lost"
    SLOW = "requests arrive late"
    FLAPPING = "flapping"
    NO_BEATS = "beats are lost"


class Loss(StrEnum):
    """What becomes of one operation."""

    REQUEST = "request lost on its way"
    ANSWER = "answer lost on its way"
    LATE = "request later than its caller waits"


class Cables:
    """One for each node, and a trunk that all go through."""

    def __init__(self, tape: Tape, probes: Counter[str]) -> None:
        self._chance = tape.stream("cables")
        self._probes = probes
        self._trunk = Way.OPEN
        self._ways: dict[str, Way] = {}

    def lay(self, node: str, way: Way) -> None:
        """From now on the node reaches the store this way."""
        self._ways[node] = way

    def lay_trunk(self, way: Way) -> None:
        """From now on all do."""
        self._trunk = way

    def heal(self) -> None:
        self._trunk = Way.OPEN
        self._ways.clear()

    def loss(self, node: str, operation: str) -> Loss | None:
        """What becomes of an operation of the node; None: it is done, and answered."""
        for way in (self._trunk, self._ways.get(node, Way.OPEN)):
            loss = self._of(way, operation)
            if loss is not None:
                self._probes[loss] += 1
                return loss
        return None

    def timeout(self) -> float:
        return self._chance.choice(TIMEOUTS)

    def delay(self) -> float:
        return self._chance.choice(LATE_SECONDS)

    def _of(self, way: Way, operation: str) -> Loss | None:
        match way:
            case Way.OPEN:
                return None
            case Way.CUT:
                return Loss.REQUEST
            case Way.MUTE:
                return Loss.ANSWER
            case Way.SLOW:
                is_late = operation in LATE and self._chance.random() < self._chance.choice(LATE_SHARES)
                return Loss.LATE if is_late else None
            case Way.FLAPPING:
                lost = self._chance.random() < self._chance.choice(LOSSES)
                return self._chance.choice((Loss.REQUEST, Loss.ANSWER)) if lost else None
            case Way.NO_BEATS:
                return Loss.REQUEST if operation == "beat" else None

    def __repr__(self) -> str:
        return f"<Cables: trunk {self._trunk}, {self._ways}>"
