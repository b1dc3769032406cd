"""Schedules as rows."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from perdure.clock import to_microseconds
from perdure.remote.dashboard.views import moments
from perdure.sdk.schedule_state import ScheduleRun, ScheduleState

RUNS_SHOWN = 8
"""Ended runs of a row, newest first."""


class Run(msgspec.Struct, frozen=True):
    id: str
    state: str
    title: str


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule. `runs` are those that go on, then those that ended last."""

    id: str
    workflow: str
    state: str
    when: str
    next: str
    runs: list[Run]
    started: int
    lost: str
    note: str


def schedule_of(state: ScheduleState, now: int) -> ScheduleRow:
    ahead = _ahead(state.next[0], now) if state.next else ""
    runs = [*map(_run, state.running), *map(_run, state.recent[:RUNS_SHOWN])]
    return ScheduleRow(
        id=state.id,
        workflow=state.workflow,
        state=_standing(state),
        when=_when(state),
        next=ahead,
        runs=runs,
        started=state.started,
        lost=_lost(state),
        note=state.paused or (state.stalled.description or "" if state.stalled is not None else ""),
    )


def _standing(state: ScheduleState) -> str:
    if state.stalled is not None:
        return "stalled"
    if state.paused is not None:
        return "suspended"
    return "running" if state.next else "completed"


def _when(state: ScheduleState) -> str:
    if state.cron is not None:
        return f"{state.cron} {state.timezone}"
    return f"every {_duration(state.every)}" if state.every is not None else ""


def _duration(every: timedelta) -> str:
    return moments.rounded(every // timedelta(microseconds=1))


def _ahead(at: datetime, now: int) -> str:
    due = to_microseconds(at)
    return f"{moments.clock(due)} UTC, {moments.ago(due, now)}"


def _lost(state: ScheduleState) -> str:
    counts = (("skipped", state.skipped), ("missed", state.missed), ("existing", state.existing))
    return ", ".join(f"{count:,} {word}" for word, count in counts if count)


def _run(run: ScheduleRun) -> Run:
    began = moments.clock(to_microseconds(run.started))
    return Run(run.id, run.status, f"{run.id}: {run.status}, from {began} UTC")
