"""A folder with a program and a store, in which a test makes an instance stuck, asks why, and does what it is told.

Nothing is imitated: the app runs in a thread with an event loop of its own or in a process, the explanation is what
`perdure explain` prints, and the command that it prints is run verbatim by a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from perdure import App, Client, Explanation
from perdure.cli import program
from perdure.errors import InstanceNotFound
from perdure.sdk.snapshot import State
from perdure.stores.contract import FINISHED

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.01
HEADER = """
import asyncio, os, pathlib, time
from datetime import timedelta
import perdure
from perdure import App, Queue, Retry, activity_context, continue_as_new, wait_for_event

app = App("shop", drain_seconds=0.5)

"""
APPROVAL = """
@app.workflow
async def approval():
    return await wait_for_event("approved")
"""
_numbers = itertools.count()
T = TypeVar("T")


class Place:
    """The folder. `shop.py` in it is the program, `shop.db` the store unless `store` names another."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder}/shop.db"
        self.address = self.store
        """Whom clients and commands ask: the store, or a server."""
        self.app = "shop"
        self.target: tuple[str, ...] = ()
        (folder / "bin").mkdir()
        shim = folder / "bin" / "perdure"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m perdure "$@"\n')
        shim.chmod(0o755)
        self.environment = {
            **os.environ,
            "PERDURE_STORE": self.store,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",
        }

    # -- the program ----------------------------------------------------------------------------------------------

    def program(self, code: str, header: str = HEADER) -> Path:
        """Write the program; the Python's cache of what it was before goes."""
        path = self.folder / "shop.py"
        path.write_text(header + code)
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        return path

    @contextmanager
    def running(self, *codes: str, name: str = "app", server: str | None = None) -> Iterator[App]:
        """The app of the program, run in a thread of this process."""
        if codes:
            self.program("".join(codes))
        app: App = getattr(_loaded(self.folder / "shop.py"), name)
        opened, stop = threading.Event(), threading.Event()
        errors: list[BaseException] = []

        async def serve() -> None:
            await app.open(store=None if server else self.store, server=server)
            opened.set()
            try:
                while not stop.is_set():
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                await app.close()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001 because the test has to hear of it
                errors.append(error)
                opened.set()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert opened.wait(PATIENCE_SECONDS)
            assert not errors, errors
            yield app
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    @contextmanager
    def process(self, *arguments: str, until: str = "owner") -> Iterator[Process]:
        """A process of `perdure`, such as a worker, that has reached a state; ended by force if it has not ended."""
        process = Process(self, f"exec perdure {' '.join(arguments)} --json")
        try:
            process.wait_for(until)
            yield process
        finally:
            process.end()

    @contextmanager
    def serving(self) -> Iterator[Process]:
        """A server of the app, which clients and commands ask from now on."""
        arguments = ("serve", "--app-id", "shop", "--grpc-port", "0", "--http-port", "0")
        with self.process(*arguments) as process:
            port = process.wait_for("owner")["grpc_port"]
            self.address, self.target = f"grpc://127.0.0.1:{port}", ("--server", f"127.0.0.1:{port}")
            try:
                yield process
            finally:
                self.address, self.target = self.store, ()

    def crash(self, *arguments: str) -> None:
        """A process of `perdure` that is killed by what it runs, perhaps before it has told a state."""
        process = Process(self, f"exec perdure {' '.join(arguments)} --json")
        try:
            assert process.wait() == -signal.SIGKILL
        finally:
            process.end()

    # -- instances ------------------------------------------------------------------------------------------------

    def ask(self, work: Callable[[Client], Awaitable[T]], app: str | None = None) -> T:
        """Let a client of the store do something."""

        async def asked() -> T:
            async with asyncio.timeout(PATIENCE_SECONDS), Client(self.address, app_id=app or self.app) as client:
                return await work(client)

        return asyncio.run(asked())

    def begin(self, name: str, *arguments: Any, id: str, app: str | None = None, **options: Any) -> None:
        async def start(client: Client) -> None:
            await client.workflow(name).with_options(id=id, **options).start(*arguments)

        self.ask(start, app)

    def state(self, id: str, app: str | None = None) -> State:
        return self.ask(lambda client: client.get(id).state(), app)

    def told(self, id: str, cause: str) -> Explanation:
        """The explanation of an instance, once it tells this cause."""

        async def look(client: Client) -> Explanation:
            ends = time.monotonic() + PATIENCE_SECONDS - 1
            while (told := await _explained(client, id)) is None or told.cause != cause:
                assert time.monotonic() < ends, told and f"{told.cause}: {told}"
                await asyncio.sleep(LOOK_SECONDS)
            return told

        return self.ask(look)

    def here(self, app: App, id: str, cause: str) -> Explanation:
        """The same, from the app that runs in this process, which knows more than its store."""

        async def look() -> Explanation:
            ends = time.monotonic() + PATIENCE_SECONDS - 1
            while (told := await app.client.get(id).explain()).cause != cause:
                assert time.monotonic() < ends, f"{told.cause}: {told}"
                await asyncio.sleep(LOOK_SECONDS)
            return told

        return self.inside(app, look())

    def inside(self, app: App, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives that runs on the app's own event loop."""
        assert app._life is not None
        return asyncio.run_coroutine_threadsafe(work, app._life.loop).result(PATIENCE_SECONDS)

    def either(self, ids: Sequence[str], cause: str) -> str:
        """The first of the instances for which this cause is told."""

        async def look(client: Client) -> str:
            ends = time.monotonic() + PATIENCE_SECONDS - 1
            while True:
                told = [await client.get(id).explain() for id in ids]
                for each in told:
                    if each.cause == cause:
                        return each.instance
                assert time.monotonic() < ends, told
                await asyncio.sleep(LOOK_SECONDS)

        return self.ask(look)

    def sql(self, *statements: str) -> None:
        """Change the store's file by hand, which nobody should."""
        with contextlib.closing(sqlite3.connect(self.folder / "shop.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def change(self, table: str, column: str, changed: Callable[[str], str]) -> None:
        """Change a text in all rows of a table by hand."""
        with contextlib.closing(sqlite3.connect(self.folder / "shop.db")) as connection, connection:
            for (text,) in connection.execute(f"select distinct {column} from {table}").fetchall():
                connection.execute(f"update {table} set {column} = ? where {column} = ?", (changed(text), text))

    def ends(self, id: str, app: str | None = None) -> State:
        """The instance once it is finished."""

        async def look(client: Client) -> State:
            ends = time.monotonic() + PATIENCE_SECONDS - 1
            while (state := await client.get(id).state()).status not in FINISHED:
                assert time.monotonic() < ends, str(await client.get(id).explain())
                await asyncio.sleep(LOOK_SECONDS)
            return state

        return self.ask(look, app)

    # -- what an operator does ------------------------------------------------------------------------------------

    def printed(self, *arguments: str, code: int = 0) -> list[str]:
        """The lines that a command of `perdure` prints, without the cost of a process."""
        out, argv, before = io.StringIO(), sys.argv, {**os.environ}
        sys.argv = ["perdure", *arguments, *self.target]
        os.environ["PERDURE_STORE"] = self.store
        try:
            with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
                program.run()
            assert (ended.value.code or 0) == code, (arguments, ended.value.code, out.getvalue())
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(before)
        return out.getvalue().splitlines()

    def command(self, id: str, *options: str) -> str:
        """The command that `perdure explain` prints."""
        return self.printed("explain", *options, id)[-1].strip()

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command, verbatim, in a shell in the folder."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def moves(
        self,
        id: str,
        cause: str,
        sentence: str,
        *,
        status: str = "completed",
        mended: Callable[[], object] = lambda: None,
        verb: str | None = None,
    ) -> Explanation:
        """The instance is stuck for this cause, which is told so; the command that is told, run verbatim, ends it.

        `sentence` is a pattern. `mended` is what has to be done first that is no command of Perdure.
        """
        told = self.told(id, cause)
        assert re.search(sentence, told.sentence), told.sentence
        assert told.next
        assert told.command is not None
        command = self.command(id)
        assert command.startswith("perdure ")
        assert verb is None or command.split()[1] == verb, command
        mended()
        self.does(command, id, status)
        return told

    def does(self, command: str, id: str, status: str = "completed", app: str | None = None) -> None:
        """Run a command verbatim in a shell, and see the instance finish."""
        if command.split()[1] == "worker":
            process = Process(self, f"exec {command} --json")
            try:
                process.wait_for("owner")
                assert self.ends(id, app).status == status
            finally:
                process.end()
        else:
            self.shell(command)
            assert self.ends(id, app).status == status


class Process:
    """A running command of a shell, which tells its states as JSON lines."""

    def __init__(self, place: Place, command: str) -> None:
        self.states: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def wait_for(self, state: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        while not any(told["state"] == state for told in self.states):
            line = self._process.stdout.readline()
            assert line, (state, self.states, self._process.communicate())
            self.states.append(json.loads(line))
        return next(told for told in self.states if told["state"] == state)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


async def _explained(client: Client, id: str) -> Explanation | None:
    try:
        return await client.get(id).explain()
    except InstanceNotFound:
        return None  # because a child may be about to be created


def _loaded(path: Path) -> Any:
    """The program as a module of its own, however often it was loaded in another form."""
    name = f"shop_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
