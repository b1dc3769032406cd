"""The command `run`: a server and the programs that use it, which begin and end together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from perdure.blocks.resources import Resources
from perdure.cli.apps import AppEntry, environment
from perdure.cli.components import resources_in
from perdure.cli.idle import Idle
from perdure.cli.logs import Logs, log_to
from perdure.cli.serve import ApiTokenFileOption, AppIdOption, DrainOption, ResourcesOption, VerboseOption
from perdure.cli.serving import Make, Serving, real_server
from perdure.cli.states import States
from perdure.cli.stopping import SIGNALS, Stopping
from perdure.cli.supervision import Program, Supervisor, check_startable
from perdure.cli.target import StoreOption
from perdure.errors import InvalidArgument
from perdure.remote.settings import (
    ALL_APPS_TOKEN_VARIABLES,
    DRAIN_SECONDS,
    HTTP,
    LOOPBACK,
    TOKEN_VARIABLES,
    Listener,
    ServerSettings,
    find_token,
)

OWN_RESOURCES = Path(".dapr", "resources")
"""Where an app of a run file keeps its resource files, inside its own folder."""
SERVER_NAME = "perdure"
"""Under which the server's own lines are printed."""


async def run(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND...", help="The program and its arguments, after --.")
    ] = None,
    app_id: AppIdOption = None,
    run_file: Annotated[
        Path | None, typer.Option("--run-file", "-f", metavar="FILE", help="A dapr.yaml, or its folder: several apps.")
    ] = None,
    store: StoreOption = None,
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", "--dapr-grpc-port", "-G", metavar="PORT", help="0 takes a free one.")
    ] = 0,
    http_port: Annotated[
        int, typer.Option("--http-port", "--dapr-http-port", "-H", metavar="PORT", help="0 takes a free one.")
    ] = 0,
    app_port: Annotated[
        int, typer.Option("--app-port", "-p", min=0, metavar="PORT", help="Where the program listens, if it does.")
    ] = 0,
    app_protocol: Annotated[str, typer.Option("--app-protocol", "-P", help="What it speaks there.")] = HTTP,
    app_channel_address: Annotated[
        str, typer.Option("--app-channel-address", metavar="HOST", help="Where it listens; else this machine.")
    ] = LOOPBACK,
    resources_path: ResourcesOption = None,
    api_token_file: ApiTokenFileOption = None,
    drain_seconds: DrainOption = DRAIN_SECONDS,
    verbose: VerboseOption = False,
    *,
    idle: Idle,
) -> int:
    """Run a server with a program beside it, and end with the program's exit code; -f runs the apps of a dapr.yaml."""
    if run_file is not None:
        if command or app_id != os.environ.get("APP_ID"):
            raise InvalidArgument("a run file names its apps and commands itself; give either -f FILE or --app-id NAME")
        entries, warnings = read_run_file(run_file, tuple(resources_path or ()))
    elif not app_id:
        raise InvalidArgument("no app is named; give --app-id NAME -- COMMAND, or -f dapr.yaml")
    else:
        warnings = ()
        entry = AppEntry(
            app_id=app_id,
            folder=Path.cwd(),
            command=tuple(command or ()),
            app_port=app_port,
            app_protocol=app_protocol,
            app_address=app_channel_address,
            grpc_port=grpc_port,
            http_port=http_port,
            resource_folders=tuple(resources_path or ()),
        )
        entries = (entry,)
    listeners = tuple(with_resources(entries))
    told = dict.fromkeys(warning for listener in listeners for warning in listener.resources.warnings)
    settings = ServerSettings(
        listeners=listeners,
        store=store or f"sqlite:///{app_id if run_file is None else SERVER_NAME}.db",
        api_token=find_token(api_token_file, os.environ, TOKEN_VARIABLES),
        all_apps_token=find_token(None, os.environ, ALL_APPS_TOKEN_VARIABLES),
        drain_seconds=drain_seconds,
    )
    logs = Logs([SERVER_NAME, *settings.app_ids])
    log_to(None, verbose=verbose, handler=logs.handler(SERVER_NAME))
    for warning in (*warnings, *idle.warnings(), *told):
        logs.error_line(SERVER_NAME, warning)
    return await Together(entries, settings, logs, real_server).run()


