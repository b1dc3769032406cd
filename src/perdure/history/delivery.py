"""Which recorded events a run's code sees, and when: suspension holds them back until it is lifted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from perdure.history.events import (
    CANCELLATIONS,
    CONFIRMATIONS,
    RunCompleted,
    RunContinued,
    RunResumed,
    RunStarted,
    RunSuspended,
    TurnStarted,
    UpdateAnswered,
)


class Delivery(msgspec.Struct, frozen=True):
    """One turn as the code sees it: events to deliver at `at`; and all that history holds of it, as `recorded`."""

    at: int
    events: list[Any]
    recorded: Sequence[Any]

    @property
    def patches(self) -> Sequence[str]:
        """The patches that the code got in this turn for the first time."""
        return getattr(self.recorded[0], "patches", None) or ()


class Gate:
    """Lets events through while the run is not suspended; keeps them in order otherwise."""

    __slots__ = ("held", "shut")

    def __init__(self) -> None:
        self.shut = False
        self.held: list[Any] = []

    def pass_through(self, events: Sequence[Any]) -> list[Any]:
        """What the code sees of these events now."""
        if not self.shut and not any(type(event) is RunSuspended for event in events):
            return list(events)
        seen: list[Any] = []
        for event in events:
            if type(event) is RunSuspended:
                self.shut = True
            elif type(event) is RunResumed:
                self.shut = False
                seen.extend(self.held)
                self.held.clear()
            elif self.shut:
                self.held.append(event)
            else:
                seen.append(event)
        return seen

    def recorded(self, events: list[Any]) -> list[Any]:
        """The order in which history gets events that the code is not asked about."""
        return events


class Shutter(Gate):
    """A gate for code that keeps back itself what comes while it is suspended, as that of remote workers does.

    While it is shut such code is not asked; the turn that opens it sees all of its events.
    """

    __slots__ = ()

    def pass_through(self, events: Sequence[Any]) -> list[Any]:
        for event in events:
            if type(event) is RunSuspended:
                self.shut = True
            elif type(event) is RunResumed:
                self.shut = False
        return [] if self.shut else list(events)

    def recorded(self, events: list[Any]) -> list[Any]:
        """The suspension first, because what came with it is kept back too, and a replay is to find it so."""
        halts = [event for event in events if type(event) is RunSuspended]
        return [*halts[-1:], *(event for event in events if type(event) not in (RunSuspended, RunResumed))]


def deliveries(segments: Iterable[Sequence[Any]], gate: Gate | None = None) -> Iterator[Delivery]:
    """The turns of a history, oldest first. `gate` is left as history leaves it.

    A turn begins with its TurnStarted, wherever the borders of segments lie.
    """
    gate = gate or Gate()
    for turn in turns(event for segment in segments for event in segment):
        arrived = [event for event in turn if not isinstance(event, CONFIRMATIONS)]
        yield Delivery(turn[0].at, gate.pass_through(arrived), turn)


_BROUGHT_ABOUT = (*CONFIRMATIONS, *CANCELLATIONS, UpdateAnswered, RunCompleted, RunContinued)
"""Events that a turn's code brings about, after those that it sees."""


def deliveries_before(
    events: Iterable[Any], number: int, gate: Gate | None = None
) -> Iterator[tuple[Delivery, int, bool]]:
    """The turns of a history up to before its event `number`, counted from 1, which may cut the last of them short.

    With each the number of its first event, and whether the code sees all that the turn has for it.
    """
    gate = gate or Gate()
    first = 1
    for turn in turns(events):
        if first >= number:
            return
        begun, rest = turn[: number - first], turn[number - first :]
        arrived = [event for event in begun if not isinstance(event, CONFIRMATIONS)]
        is_whole = all(isinstance(event, _BROUGHT_ABOUT) for event in rest)
        yield Delivery(turn[0].at, gate.pass_through(arrived), turn), first, is_whole
        first += len(turn)


def turns(events: Iterable[Any]) -> Iterator[list[Any]]:
    """The events of each turn, oldest first."""
    turn: list[Any] = []
    for event in events:
        if isinstance(event, TurnStarted) and turn:
            yield turn
            turn = []
        turn.append(event)
    if turn:
        yield turn


def version_of(events: Iterable[Any]) -> str | None:
    """The version of the code that a run stays on: what its code chose when it began, else what its start names."""
    named: str | None = None
    for event in events:
        if isinstance(event, TurnStarted) and event.version is not None:
            return event.version
        if isinstance(event, RunStarted) and named is None:
            named = event.version
    return named
