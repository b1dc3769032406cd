"""The commands `schedule ...`: make schedules, look at them, steer them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from perdure.app import Client
from perdure.cli import documents, screen
from perdure.cli.commands import command
from perdure.cli.target import Target
from perdure.cli.values import instant, json_value, pairs, seconds
from perdure.sdk.role import Role
from perdure.sdk.schedule_state import ScheduleRun, ScheduleState

ScheduleArgument = Annotated[str, typer.Argument(metavar="ID", help="The schedule.")]


class Overlap(StrEnum):
    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    CANCEL = "cancel"


class BackfillOverlap(StrEnum):
    QUEUE = "queue"
    ALLOW = "allow"


@dataclass(frozen=True)
class Timing:
    """The options that say when a schedule ticks, and what becomes of a tick."""

    cron: Annotated[str | None, typer.Option("--cron", metavar="FIELDS", help="Such as '30 2 * * mon-fri'.")] = None
    every: Annotated[str | None, typer.Option("--every", metavar="DURATION", help="Instead of cron: 90, 5m, 2h.")] = (
        None
    )
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="NAME", help="Whose clocks cron means: Europe/Berlin; else UTC.")
    ] = None
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help="No tick before: ISO 8601, +2h.")] = None
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="No tick from then on.")] = None
    overlap: Annotated[
        Overlap | None, typer.Option("--overlap", help="What becomes of a tick while a run is not finished (skip).")
    ] = None
    jitter: Annotated[
        str | None, typer.Option("--jitter", metavar="DURATION", help="Start each run late by up to so long.")
    ] = None
    catch_up: Annotated[
        str | None, typer.Option("--catch-up", metavar="DURATION", help="How late a tick may still start (1h).")
    ] = None

    def given(self) -> dict[str, Any]:
        """As `with_schedule` and `update` take them, without those that were not given."""
        now = datetime.now(UTC)
        options: dict[str, Any] = {
            "cron": self.cron,
            "timezone": self.timezone,
            "overlap": self.overlap.value if self.overlap is not None else None,
        }
        for name in ("every", "jitter", "catch_up"):
            text = getattr(self, name)
            options[name] = seconds(text, f"--{name.replace('_', '-')}") if text is not None else None
        for name in ("start", "end"):
            text = getattr(self, name)
            options[name] = instant(text, f"--{name}", now) if text is not None else None
        return {name: value for name, value in options.items() if value is not None}


async def create(
    *,
    id: ScheduleArgument,
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="What it starts.")],
    timing: Timing,
    target: Target,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]...", help="The workflow's arguments, each as JSON.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Of its runs.")] = None,
    run_timeout: Annotated[
        str | None, typer.Option("--run-timeout", metavar="DURATION", help="Fail a run when it takes longer.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change the schedule if it is there.")] = False,
) -> int:
    """Make a schedule."""
    values = [json_value(text, f"argument {number}") for number, text in enumerate(arguments or (), 1)]
    of_runs = {
        "tags": pairs(tag, "--tag") if tag else None,
        "run_timeout": seconds(run_timeout, "--run-timeout") if run_timeout is not None else None,
    }
    asked = {**timing.given(), "if_exists": "replace" if replace else "raise"}
    async with target.client(needs=Role.OPERATE, creates=True) as client:
        made = await client.workflow(workflow).with_options(**of_runs).with_schedule(id, **asked).create(*values)
        await _report(client, target, await made.describe(), "is made")
    return 0


async def list_(target: Target) -> int:
    """The schedules, newest first."""
    async with target.client() as client:
        states = [state async for state in client.schedules()]
    if target.json:
        for state in states:
            documents.write(document(state))
    elif states:
        screen.console().print(table(states))
    else:
        screen.say("There is no schedule.")
    return 0


async def show(id: ScheduleArgument, target: Target) -> int:
    """One schedule: when it ticks, what comes next, its runs and counts."""
    async with target.client() as client:
        state = await client.get_schedule(id).describe()
    if target.json:
        documents.write(document(state))
        return 0
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, told in _facts(state):
        shown.add_row(name, told)
    screen.console().print(shown)
    return 0


async def update(id: ScheduleArgument, timing: Timing, target: Target) -> int:
    """Change options; what is not given stays as it is."""
    return await _steer(id, target, "is changed", lambda schedule: schedule.update(**timing.given()))


async def pause(
    id: ScheduleArgument,
    target: Target,
    note: Annotated[str, typer.Option("--note", help="Why; shown until it is resumed.")] = "",
) -> int:
    """No ticks until it is resumed."""
    return await _steer(id, target, "is paused", lambda schedule: schedule.pause(note))


async def resume(id: ScheduleArgument, target: Target) -> int:
    """Tick again from now on."""
    return await _steer(id, target, "is resumed", lambda schedule: schedule.resume())


async def trigger(
    id: ScheduleArgument,
    target: Target,
    overlap: Annotated[Overlap, typer.Option("--overlap", help="What to do if a run is not finished.")] = Overlap.ALLOW,
) -> int:
    """Start a run now; its instance is printed."""
    async with target.client(needs=Role.OPERATE) as client:
        handle = await client.get_schedule(id).trigger(overlap=overlap.value)
        if target.json:
            documents.write({"id": id, "run": handle.id})
        else:
            print(screen.clean(handle.id))
        await _warn(client)
    return 0


async def backfill(
    *,
    id: ScheduleArgument,
    target: Target,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="ISO 8601, or -7d.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Up to but not with this time.")] = "+0",
    overlap: Annotated[
        BackfillOverlap, typer.Option("--overlap", help="One run after the other, or all at once.")
    ] = BackfillOverlap.QUEUE,
) -> int:
    """Start runs for the ticks of a range that has passed; those that have run do not run again."""
    now = datetime.now(UTC)
    first, last = instant(start, "--from", now), instant(end, "--to", now)
    async with target.client(needs=Role.OPERATE) as client:
        count = await client.get_schedule(id).backfill(first, last, overlap=overlap.value)
        if target.json:
            documents.write({"id": id, "ticks": count})
        else:
            print(screen.clean(f"{id}: {count:,} ticks to fill"))
        await _warn(client)
    return 0


async def delete(ids: Annotated[list[str], typer.Argument(metavar="ID...")], target: Target) -> int:
    """End schedules; their runs stay."""
    async with target.client(needs=Role.ADMIN, caretaker=True) as client:
        for id in ids:
            await client.get_schedule(id).delete()
            if target.json:
                documents.write({"id": id, "deleted": True})
            else:
                print(screen.clean(f"{id} is deleted"))
    return 0


schedules = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
_COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, int]]] = {
    "create": create,
    "list": list_,
    "show": show,
    "update": update,
    "pause": pause,
    "resume": resume,
    "trigger": trigger,
    "backfill": backfill,
    "delete": delete,
}
for _name, _function in _COMMANDS.items():
    schedules.command(_name)(command(_function))


def document(state: ScheduleState) -> dict[str, Any]:
    """A schedule for programs; durations in seconds."""
    return {
        "id": state.id,
        "workflow": state.workflow,
        "input": state.input,
        "cron": state.cron,
        "every": _seconds(state.every),
        "timezone": state.timezone,
        "start": _time(state.start),
        "end": _time(state.end),
        "overlap": state.overlap,
        "jitter": _seconds(state.jitter),
        "catch_up": _seconds(state.catch_up),
        "tags": state.tags,
        "created": _time(state.created),
        "paused": state.paused,
        "paused_since": _time(state.paused_since),
        "next": [_time(at) for at in state.next],
        "waiting": state.waiting,
        "running": [_run(run) for run in state.running],
        "recent": [_run(run) for run in state.recent],
        "backfills": [{"after": _time(after), "end": _time(end)} for after, end in state.backfills],
        "counts": _counts(state),
        "stalled": state.stalled.description if state.stalled is not None else None,
    }


def table(states: list[ScheduleState]) -> Table:
    """Schedules, a row each."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ID", "WORKFLOW", "TICKS", "NEXT", "LAST RUN", "STARTED", "SKIPPED", "MISSED"):
        rows.add_column(column, overflow="fold")
    for state in states:
        last = next(iter((*state.running[::-1], *state.recent)), None)
        rows.add_row(
            Text(screen.clean(state.id)),
            Text(screen.clean(state.workflow)),
            Text(screen.clean(_ticks(state))),
            _ahead(state),
            Text(f"{screen.clock(last.started)} {last.status}") if last is not None else "",
            f"{state.started:,}",
            f"{state.skipped:,}",
            f"{state.missed:,}",
        )
    return rows


