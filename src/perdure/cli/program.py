"""The program `perdure`: its commands by name, and what an error becomes in a shell."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from perdure.cli import (
    debug,
    lint,
    looking,
    queues,
    replay,
    schedule,
    screen,
    starting,
    steering,
    streaming,
    talking,
    worker,
)
from perdure.cli.commands import command
from perdure.errors import InstanceError, PerdureError, ScheduleError, StoreError, UsageError

FAILED, USAGE, UNREACHABLE = 1, 2, 3

program = typer.Typer(
    name="perdure",
    help="Durable workflows: run a worker, start workflows, see what they do, steer them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, int]]] = {
    "worker": worker.worker,
    "start": starting.start,
    "list": looking.list_,
    "show": looking.show,
    "history": looking.history,
    "explain": looking.explain,
    "queues": queues.queues,
    "query": talking.query,
    "update": talking.update,
    "stream": streaming.stream,
    "raise": steering.raise_,
    "cancel": steering.cancel,
    "suspend": steering.suspend,
    "resume": steering.resume,
    "terminate": steering.terminate,
    "purge": steering.purge,
    "sweep": steering.sweep,
    "rerun": starting.rerun,
    "lint": lint.lint,
    "replay": replay.replay,
    "debug": debug.debug,
}
for _name, _function in _COMMANDS.items():
    program.command(_name)(command(_function))
program.add_typer(schedule.schedules, name="schedule", help="Schedules: start workflows by the clock.")


def _version(wanted: bool) -> None:
    if wanted:
        from perdure import __version__

        print(f"perdure {__version__}")
        raise typer.Exit


@program.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Durable workflows: run a worker, start workflows, see what they do, steer them."""


def run() -> None:
    """Run the command of this process's arguments. Always ends in SystemExit."""
    try:
        program(prog_name="perdure")
    except PerdureError as error:
        screen.say(f"perdure: {error}")
        raise SystemExit(exit_code(error)) from error


def exit_code(error: PerdureError) -> int:
    """What a shell is told about an error."""
    match error:
        case UsageError() | InstanceError() | ScheduleError():
            return USAGE
        case StoreError():
            return UNREACHABLE
        case _:
            return FAILED
