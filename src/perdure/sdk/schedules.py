"""Schedules as programs hold them: what makes one, the handle that steers it, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Generic, Literal, ParamSpec, get_args

import msgspec

from perdure.clock import LATEST, SECOND, to_datetime, to_microseconds
from perdure.codec import Payload, decode, encode, encode_arguments
from perdure.errors import (
    InstanceExists,
    InstanceNotFinished,
    InstanceNotFound,
    InvalidArgument,
    ScheduleExists,
    ScheduleNotFound,
)
from perdure.history.events import EventRaised, RunTerminated
from perdure.history.state import InstanceState
from perdure.history.work import StartOptions
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import Kept, Overlap, Progress, Spec
from perdure.scheduler.ticks import Calendar, check, count, ticks
from perdure.sdk.client import Client, Handle
from perdure.sdk.options import checked_id, checked_moment, checked_text
from perdure.sdk.scheduling import KIND, NAME
from perdure.stores.contract import Halt, Query, Status

P = ParamSpec("P")
INSTANCE = "schedule:"
"""What comes before a schedule's id in the id of its instance."""
ID_BYTES_MAX = 512
"""Bound of a schedule's id, so that the ids of its runs, which begin with it, are valid."""
BACKFILL_MAX = 10_000
"""Ticks of one backfill."""
NEXT_SHOWN = 5
"""Ticks ahead that `describe` tells."""
SECONDS_MAX = 100 * 366 * 86_400
"""The longest interval, jitter and catch-up: a hundred years."""
LIST_PAGE = 100
ANSWER_SECONDS = 10.0
"""How long `trigger` and `delete` wait to see what they have durably asked for, if a process is there to do it."""
LOOK_SECONDS = 0.02
READS_MAX = 5
"""How often a schedule is read again that was between two runs, where its input is on its way."""


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


class Schedule:
    """The handle of a schedule: to look at it and to steer it. Every call raises ScheduleNotFound if there is none.

    Commands are durable when a call returns; without a process that runs the app they wait for one.
    """

    def __init__(self, client: Client, id: str) -> None:
        self.id = id
        self._client = client
        self._instance = INSTANCE + _checked_schedule_id(id)

    async def describe(self) -> ScheduleState:
        """What is known of it, from the store alone."""
        return _shown(self.id, await self._held())

    async def pause(self, note: str = "") -> None:
        """No ticks until `resume`; runs go on, and so do `trigger` and `backfill`."""
        await self._command(core.Pause(at=self._client.now(), note=checked_text("note", note)))

    async def resume(self) -> None:
        """Tick again from now on. What fell into the pause is gone; `backfill` runs it."""
        await self._command(core.Resume(at=self._client.now()))

    async def trigger(self, *, overlap: Overlap = "allow") -> Handle[Any]:
        """Start a run now, paused or not; its handle. `overlap` as for ticks, if another run is not finished."""
        run = f"{self.id}@{self._client.fresh_key()[:16]}"
        command = core.Trigger(at=self._client.now(), id=run, overlap=_checked_overlap(overlap))
        await self._command(command)
        handle = self._client.get(run)
        if overlap == "allow":
            await self._seen(handle)
        return handle

    async def backfill(self, start: datetime, end: datetime, *, overlap: Literal["queue", "allow"] = "queue") -> int:
        """Start runs for the ticks in `start` <= tick < `end`; how many ticks those are.

        One after the other, or all at once with overlap "allow". A tick whose instance is still there does not start
        again. Raises InvalidArgument for more than `BACKFILL_MAX` ticks, and for a range that ends ahead of now.
        """
        if overlap not in ("queue", "allow"):
            raise InvalidArgument(f'overlap of a backfill is {overlap!r}; it is "queue" or "allow"')
        first, last, now = _micros("start", start), _micros("end", end), self._client.now()
        if not first < last <= now:
            raise InvalidArgument(f"the range from {start} to {end} is none; give a start, then an end that has passed")
        spec = (await self._held()).spec
        found = count(spec.calendar, first, last, BACKFILL_MAX + 1)
        if found > BACKFILL_MAX:
            raise InvalidArgument(f"the range has more than {BACKFILL_MAX:,} ticks; backfill a part of it first")
        if found:
            await self._command(core.Backfill(at=now, start=first, end=last, overlap=overlap))
        return found

    async def update(
        self,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        overlap: Overlap | None = None,
        jitter: float | timedelta | None = None,
        catch_up: float | timedelta | None = None,
    ) -> None:
        """Change options; None keeps what is. Counts, runs and a pause stay. See `Workflow.with_schedule`.

        For other arguments of the workflow make the schedule again with `if_exists="replace"`.
        """
        old = (await self._held()).spec
        calendar = _calendar(cron, every, timezone, start, end, old.calendar)
        changed = _with_bounds(msgspec.structs.replace(old, calendar=calendar), overlap, jitter, catch_up)
        _require_ahead(changed, self._client.now())
        await self._command(core.Update(at=self._client.now(), spec=changed))

    async def delete(self) -> None:
        """End the schedule. Its runs stay, and those that are not finished go on."""
        await self._held()
        client = self._client
        event = RunTerminated(at=client.now(), recursive=False)
        await client.gateway.command(self._instance, None, event, client.fresh_key())
        try:
            patience = ANSWER_SECONDS if await client.holder() is not None else 0.0
            await client.gateway.outcome(self._instance, None, patience)
            await client.gateway.purge(self._instance, None, False)
        except (TimeoutError, InstanceNotFound, InstanceNotFinished):
            return  # because it is asked for durably, and a finished schedule is none

    async def _command(self, command: core.Command) -> None:
        await self._held()
        client = self._client
        event = EventRaised(at=client.now(), name=NAME, data=encode(command))
        await client.gateway.command(self._instance, None, event, client.fresh_key())

    async def _seen(self, handle: Handle[Any]) -> None:
        """Wait until the run is in the store, which is at once unless another process has to start it."""
        if await self._client.holder() is None:
            return
        for _ in range(round(ANSWER_SECONDS / LOOK_SECONDS)):
            try:
                await handle.state()
                return
            except InstanceNotFound:
                await asyncio.sleep(LOOK_SECONDS)

    async def _held(self) -> _Held:
        for _ in range(READS_MAX):
            try:
                state = await self._client.gateway.state(self._instance, None)
            except InstanceNotFound:
                raise self._not_found() from None
            if state.name != NAME or state.is_finished:
                raise self._not_found()
            if state.input is not None:
                return _Held.read(state)
        raise self._not_found()

    def _not_found(self) -> ScheduleNotFound:
        return ScheduleNotFound(
            f"no schedule {self.id[:200]!r}; `perdure schedule list` shows those there are", self.id
        )

    def __repr__(self) -> str:
        return f"<Schedule {self.id}>"


