"""A schedule as people and programs see it: read from its instance, told in datetimes."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.codec import Confidential, decode
from perdure.errors import InvalidArgument
from perdure.history.state import InstanceState
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import Kept, Overlap, Progress, Spec
from perdure.scheduler.ticks import Calendar, ticks
from perdure.stores.contract import Halt

NEXT_SHOWN = 5
"""Ticks ahead that `describe` tells."""


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a schedule. `tick` is None if it was triggered; `status` is `running` until it has ended."""

    id: str
    tick: datetime | None
    started: datetime
    ended: datetime | None = None
    status: str = "running"


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a schedule, answered from the store. Times are aware, in UTC; durations are timedeltas.

    `paused` is the note of a pause, None if there is none; `next` the ticks ahead, without jitter; `waiting` the run
    that begins when those of `running` have ended; `recent` the last runs that ended, newest first; `backfills` what is
    left of ranges. `started` counts runs, `skipped` ticks that gave way to an unfinished run, `missed` ticks that were
    later than `catch_up`, `existing` ticks whose instance was there already. `stalled` says why it stands still.
    """

    id: str
    workflow: str
    input: Any
    cron: str | None
    every: timedelta | None
    timezone: str
    start: datetime | None
    end: datetime | None
    overlap: Overlap
    jitter: timedelta
    catch_up: timedelta
    tags: dict[str, str]
    created: datetime
    paused: str | None
    paused_since: datetime | None
    next: tuple[datetime, ...]
    waiting: str | None
    running: tuple[ScheduleRun, ...]
    recent: tuple[ScheduleRun, ...]
    backfills: tuple[tuple[datetime, datetime], ...]
    started: int
    skipped: int
    missed: int
    existing: int
    stalled: Halt | None


class Held(msgspec.Struct, frozen=True):
    """A schedule as its instance keeps it."""

    spec: Spec
    progress: Progress
    created: int
    stalled: Halt | None

    @classmethod
    def read(cls, state: InstanceState) -> Held:
        """From a state that has its input."""
        assert state.input is not None
        kept: Kept = decode(state.input, Kept)
        # because a run tells how far it is by its custom status, until the next one has it as input
        progress = decode(state.custom_status, Progress) if state.custom_status is not None else kept.progress
        input = kept.spec.input
        if isinstance(state.input, Confidential):  # because what is in it is then confidential too
            input = Confidential(input.encoding, input.key, input.data)
        return cls(msgspec.structs.replace(kept.spec, input=input), progress, state.created, state.stalled)


def shown(id: str, held: Held) -> ScheduleState:
    """The snapshot of a schedule. Ticks ahead are as many as can be computed here."""
    spec, progress, calendar = held.spec, held.progress, held.spec.calendar
    paused = progress.paused
    return ScheduleState(
        id=id,
        workflow=spec.workflow,
        input=decode(spec.input),
        cron=calendar.cron,
        every=timedelta(microseconds=calendar.every) if calendar.every is not None else None,
        timezone=calendar.timezone,
        start=_moment(calendar.start),
        end=_moment(calendar.end),
        overlap=spec.overlap,
        jitter=timedelta(microseconds=spec.jitter),
        catch_up=timedelta(microseconds=spec.catch_up),
        tags=spec.tags or {},
        created=to_datetime(held.created),
        paused=paused.text if paused is not None else None,
        paused_since=to_datetime(paused.since) if paused is not None else None,
        next=_ahead(calendar, progress.next),
        waiting=progress.waiting.id if progress.waiting is not None else None,
        running=tuple(map(_run, progress.running)),
        recent=tuple(map(_run, progress.recent)),
        backfills=tuple((to_datetime(left.after), to_datetime(left.end)) for left in progress.backfills),
        started=progress.started,
        skipped=progress.skipped,
        missed=progress.missed,
        existing=progress.existing,
        stalled=held.stalled,
    )


def _ahead(calendar: Calendar, tick: int | None) -> tuple[datetime, ...]:
    if tick is None:
        return ()
    try:
        later = list(islice(ticks(calendar, tick), NEXT_SHOWN - 1))
    except InvalidArgument:
        later = []  # because whoever looks may lack the cron library or the time zone
    return tuple(map(to_datetime, [tick, *later]))


def _run(run: core.Run) -> ScheduleRun:
    return ScheduleRun(
        id=run.id,
        tick=_moment(run.tick),
        started=to_datetime(run.started),
        ended=_moment(run.ended),
        status=run.status,
    )


def _moment(at: int | None) -> datetime | None:
    return to_datetime(at) if at is not None else None
