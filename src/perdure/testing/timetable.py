"""The role of a schedule in a simulated world: what it is asked, when it is done, and what its counts must come to."""

from __future__ import annotations

import random
from collections.abc import Callable

from perdure.clock import SECOND
from perdure.codec import decode, encode, encode_arguments
from perdure.history.events import EventRaised, RunTerminated
from perdure.history.state import InstanceState
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import Kept, Overlap, Progress, Spec
from perdure.scheduler.ticks import Calendar
from perdure.sdk.queues import place
from perdure.sdk.scheduling import NAME
from perdure.stores.contract import Status
from perdure.testing.loop import START
from perdure.testing.repertoire import SINGLE
from perdure.testing.scenario import Command, Role

TICKS = 5
"""Ticks of a schedule, a second apart."""
MARK = 6_002
"""Effect of each run; it takes two seconds."""


def timetable(chance: random.Random) -> Role:
    """A schedule whose ticks are all accounted for when it has nothing left to do, and which is deleted then."""
    overlaps: tuple[Overlap, ...] = ("skip", "queue", "allow", "cancel")
    spec = Spec(
        workflow="ticked",
        input=encode_arguments((MARK,), {}),
        calendar=Calendar(every=SECOND, start=START + SECOND, end=START + (TICKS + 1) * SECOND),
        overlap=chance.choice(overlaps),
        jitter=chance.choice((0, 400_000)),
        place=chance.choice((None, place(SINGLE, None, None, None))),
    )
    triggers, pauses, backfills = chance.choice((0, 0, 2)), chance.random() < 0.3, chance.random() < 0.3
    commands = [Command(chance.choice((0.1, 2.2, 9.0)), _asks(_trigger(number))) for number in range(triggers)]
    if pauses:
        commands += [
            Command(chance.choice((0.5, 3.1)), _asks(lambda at: core.Pause(at=at))),
            Command(4.0, _asks(lambda at: core.Resume(at=at)), when=_is_paused),
        ]
    commands.sort(key=lambda command: command.at)
    if backfills:
        commands.append(Command(TICKS + 1.0, _asks(_backfill), when=_is_done))
    more = triggers + backfills * TICKS
    least = more if pauses else TICKS + more
    commands.append(Command(TICKS + 2.0, _ends, when=lambda state: _is_done(state) and _count(state) >= least))
    return Role(
        id="clock",
        workflow=NAME,
        input=encode_arguments((Kept(id="clock", spec=spec, progress=core.first(spec, START)),), {}),
        outcomes={Status.TERMINATED: None},
        commands=tuple(commands),
        check=_accounts(least, TICKS + more),
    )


def _asks(command: Callable[[int], core.Command]) -> Callable[[int], EventRaised]:
    return lambda at: EventRaised(at=at, name=NAME, data=encode(command(at)))


def _trigger(number: int) -> Callable[[int], core.Command]:
    return lambda at: core.Trigger(at=at, id=f"clock@triggered {number}", overlap="allow")


def _backfill(at: int) -> core.Command:
    return core.Backfill(at=at, start=START + SECOND, end=START + (TICKS + 1) * SECOND, overlap="queue")


def _ends(at: int) -> RunTerminated:
    return RunTerminated(at=at)


def _progress(state: InstanceState) -> Progress:
    return decode(state.custom_status, Progress) if state.custom_status is not None else Progress(next=START)


def _is_paused(state: InstanceState) -> bool:
    return _progress(state).paused is not None


def _is_done(state: InstanceState) -> bool:
    """No tick ahead, no run that is not finished, and nothing to be backfilled."""
    progress = _progress(state)
    return not (progress.next or progress.paused or progress.running or progress.waiting or progress.backfills)


def _count(state: InstanceState) -> int:
    progress = _progress(state)
    return progress.started + progress.skipped + progress.missed + progress.existing


def _accounts(least: int, most: int) -> Callable[[InstanceState], str | None]:
    """Each tick, trigger and backfilled tick was started, skipped, missed or there already."""

    def check(state: InstanceState) -> str | None:
        count = _count(state)
        right = least <= count <= most
        return None if right else f"its counts come to {count}, not {least} to {most}: {_progress(state)}"

    return check