def _facts(state: ScheduleState) -> Iterator[tuple[str, Text | str]]:
    yield "schedule", Text(screen.clean(state.id))
    yield "workflow", Text(screen.clean(state.workflow))
    yield "input", screen.value(state.input)
    yield "ticks", Text(screen.clean(_ticks(state)))
    yield "overlap", state.overlap
    yield "catch-up", screen.span(state.catch_up)
    if state.jitter:
        yield "jitter", screen.span(state.jitter)
    if state.stalled is not None:
        yield "stalled", Text(screen.clean(f"{state.stalled.reason}: {state.stalled.description or ''}"))
    if state.paused is not None:
        yield "paused", Text(screen.clean(f"since {screen.clock(state.paused_since)} {state.paused}"))
    for at in state.next:
        yield "next", screen.clock(at)
    for run in (*state.running, *state.recent):
        yield "run", Text(screen.clean(f"{screen.clock(run.started)}  {run.status}  {run.id}"))
    if state.waiting is not None:
        yield "waiting", Text(screen.clean(state.waiting))
    for after, end in state.backfills:
        yield "backfill", f"after {screen.clock(after)}, before {screen.clock(end)}"
    for name, count in _counts(state).items():
        yield name, f"{count:,}"


def _ticks(state: ScheduleState) -> str:
    if state.every is not None:
        return f"every {screen.span(state.every)}"
    return f"{state.cron} {state.timezone}"


def _ahead(state: ScheduleState) -> Text:
    if state.stalled is not None:
        return Text("stalled", style="bold red")
    if state.paused is not None:
        return Text("paused", style="yellow")
    return Text(screen.clock(state.next[0]) if state.next else "")


def _counts(state: ScheduleState) -> dict[str, int]:
    return {
        "started": state.started,
        "skipped": state.skipped,
        "missed": state.missed,
        "existing": state.existing,
    }


def _run(run: ScheduleRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "tick": _time(run.tick),
        "started": _time(run.started),
        "ended": _time(run.ended),
        "status": run.status,
    }


async def _steer(id: str, target: Target, done: str, steer: Callable[[Any], Coroutine[Any, Any, None]]) -> int:
    async with target.client(needs=Role.OPERATE) as client:
        schedule = client.get_schedule(id)
        await steer(schedule)
        await _report(client, target, await schedule.describe(), done)
    return 0


async def _report(client: Client, target: Target, state: ScheduleState, done: str) -> None:
    if target.json:
        documents.write(document(state))
    else:
        print(screen.clean(f"{state.id} {done}"))
    await _warn(client)


async def _warn(client: Client) -> None:
    if await client.holder() is None:
        screen.say("No process runs this app: what is asked for waits for a worker.")


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration is not None else None


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
