"""What a schedule does next: which ticks start a run, which are skipped or missed. Pure; time comes in as an argument.

`tick` and `obey` take the progress of a schedule and give a `Step`: the progress after it, and what to start and to
cancel. Only steps that say `looked_ahead` have asked the calendar, so that whoever replays the others needs neither
the cron library nor the time zones of the day on which they were made.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from perdure.clock import SECOND, to_datetime
from perdure.codec import Payload
from perdure.history.events import InstanceEnded
from perdure.history.options import Place
from perdure.scheduler.ticks import Calendar, ticks

Overlap: TypeAlias = Literal["skip", "queue", "allow", "cancel"]
"""What becomes of a tick while a run of the schedule is not finished."""

CATCH_UP = 3_600 * SECOND
"""How late a tick may start a run unless the schedule says otherwise, in microseconds."""
LATE_MAX = 10 * SECOND
"""What is no later than this is on time, in microseconds, whatever `catch_up` says."""
STEP_TICKS_MAX = 500
"""Ticks that one step looks at; what is left is the next step's."""
RUNNING_MAX = 1_000
"""Runs of one schedule that are not finished; with so many a tick is skipped, and a backfill waits."""
RECENT_MAX = 10
"""Runs that a schedule remembers when they have ended."""
BACKFILLS_MAX = 100
"""Ranges that wait to be backfilled; with so many a further one is skipped."""


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a schedule is asked to be. `catch_up`, `jitter` and `run_timeout` in microseconds."""

    workflow: str
    input: Payload
    calendar: Calendar
    overlap: Overlap = "skip"
    catch_up: int = CATCH_UP
    jitter: int = 0
    tags: dict[str, str] | None = None
    run_timeout: int | None = None
    place: Place | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of the schedule: its instance, the tick that it is for (None: triggered), and how it went."""

    id: str
    tick: int | None
    started: int
    ended: int | None = None
    status: str = "running"
    cancelling: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """A run that is to be started."""

    id: str
    tick: int | None


class Range(msgspec.Struct, frozen=True):
    """What is left of a backfill: ticks after `after` and before `end`."""

    after: int
    end: int
    overlap: Literal["queue", "allow"]


