"""Schedules as programs hold them: what makes one, and the handle that steers it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, Literal, ParamSpec

import msgspec

from perdure.codec import Payload, encode, encode_arguments
from perdure.errors import (
    InstanceExists,
    InstanceNotFinished,
    InstanceNotFound,
    InvalidArgument,
    NotDecodable,
    ScheduleExists,
    ScheduleNotFound,
)
from perdure.history.events import EventRaised, RunTerminated
from perdure.history.state import InstanceState
from perdure.history.work import StartOptions
from perdure.paging import each_found
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import Kept, Overlap, Spec
from perdure.scheduler.ticks import count
from perdure.sdk.client import Client
from perdure.sdk.handle import Handle
from perdure.sdk.options import checked_text
from perdure.sdk.schedule_options import (
    calendar_of,
    checked_overlap,
    checked_schedule_id,
    micros,
    require_ahead,
    with_bounds,
)
from perdure.sdk.schedule_state import Held, ScheduleState, shown
from perdure.sdk.scheduling import KIND, NAME
from perdure.stores.contract import Query, Status

log = logging.getLogger("perdure")
P = ParamSpec("P")
INSTANCE = "schedule:"
"""What comes before a schedule's id in the id of its instance."""
BACKFILL_MAX = 10_000
"""Ticks of one backfill."""
LIST_PAGE = 100
ANSWER_SECONDS = 10.0
"""How long `trigger` and `delete` wait to see what they have durably asked for, if a process is there to do it."""
LOOK_SECONDS = 0.02
READS_MAX = 5
"""How often a schedule is read again that was between two runs, where its input is on its way."""


class Schedule:
    """The handle of a schedule: to look at it and to steer it. Every call raises ScheduleNotFound if there is none.

    Commands are durable when a call returns; without a process that runs the app they wait for one.
    """

    def __init__(self, client: Client, id: str) -> None:
        self.id = id
        self._client = client
        self._instance = INSTANCE + checked_schedule_id(id)

    async def describe(self) -> ScheduleState:
        """What is known of it, from the store alone."""
        return shown(self.id, await self._held())

    async def pause(self, note: str = "") -> None:
        """No ticks until `resume`; runs go on, and so do `trigger` and `backfill`."""
        await self._command(core.Pause(at=self._client.now(), note=checked_text("note", note)))

    async def resume(self) -> None:
        """Tick again from now on. What fell into the pause is gone; `backfill` runs it."""
        await self._command(core.Resume(at=self._client.now()))

    async def trigger(self, *, overlap: Overlap = "allow") -> Handle[Any]:
        """Start a run now, paused or not; its handle. `overlap` as for ticks, if another run is not finished."""
        run = f"{self.id}@{self._client.fresh_key()[:16]}"
        command = core.Trigger(at=self._client.now(), id=run, overlap=checked_overlap(overlap))
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
        first, last, now = micros("start", start), micros("end", end), self._client.now()
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
        calendar = calendar_of(cron, every, timezone, start, end, old.calendar)
        changed = with_bounds(msgspec.structs.replace(old, calendar=calendar), overlap, jitter, catch_up)
        require_ahead(changed, self._client.now())
        await self._command(core.Update(at=self._client.now(), spec=changed))

    async def delete(self) -> None:
        """End the schedule. Its runs stay, and those that are not finished go on."""
        await self._state()
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
        await self._state()
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

    async def _held(self) -> Held:
        for _ in range(READS_MAX):
            state = await self._state()
            if state.input is not None:
                return Held.read(state)
        raise self._not_found()

    async def _state(self) -> InstanceState:
        """Its instance, which can be steered also where it cannot be read."""
        try:
            state = await self._client.gateway.state(self._instance, None)
        except InstanceNotFound:
            raise self._not_found() from None
        if state.name != NAME or state.is_finished:
            raise self._not_found()
        return state

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
        require_ahead(spec, client.now())
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
    encoded: Callable[..., Payload],
    client: Callable[[], Client],
    declare: Callable[[str, Spec], None] | None,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    overlap: Overlap = "skip",
    jitter: float | timedelta = 0.0,
    catch_up: float | timedelta | None = None,
    if_exists: str = "raise",
) -> Scheduling[Any]:
    """What `with_schedule` of workflows gives, once its arguments are checked."""
    checked_schedule_id(id)
    if msgspec.structs.replace(options, tags=None, run_timeout=None, place=None) != StartOptions():
        raise InvalidArgument(
            "a schedule names and times its runs, one for each tick; leave id, at, app_id, if_exists and dedup_key of "
            "them away"
        )
    if if_exists not in ("raise", "replace"):
        raise InvalidArgument(f"if_exists is {if_exists!r}; it is 'raise' or 'replace'")
    calendar = calendar_of(cron, every, timezone, start, end, None)

    def spec(input: Payload) -> Spec:
        plain = Spec(
            workflow=workflow,
            input=input,
            calendar=calendar,
            tags=options.tags,
            run_timeout=options.run_timeout,
            place=options.place,
        )
        return with_bounds(plain, overlap, jitter, catch_up)

    spec(encode_arguments((), {}))  # because a mistake should be told here, not when the schedule is made
    return Scheduling(id, spec, encoded, client, declare, if_exists)


async def make_declared(client: Client, declared: dict[str, Spec]) -> None:
    """Make the schedules that an app declares, or make those that are there as they are declared."""
    for id, spec in declared.items():
        await _put(client, id, spec, replaces=True)


async def listed(client: Client) -> AsyncIterator[ScheduleState]:
    """The schedules, newest first. One that cannot be read here is left out, and the log says so."""
    query = Query(kind=KIND, name=NAME, status=(Status.PENDING, Status.RUNNING))
    async for state in each_found(partial(client.gateway.find, query), LIST_PAGE):
        id = state.id.removeprefix(INSTANCE)
        try:
            yield await Schedule(client, id).describe()
        except ScheduleNotFound:
            continue  # because it was deleted meanwhile
        except NotDecodable as error:  # because it is no harm to the others
            log.warning("schedule %s is left out of the list: %s", id, error)


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
