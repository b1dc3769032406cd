"""Programs that this process starts: each in a process group of its own, and none left over when it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from perdure.cli.logs import Logs
from perdure.errors import InvalidArgument

GROUP_LOOK_SECONDS = 0.02
"""How often it is looked whether a group that was told to end has done so."""
LOGS_SECONDS_MAX = 2.0
"""How long the last lines of a program that has ended are waited for."""


NO_SIGNAL = 0
"""Sent to a group, it tells whether anybody is in it."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started: `command` with its arguments, in `folder`. `name` stands before each line it prints.

    Only a program that `reads` gets what this process has as standard input, unless that is a terminal.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    reads: bool = False


class Supervisor:
    """Runs programs until one of them fails, all have ended, or `stop` is called.

    A program that is stopped gets SIGTERM, and SIGKILL after `seconds`: all of its process group, so also what it has
    started itself and left behind.
    """

    def __init__(self, programs: Sequence[Program], logs: Logs, seconds: float) -> None:
        self._programs = programs
        self._logs = logs
        self._seconds = seconds
        self._running: list[Running] = []
        self._over = asyncio.Event()
        self._codes: list[int] = []

    async def run(self) -> int:
        """The first exit code other than 0, else 0; by then none of the programs is running.

        Raises InvalidArgument if one cannot be started.
        """
        try:
            for program in self._programs:
                self._running.append(await start(program, self._logs))
            async with asyncio.TaskGroup() as group:
                for running in self._running:
                    group.create_task(self._watch(running))
                await self._over.wait()
                for running in self._running:
                    group.create_task(running.end(self._seconds))
        except BaseException:
            await self._end_all()
            raise
        return next(filter(None, self._codes), 0)

    def stop(self) -> None:
        """Tell all programs to end."""
        self._over.set()

    def kill(self) -> None:
        """End all programs at once. Callable from a signal handler."""
        for running in self._running:
            running.kill()

    async def _watch(self, running: Running) -> None:
        code = await running.ended()
        self._codes.append(code)
        if code != 0 or len(self._codes) == len(self._running):
            self._over.set()
        await running.end(self._seconds)  # what it has left behind

    async def _end_all(self) -> None:
        for running in self._running:
            await running.end(self._seconds)


class Running:
    """One program that was started."""

    def __init__(self, process: asyncio.subprocess.Process, readers: Sequence[threading.Thread]) -> None:
        self._process = process
        self._readers = readers
        self._is_gone = False

    async def ended(self) -> int:
        """Its exit code, 128 + N if signal N has ended it, as a shell says it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def end(self, seconds: float) -> None:
        """Let it end, and all of its group; kill what has not within `seconds`."""
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                await self._gone()
        except TimeoutError:
            self.kill()
        await self._process.wait()
        await self._last_lines()

    def kill(self) -> None:
        """End it at once, and all of its group."""
        self._send(signal.SIGKILL)

    async def _gone(self) -> None:
        await self._process.wait()
        while self._send(NO_SIGNAL):
            self._bury()
            await asyncio.sleep(GROUP_LOOK_SECONDS)

    def _bury(self) -> None:
        # because in a container this process may be the one that inherits orphans, which else stay as zombies
        try:
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    def _send(self, number: int) -> bool:
        """Whether there was anybody left to hear it. A group that is gone is never sent anything again: its number may
        be somebody else's by then."""
        if self._is_gone:
            return False
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            self._is_gone = True
        except PermissionError:
            return True  # because one of them has become another user
        return not self._is_gone

    async def _last_lines(self) -> None:
        for reader in self._readers:
            await asyncio.to_thread(reader.join, LOGS_SECONDS_MAX)


async def start(program: Program, logs: Logs) -> Running:
    """Start it. Raises InvalidArgument if it cannot be."""
    out, err = _Pipe(), _Pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            cwd=program.folder,
            env=program.environment,
            stdin=None if program.reads and not _is_no_input(sys.stdin) else subprocess.DEVNULL,
            stdout=out.writes,
            stderr=err.writes,
            process_group=0,  # because Ctrl-C is for this process, which tells the program in good order
        )
    except (OSError, ValueError) as error:
        os.close(out.reads)
        os.close(err.reads)
        raise InvalidArgument(f"{program.name}: {program.command[0]!r} cannot be started: {_why(error)}") from error
    finally:
        os.close(out.writes)
        os.close(err.writes)
    readers = [
        logs.pass_on(program.name, out.reads, is_error=False),
        logs.pass_on(program.name, err.reads, is_error=True),
    ]
    return Running(process, readers)


def check_startable(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Raises InvalidArgument if there is no such program or folder, before anything else is begun."""
    if not folder.is_dir():
        raise InvalidArgument(f"{name}: there is no folder {folder}")
    program = command[0]
    found = str(folder / program) if os.path.dirname(program) else program
    if shutil.which(found, path=environment.get("PATH", os.defpath)) is None:
        raise InvalidArgument(f"{name}: there is no program {program!r} that can be started; check the name and PATH")


class _Pipe:
    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()


def _is_no_input(stream: TextIO | None) -> bool:
    return stream is None or stream.isatty()  # because a process without standard input has none to hand on


def _why(error: OSError | ValueError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