class Together:
    """A server and its programs. The programs begin when the server is ready, and it drains when they have ended."""

    def __init__(self, entries: Sequence[AppEntry], settings: ServerSettings, logs: Logs, make: Make) -> None:
        self._entries = entries
        self._settings = settings
        self._logs = logs
        self._stopping = Stopping(_signals())
        states = States(",".join(settings.app_ids), write=lambda line: logs.error_line(SERVER_NAME, line))
        self._serving = Serving(settings, states, self._stopping.asked, make)
        self._supervisor: Supervisor | None = None

    async def run(self) -> int:
        """The exit code of the program; with several, the first one that is not 0.

        Raises PerdureError if the server or a program cannot begin, and if the server failed.
        """
        for entry in self._entries:
            if entry.command:
                check_startable(entry.app_id, entry.command, entry.folder, {**os.environ, **entry.environment})
        self._stopping.at_once = self._kill
        self._stopping.watch()
        if not await self._serving.open():
            return 0
        try:
            code = await self._programs() if await self._serving.until_ready() else 0
        finally:
            has_closed = await self._serving.close()
        return self._serving.end(code, has_closed=has_closed)

    async def _programs(self) -> int:
        supervisor = self._supervisor = Supervisor(list(self._prepared()), self._logs, self._settings.drain_seconds)
        watching = asyncio.ensure_future(self._stop_with_the_server(supervisor))
        try:
            code = await supervisor.run()
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        if not watching.cancelled():
            watching.result()  # raises what looking at the server has failed with
        return code

    async def _stop_with_the_server(self, supervisor: Supervisor) -> None:
        try:
            await self._serving.until_stopped()
        finally:
            supervisor.stop()  # also when looking failed, because nobody would see the next signal then

    def _prepared(self) -> Iterator[Program]:
        for entry, listener in zip(self._entries, self._serving.listeners, strict=True):
            if entry.command:
                yield Program(
                    name=entry.app_id,
                    command=entry.command,
                    environment=environment(entry, listener, self._settings.api_token, os.environ),
                    folder=entry.folder,
                    reads=len(self._entries) == 1,
                )

    def _kill(self) -> None:
        if self._supervisor is not None:
            self._supervisor.kill()


def _signals() -> tuple[signal.Signals, ...]:
    # because what a closed terminal has shown is over, unless nohup says that it is not
    return SIGNALS if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (*SIGNALS, signal.SIGHUP)


def with_resources(entries: Sequence[AppEntry]) -> Iterator[Listener]:
    """The listener of each app, with what its files say. Files that several apps have are read once.

    Raises InvalidArgument and UnknownConfiguration.
    """
    read: dict[tuple[Path, ...], Resources] = {}
    for entry in entries:
        folders = entry.resource_folders
        if folders not in read:
            read[folders] = resources_in(folders)
        yield msgspec.structs.replace(entry.listener, resources=read[folders])


def read_run_file(given: Path, folders: tuple[Path, ...] = ()) -> tuple[tuple[AppEntry, ...], tuple[str, ...]]:
    """The apps of a run file, or of the one in a folder, and its warnings. Raises InvalidArgument.

    An app without resource folders has those of the command, else its own `.dapr/resources` if there is one.
    """
    try:
        from perdure.cli.run_file import RUN_FILE_NAME, parse  # because only a run file needs YAML
    except ImportError as error:
        raise InvalidArgument('a run file needs PyYAML: pip install "perdure[cli,server]"') from error
    path = given / RUN_FILE_NAME if given.is_dir() else given
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the run file {path} cannot be read: {error}") from error
    found = parse(text, path)
    return tuple(_with_folders(app, folders) for app in found.apps), found.warnings


def _with_folders(app: AppEntry, folders: tuple[Path, ...]) -> AppEntry:
    own = app.folder / OWN_RESOURCES
    found = app.resource_folders or folders or ((own,) if own.is_dir() else ())
    return msgspec.structs.replace(app, resource_folders=found)
