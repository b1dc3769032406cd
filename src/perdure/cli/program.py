"""The program `perdure`: its commands by name, and what an error becomes in a shell.

A command's module is imported when the command is asked for: importing all takes longer than most commands do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from perdure.cli.commands import command
from perdure.errors import (
    InstanceError,
    PerdureError,
    PortNotFree,
    ScheduleError,
    ServerUnavailable,
    StoreError,
    UsageError,
)

FAILED, USAGE, UNREACHABLE = 1, 2, 3

_COMMANDS = {
    "worker": "worker.worker",
    "serve": "serve.serve",
    "ui": "ui.ui",
    "mcp": "mcp.mcp",
    "start": "starting.start",
    "list": "looking.list_",
    "show": "looking.show",
    "history": "looking.history",
    "explain": "looking.explain",
    "queues": "queues.queues",
    "publish": "topics.publish",
    "topics": "topics.topics",
    "nodes": "nodes.nodes",
    "targets": "listing.targets",
    "failures": "failures.failures",
    "query": "talking.query",
    "update": "talking.update",
    "stream": "streaming.stream",
    "raise": "steering.raise_",
    "cancel": "steering.cancel",
    "suspend": "steering.suspend",
    "resume": "steering.resume",
    "terminate": "steering.terminate",
    "purge": "steering.purge",
    "sweep": "steering.sweep",
    "rerun": "starting.rerun",
    "lint": "lint.lint",
    "replay": "replay.replay",
    "debug": "debug.debug",
    "move": "move.move",
    "run": "run.run",
}
"""Each command's function, as module.function below `perdure.cli`, in the order of the help."""

_OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "run": {"allow_interspersed_args": False},  # because what stands after the program's name is the program's own
}

_GROUPS = {
    "schedule": ("schedule.schedules", "Schedules: start workflows by the clock."),
    "store": ("store.stores", "Stores: check a database, bring its layout up, count what it holds."),
    "configuration": ("configuration.configurations", "Settings that programs read and watch while they run."),
    "feed": ("feed.feeds", "The lifecycle feed: what happens to instances, and who was told."),
    "audit": ("audit.audits", "The audit log: who did what, and whether it is as it was written."),
}
"""Commands with commands of their own: where they are, as above, and what the help says of them."""


def program_for(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that the arguments name, or with all where they name none, as for the help."""
    asked = arguments[0] if arguments else ""
    return _program([asked] if asked in _COMMANDS or asked in _GROUPS else [*_COMMANDS, *_GROUPS])


def _program(names: Iterable[str]) -> typer.Typer:
    program = typer.Typer(
        name="perdure", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, callback=_options
    )
    for name in names:
        if name in _COMMANDS:
            register = program.command(name, context_settings=_OWN_SETTINGS.get(name))
            register(command(_imported(_COMMANDS[name])))
        else:
            path, purpose = _GROUPS[name]
            program.add_typer(_imported(path), name=name, help=purpose)
    return program


def _imported(path: str) -> Any:
    module, name = path.split(".")
    return getattr(import_module(f"perdure.cli.{module}"), name)


def _version(wanted: bool) -> None:
    if wanted:
        from perdure import __version__

        print(f"perdure {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Durable workflows: run a worker, start workflows, see what they do, steer them."""


def run() -> None:
    """Run the command of this process's arguments. Always ends in SystemExit."""
    try:
        program_for(sys.argv[1:])(prog_name="perdure")
    except PerdureError as error:
        from perdure.cli import screen

        screen.say(f"perdure: {error}")
        raise SystemExit(exit_code(error)) from error


def exit_code(error: PerdureError) -> int:
    """What a shell is told about an error."""
    match error:
        case UsageError() | InstanceError() | ScheduleError():
            return USAGE
        case StoreError() | PortNotFree() | ServerUnavailable():
            return UNREACHABLE
        case _:
            return FAILED
