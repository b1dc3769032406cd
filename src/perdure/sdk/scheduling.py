"""The built-in workflow that a schedule is: each run of it waits for a tick or a command, acts, and continues as new.

A run ends after the first step that looked ahead in the calendar, so that the calendar is never asked in a replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from perdure.clock import SECOND
from perdure.errors import InvalidArgument
from perdure.history.actions import CancelInstance, CreateDetached
from perdure.scheduler.schedule import Command, Kept, Spec, Step, Wanted, due, obey, tick, tick_text
from perdure.sdk.context import continue_as_new, set_status
from perdure.sdk.definitions import RESERVED
from perdure.sdk.home import Home
from perdure.sdk.run import Run, require_run
from perdure.sdk.workflow import Workflow

NAME = f"{RESERVED}schedule"
"""Of the workflow, and of the external event that brings its commands: one name, so that they keep their order."""
KIND = "schedule"
"""Of the instances, so that they are not among those of workflows."""
SCHEDULE_TAG = f"{RESERVED}schedule"
TICK_TAG = f"{RESERVED}tick"
"""Tags of a run: which schedule started it, and for which tick."""
RUN_STEPS_MAX = 100
"""Steps after which a run continues as new, so that a history stays short."""


async def _schedule(kept: Kept) -> None:
    """One run of a schedule: obey commands until one looks ahead, or a tick is due."""
    run = require_run("a schedule")
    id, unobeyed = kept.id, kept.unobeyed
    step = Step(spec=kept.spec, progress=kept.progress)
    at = due(id, kept.spec, kept.progress)
    steps = 0
    try:
        # because what is due already must come after the commands that wait, a timer is made for it too
        async with asyncio.timeout(None if at is None else max(at - run.now, 1) / SECOND):
            while steps < RUN_STEPS_MAX and not step.looked_ahead:
                command = unobeyed or run.decode(await run.next_event(NAME, None), Command)
                unobeyed = None
                step = _decided(run, obey, id, step, command, run.now)
                steps += 1
    except TimeoutError:
        step = _decided(run, tick, id, step, max(run.now, at or 0))
    continue_as_new(Kept(id=id, spec=step.spec, progress=step.progress, unobeyed=step.unobeyed), keep_events=True)


def _decided(run: Run, decide: Callable[..., Step], id: str, before: Step, *given: Any) -> Step:
    """The next step, with what follows from it recorded. A calendar that cannot be read here stalls the schedule."""
    try:
        step = decide(id, before.spec, before.progress, *given)
    except InvalidArgument as error:
        run.obstacle = error
        raise
    for wanted in step.start:
        run.record(_start(run, id, before.spec, wanted))  # because the step may have changed what comes after it
    for instance in step.cancel:
        run.record(CancelInstance(number=run.next_number(), instance=instance, reason=f"schedule {id}: the next tick"))
    set_status(step.progress)
    return step


def _start(run: Run, id: str, spec: Spec, wanted: Wanted) -> CreateDetached:
    at = {} if wanted.tick is None else {TICK_TAG: tick_text(wanted.tick)}
    return CreateDetached(
        number=run.next_number(),
        name=spec.workflow,
        instance=wanted.id,
        input=spec.input,
        tags={**(spec.tags or {}), SCHEDULE_TAG: id, **at},
        timeout=spec.run_timeout,
        place=spec.place,
        watch=NAME,
    )


class _BuiltIn(Workflow[..., None]):
    @property
    def fingerprint(self) -> str:
        """Other with other libraries, because a schedule that stalled for want of one is then worth another try."""
        return f"{super().fingerprint}.{find_spec('cronsim') is not None}.{find_spec('tzdata') is not None}"


BUILT_IN: dict[str, Workflow[..., Any]] = {NAME: _BuiltIn(_schedule, NAME, cast("Home", None))}
"""Workflows that every app has."""