class Note(msgspec.Struct, frozen=True):
    """Why the schedule is paused, and since when."""

    text: str
    since: int


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a schedule is. `next` is the tick that comes next, None if none does or the schedule is paused.

    `started` counts runs; `skipped` ticks that gave way to an unfinished run, `missed` those that came too late;
    `existing` those whose instance was there already.
    """

    next: int | None = None
    paused: Note | None = None
    waiting: Wanted | None = None
    running: tuple[Run, ...] = ()
    recent: tuple[Run, ...] = ()
    backfills: tuple[Range, ...] = ()
    started: int = 0
    skipped: int = 0
    missed: int = 0
    existing: int = 0


class Pause(msgspec.Struct, frozen=True, tag="pause", kw_only=True):
    """No ticks from `at` on."""

    at: int
    note: str = ""


class Resume(msgspec.Struct, frozen=True, tag="resume", kw_only=True):
    """Ticks again; those of the pause are gone."""

    at: int


class Trigger(msgspec.Struct, frozen=True, tag="trigger", kw_only=True):
    """A run now, as instance `id`."""

    at: int
    id: str
    overlap: Overlap


class Backfill(msgspec.Struct, frozen=True, tag="backfill", kw_only=True):
    """Runs for the ticks in `start` <= tick < `end`, one after the other (`queue`) or all at once (`allow`)."""

    at: int
    start: int
    end: int
    overlap: Literal["queue", "allow"]


class Update(msgspec.Struct, frozen=True, tag="update", kw_only=True):
    """Another specification; progress stays."""

    at: int
    spec: Spec


Command = Pause | Resume | Trigger | Backfill | Update | InstanceEnded
"""What reaches a schedule from outside."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as its instance keeps it: the input of each of its runs. Another `format` cannot be read here."""

    id: str
    spec: Spec
    progress: Progress
    unobeyed: Command | None = None
    format: Literal[1] = 1


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What follows: `start` these, `cancel` those instances. `unobeyed` is a command for which a step was too short."""

    spec: Spec
    progress: Progress
    start: tuple[Wanted, ...] = ()
    cancel: tuple[str, ...] = ()
    looked_ahead: bool = False
    unobeyed: Command | None = None


def first(spec: Spec, now: int) -> Progress:
    """The progress of a schedule that begins now."""
    return Progress(next=_next(spec, now))


def due(schedule: str, spec: Spec, progress: Progress) -> int | None:
    """When the schedule must be looked at again by itself: the next tick with its jitter, or at once (0), or never."""
    if any(_can_go_on(progress, backfill) for backfill in progress.backfills[:1]):
        return 0
    return progress.next + jitter(schedule, spec, progress.next) if progress.next is not None else None


def jitter(schedule: str, spec: Spec, tick: int) -> int:
    """By how much this tick is late on purpose: the same whenever it is asked, spread over schedules and ticks."""
    if not spec.jitter:
        return 0
    # because a run's random numbers would be others after a replay with other zones, and nobody could show what comes
    digest = hashlib.blake2b(f"{schedule}/{tick}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % spec.jitter


def run_id(schedule: str, tick: int) -> str:
    """The instance of a tick. Derived, so that a tick cannot start twice."""
    return f"{schedule}@{tick_text(tick)}"


def tick_text(tick: int) -> str:
    """ISO 8601 in UTC."""
    return f"{to_datetime(tick).replace(tzinfo=None).isoformat()}Z"


def tick(schedule: str, spec: Spec, progress: Progress, now: int) -> Step:
    """Take the ticks that are due, oldest first, and go on with what is to be backfilled."""
    step = _take_ticks(Step(spec=spec, progress=progress, looked_ahead=True), schedule, now, now)
    return _go_on(step, schedule, now)


def obey(schedule: str, spec: Spec, progress: Progress, command: Command, now: int) -> Step:
    """Follow a command. Ticks that were due before it was given come first, under what was asked until then."""
    step = Step(spec=spec, progress=progress)
    match command:
        case InstanceEnded():
            return _ended(step, schedule, command, now)
        case Trigger():
            return _arrive(step, Wanted(command.id, None), command.overlap, now)
    until = min(command.at, now)
    step = _take_ticks(replace(step, looked_ahead=True), schedule, until, now)
    if _is_due(step, schedule, until):
        return replace(step, unobeyed=command)
    match command:
        case Pause(note=note):
            return _with(step, paused=Note(note, command.at), next=None)
        case Resume() if step.progress.paused is not None:
            return _with(step, paused=None, next=_next(spec, now))
        case Resume():
            return step
        case Update(spec=changed):
            return _with(replace(step, spec=changed), next=_next_of_changed(changed, step.progress, now))
        case Backfill() if len(step.progress.backfills) >= BACKFILLS_MAX:
            return _with(step, skipped=step.progress.skipped + 1)
        case Backfill():
            wanted = Range(command.start - 1, command.end, command.overlap)
            return _go_on(_with(step, backfills=(*step.progress.backfills, wanted)), schedule, now)


def _next_of_changed(changed: Spec, progress: Progress, now: int) -> int | None:
    if progress.paused is not None:
        return None
    # because a tick that its jitter still holds back has not been taken
    return _next(changed, now if progress.next is None else min(now, progress.next - 1))


# -- ticks ------------------------------------------------------------------------------------------------------------


def _take_ticks(step: Step, schedule: str, until: int, now: int) -> Step:
    if step.progress.next is None:
        return step
    ahead = ticks(step.spec.calendar, step.progress.next)
    for _ in range(STEP_TICKS_MAX):
        if not _is_due(step, schedule, until):
            break
        step = _take(step, schedule, step.progress.next, now)
        step = _with(step, next=next(ahead, None))
    return step


def _is_due(step: Step, schedule: str, until: int) -> bool:
    tick = step.progress.next
    return tick is not None and tick + jitter(schedule, step.spec, tick) <= until


def _take(step: Step, schedule: str, tick: int | None, now: int) -> Step:
    assert tick is not None
    late = now - tick - jitter(schedule, step.spec, tick)
    if late > max(step.spec.catch_up, LATE_MAX):
        return _with(step, missed=step.progress.missed + 1)
    return _arrive(step, Wanted(run_id(schedule, tick), tick), step.spec.overlap, now)


def _next(spec: Spec, after: int) -> int | None:
    return next(ticks(spec.calendar, after), None)


# -- overlap ----------------------------------------------------------------------------------------------------------


def _arrive(step: Step, wanted: Wanted, overlap: Overlap, now: int) -> Step:
    """Start a run, or do what `overlap` says while another one is not finished."""
    progress = step.progress
    if not _is_busy(progress) or (overlap == "allow" and len(progress.running) < RUNNING_MAX):
        return _start(step, wanted, now)
    if overlap == "queue" and progress.waiting is None:
        return _with(step, waiting=wanted)
    if overlap == "cancel":
        skipped = progress.skipped + (progress.waiting is not None)
        return _with(_cancel_running(step), waiting=wanted, skipped=skipped)
    return _with(step, skipped=progress.skipped + 1)


def _is_busy(progress: Progress) -> bool:
    return bool(progress.running) or progress.waiting is not None


def _start(step: Step, wanted: Wanted, now: int) -> Step:
    run = Run(id=wanted.id, tick=wanted.tick, started=now)
    progress = step.progress
    step = replace(step, start=(*step.start, wanted))
    return _with(step, running=(*progress.running, run), started=progress.started + 1)


def _cancel_running(step: Step) -> Step:
    asked = tuple(run.id for run in step.progress.running if not run.cancelling)
    running = tuple(replace(run, cancelling=True) for run in step.progress.running)
    return _with(replace(step, cancel=(*step.cancel, *asked)), running=running)


def _ended(step: Step, schedule: str, ended: InstanceEnded, now: int) -> Step:
    """A run has ended, or was not begun because its id was taken: what waits for that goes on."""
    run = next((run for run in step.progress.running if run.id == ended.instance), None)
    if run is None:
        return step  # because it belongs to an earlier schedule of the same id
    step = _with(step, running=tuple(other for other in step.progress.running if other is not run))
    if ended.status is None:
        step = _with(step, started=step.progress.started - 1, existing=step.progress.existing + 1)
    else:
        over = replace(run, ended=ended.at, status=ended.status, cancelling=False)
        step = _with(step, recent=(over, *step.progress.recent)[:RECENT_MAX])
    waiting = step.progress.waiting
    if waiting is not None and not step.progress.running:
        return _start(_with(step, waiting=None), waiting, now)
    return _go_on(replace(step, looked_ahead=True), schedule, now) if step.progress.backfills else step


# -- backfill ---------------------------------------------------------------------------------------------------------


def _go_on(step: Step, schedule: str, now: int) -> Step:
    """Start what is to be backfilled, as far as overlap and the bounds of a step allow."""
    for _ in range(STEP_TICKS_MAX):
        backfills = step.progress.backfills
        if not backfills or not _can_go_on(step.progress, backfills[0]):
            break
        step = _backfill(step, schedule, backfills[0], now)
    return step


def _can_go_on(progress: Progress, backfill: Range) -> bool:
    if backfill.overlap == "allow":
        return len(progress.running) < RUNNING_MAX
    return not _is_busy(progress)


def _backfill(step: Step, schedule: str, backfill: Range, now: int) -> Step:
    tick = _next(step.spec, backfill.after)
    rest = step.progress.backfills[1:]
    if tick is None or tick >= backfill.end:
        return _with(step, backfills=rest)
    step = _with(step, backfills=(replace(backfill, after=tick), *rest))
    return _start(step, Wanted(run_id(schedule, tick), tick), now)


def _with(step: Step, **changes: object) -> Step:
    return replace(step, progress=replace(step.progress, **changes))
