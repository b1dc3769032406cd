"""The program `perdure`: its commands by name, and what an error becomes in a shell."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from perdure.cli import (
    audit,
    configuration,
    debug,
    failures,
    feed,
    lint,
    listing,
    looking,
    mcp,
    move,
    nodes,
    queues,
    replay,
    schedule,
    screen,
    serve,
    starting,
    steering,
    store,
    streaming,
    talking,
    topics,
    ui,
    worker,
)
from perdure.cli.commands import command
from perdure.cli.run import run as run_
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

program = typer.Typer(
    name="perdure",
    help="Durable workflows: run a worker, start workflows, see what they do, steer them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, int]]] = {
    "worker": worker.worker,
    "serve": serve.serve,
    "ui": ui.ui,
    "mcp": mcp.mcp,
    "start": starting.start,
    "list": looking.list_,
    "show": looking.show,
    "history": looking.history,
    "explain": looking.explain,
    "queues": queues.queues,
    "publish": topics.publish,
    "topics": topics.topics,
    "nodes": nodes.nodes,
    "targets": listing.targets,
    "failures": failures.failures,
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
    "move": move.move,
}
for _name, _function in _COMMANDS.items():
    program.command(_name)(command(_function))
# because what stands after the program's name is the program's own
program.command("run", context_settings={"allow_interspersed_args": False})(command(run_))
program.add_typer(schedule.schedules, name="schedule", help="Schedules: start workflows by the clock.")
program.add_typer(
    store.stores, name="store", help="Stores: check a database, bring its layout up, count what it holds."
)


program.add_typer(
    configuration.configurations, name="configuration", help="Settings that programs read and watch while they run."
)
program.add_typer(feed.feeds, name="feed", help="The lifecycle feed: what happens to instances, and who was told.")
program.add_typer(audit.audits, name="audit", help="The audit log: who did what, and whether it is as it was written.")


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
        case StoreError() | PortNotFree() | ServerUnavailable():
            return UNREACHABLE
        case _:
            return FAILED