class Scheduling(Generic[P]):
    """A workflow and the schedule that is to start it: `create` it now, or `declare` it for the app to make."""

    def __init__(
        self,
        id: str,
        spec: Callable[[Payload], Spec],
        encoded: Callable[..., Payload],
        client: Callable[[], Client],
        declare: Callable[[str, Spec], None] | None,
        if_exists: str,
    ) -> None:
        self.id = id
        self._spec = spec
        self._encoded = encoded
        self._client = client
        self._declare = declare
        self._replaces = if_exists == "replace"

    async def create(self, *args: P.args, **kwargs: P.kwargs) -> Schedule:
        """Make the schedule, which starts the workflow with these arguments; its handle once it is durable.

        Raises ScheduleExists unless it was made with `if_exists="replace"`, which leaves counts, runs and pause.
        """
        spec, client = self._spec(self._encoded(args, kwargs)), self._client()
        _require_ahead(spec, client.now())
        return await _put(client, self.id, spec, replaces=self._replaces)

    def declare(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Let the app make the schedule whenever it opens, or change it to what is declared if it differs.

        A schedule whose declaration is taken away stays; delete it.
        """
        spec = self._spec(self._encoded(args, kwargs))
        if self._declare is None:
            raise InvalidArgument(
                f"workflow {spec.workflow!r} is of no App here; only those of an App declare schedules"
            )
        self._declare(self.id, spec)

    def __repr__(self) -> str:
        return f"<Scheduling {self.id}>"


def scheduling(
    id: str,
    workflow: str,
    options: StartOptions,
    *,
    cron: str | None,
    every: float | timedelta | None,
    timezone: str | None,
    start: datetime | None,
    end: datetime | None,
    overlap: Overlap,
    jitter: float | timedelta,
    catch_up: float | timedelta | None,
    if_exists: str,
    encoded: Callable[..., Payload],
    client: Callable[[], Client],
    declare: Callable[[str, Spec], None] | None,
) -> Scheduling[Any]:
    """What `with_schedule` of workflows gives, once its arguments are checked."""
    _checked_schedule_id(id)
    if msgspec.structs.replace(options, tags=None, run_timeout=None) != StartOptions():
        raise InvalidArgument("a schedule names and times its runs; leave id, at, app_id and if_exists of them away")
    if if_exists not in ("raise", "replace"):
        raise InvalidArgument(f"if_exists is {if_exists!r}; it is 'raise' or 'replace'")
    calendar = _calendar(cron, every, timezone, start, end, None)

    def spec(input: Payload) -> Spec:
        plain = Spec(
            workflow=workflow, input=input, calendar=calendar, tags=options.tags, run_timeout=options.run_timeout
        )
        return _with_bounds(plain, overlap, jitter, catch_up)

    spec(encode_arguments((), {}))  # because a mistake should be told here, not when the schedule is made
    return Scheduling(id, spec, encoded, client, declare, if_exists)


async def make_declared(client: Client, declared: dict[str, Spec]) -> None:
    """Make the schedules that an app declares, or make those that are there as they are declared."""
    for id, spec in declared.items():
        await _put(client, id, spec, replaces=True)


async def listed(client: Client) -> AsyncIterator[ScheduleState]:
    """The schedules, newest first."""
    query = Query(kind=KIND, name=NAME, status=(Status.PENDING, Status.RUNNING))
    cursor: str | None = None
    while True:
        found, cursor = await client.gateway.find(query, cursor, LIST_PAGE)
        for state in found:
            try:
                yield await Schedule(client, state.id.removeprefix(INSTANCE)).describe()
            except ScheduleNotFound:
                continue  # because it was deleted meanwhile
        if cursor is None:
            return


async def _put(client: Client, id: str, spec: Spec, *, replaces: bool) -> Schedule:
    schedule = Schedule(client, id)
    now = client.now()
    input = encode_arguments((Kept(id=id, spec=spec, progress=core.first(spec, now)),), {})
    try:
        await client.gateway.start(NAME, input, StartOptions(id=INSTANCE + id, kind=KIND))
    except InstanceExists:
        if not replaces:
            raise ScheduleExists(
                f'schedule {id!r} exists; use another id, or if_exists="replace" to change it', id
            ) from None
        held = await schedule._held()
        if encode(held.spec) != encode(spec):
            await schedule._command(core.Update(at=now, spec=spec))
    return schedule


# -- what is asked for ------------------------------------------------------------------------------------------------


def _calendar(
    cron: str | None,
    every: float | timedelta | None,
    timezone: str | None,
    start: datetime | None,
    end: datetime | None,
    old: Calendar | None,
) -> Calendar:
    """The calendar of these options, None meaning that of `old`; `cron` takes the place of `every` and vice versa."""
    old = old or Calendar()
    if cron is None and every is None:
        cron, period = old.cron, old.every
    else:
        period = _duration("every", every, least=1.0) if every is not None else None
    zone = timezone if timezone is not None else "UTC" if cron is None else old.timezone
    calendar = Calendar(
        cron=checked_text("cron", cron) if cron is not None else None,
        every=period,
        timezone=checked_text("timezone", zone),
        start=_micros("start", start) if start is not None else old.start,
        end=_micros("end", end) if end is not None else old.end,
    )
    check(calendar)
    return calendar


def _with_bounds(
    spec: Spec, overlap: Overlap | None, jitter: float | timedelta | None, catch_up: float | timedelta | None
) -> Spec:
    """The specification with these options, None meaning those that it has."""
    changes: dict[str, Any] = {}
    if overlap is not None:
        changes["overlap"] = _checked_overlap(overlap)
    if jitter is not None:
        changes["jitter"] = _duration("jitter", jitter)
    if catch_up is not None:
        changes["catch_up"] = _duration("catch_up", catch_up)
    return msgspec.structs.replace(spec, **changes)


def _require_ahead(spec: Spec, now: int) -> None:
    if core.first(spec, now).next is None:
        raise InvalidArgument("the schedule has no tick ahead: its end has passed; give a later end")


def _checked_schedule_id(id: str) -> str:
    size = len(checked_id(id).encode())
    if size > ID_BYTES_MAX:
        raise InvalidArgument(f"a schedule's id has at most {ID_BYTES_MAX} bytes; {id[:40]!r}... has {size:,}")
    return id


def _checked_overlap(overlap: Overlap) -> Overlap:
    if overlap not in get_args(Overlap):
        raise InvalidArgument(f"overlap is {overlap!r}; it is one of {', '.join(get_args(Overlap))}")
    return overlap


def _duration(what: str, value: float | timedelta, least: float = 0.0) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not least <= seconds <= SECONDS_MAX:
        raise InvalidArgument(f"{what} is {value!r}; give seconds from {least:g} to {SECONDS_MAX:,}, or a timedelta")
    return round(seconds * SECOND)


def _micros(what: str, at: datetime) -> int:
    return min(to_microseconds(checked_moment(what, at)), LATEST)


# -- what is shown ----------------------------------------------------------------------------------------------------


class _Held(msgspec.Struct, frozen=True):
    """A schedule as its instance keeps it."""

    spec: Spec
    progress: Progress
    created: int
    stalled: Halt | None

    @classmethod
    def read(cls, state: InstanceState) -> _Held:
        assert state.input is not None
        kept: Kept = decode(state.input, Kept)
        # because a run tells how far it is by its custom status, until the next one has it as input
        progress = decode(state.custom_status, Progress) if state.custom_status is not None else kept.progress
        return cls(kept.spec, progress, state.created, state.stalled)


def _shown(id: str, held: _Held) -> ScheduleState:
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
