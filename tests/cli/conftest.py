"""A folder with a program, a store beside it, and `perdure` as a shell runs it."""

import asyncio
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure import Client
from perdure.cli import documents, program

SHOP = """
import asyncio, pathlib, time
from collections.abc import AsyncIterator
import perdure
from perdure import App, Queue, on_update, set_state, set_status, wait_for_event

app = App("shop", drain_seconds=5.0)
other = App("other")
not_an_app = 7

@app.activity
async def add(x: int, y: int) -> int:
    return x + y

@app.activity
async def gate(name: str) -> str:
    with open("attempts", "a") as file:
        print(name, file=file)
    while not pathlib.Path(name).exists():
        await asyncio.sleep(0.01)
    return name

@app.activity
def sleepy(seconds: float) -> None:
    pathlib.Path("asleep").touch()
    time.sleep(seconds)

@app.workflow
async def total(x: int, y: int = 1) -> int:
    return await add(x, y)

@app.workflow
async def gated(names: list[str]) -> list[str]:
    passed = []
    for name in names:
        passed.append(await gate(name))
        set_status({"done": len(passed), "total": len(names)})
    return passed

@app.workflow
async def approval(who: str) -> str:
    return f"{who}: " + await wait_for_event("approved", str)

@app.workflow
async def basket() -> list[str]:
    items = []

    def known(item: str) -> None:
        if item == "unknown":
            raise LookupError(item)

    @on_update("add", validator=known)
    def add_item(item: str) -> int:
        items.append(item)
        set_state({"items": items})
        return len(items)

    await wait_for_event("close")
    return items

@app.activity
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word

@app.activity
async def letters(text: str) -> AsyncIterator[str]:
    yield text
    await asyncio.Event().wait()

@app.workflow
async def speech(text: str) -> None:
    await words(text)
    await letters(text)

@app.workflow
async def parent(who: str) -> str:
    return await approval.with_options(id=f"child-of-{who}")(who)

@app.workflow
async def careful() -> str:
    try:
        await wait_for_event("never")
    except asyncio.CancelledError:
        await add(1, 1)
        raise

@app.workflow
async def fails(text: str) -> None:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError(text) from error

@app.activity(queue=Queue("post", concurrency=1))
async def post() -> None:
    await asyncio.sleep(60)

@app.workflow
async def posted() -> None:
    await post()

@app.workflow
async def naps(seconds: float) -> None:
    await sleepy(seconds)
"""
PATIENCE_SECONDS = 30.0


class Shell:
    """Runs `perdure` in a folder that holds shop.py, on the store there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop.py").write_text(SHOP)
        self.environment = {
            **os.environ,
            "PERDURE_STORE": "sqlite:///shop.db",
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",
        }
        self.environment.pop("COLUMNS", None)

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The finished command; its exit code is as expected and it shows no traceback."""
        done = subprocess.run(
            _command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin or "",
            text=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def text(self, *arguments: str, code: int = 0) -> str:
        return self.run(*arguments, code=code).stdout

    def error(self, *arguments: str, code: int) -> str:
        """The one sentence of a command that went wrong."""
        done = self.run(*arguments, code=code)
        assert done.stdout == ""
        (sentence,) = done.stderr.splitlines()
        return sentence

    def json(self, *arguments: str, code: int = 0) -> dict:
        (document,) = self.lines(*arguments, code=code)
        return document

    def lines(self, *arguments: str, code: int = 0) -> list[dict]:
        return [json.loads(line) for line in self.text(*arguments, "--json", code=code).splitlines()]

    def begin(self, name: str, *arguments, id: str, app: str = "shop", tags: dict | None = None) -> None:
        """What `start` does, without the cost of a process."""

        async def start() -> None:
            async with Client(self.url, app_id=app) as client:
                await client.workflow(name).with_options(id=id, tags=tags).start(*arguments)

        asyncio.run(start())

    def state(self, id: str) -> dict:
        """What `show --json` tells, without the cost of a process."""
        return self.until(id, lambda state: True)

    def status(self, id: str) -> str:
        return self.state(id)["status"]

    def until(self, id: str, condition) -> dict:
        """The instance as soon as it meets the condition."""

        async def look() -> dict:
            async with asyncio.timeout(PATIENCE_SECONDS), Client(self.url, app_id="shop") as client:
                while not condition(state := documents.instance(await client.get(id).state())):
                    await asyncio.sleep(0.02)
                return state

        return asyncio.run(look())

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/shop.db"

    @contextmanager
    def worker(self, *options: str, until: str = "owner"):
        """A worker process that has reached a state; ended by force if the test has not ended it."""
        with self._running("worker", "shop:app", *options, until=until) as process:
            yield process

    @contextmanager
    def server(self, *options: str, until: str = "owner"):
        """A server process for `shop` on free ports that has reached a state; likewise."""
        free = ("--app-id", "shop", "--grpc-port", "0", "--http-port", "0")
        with self._running("serve", *free, *options, until=until) as process:
            yield process

    @contextmanager
    def ui(self, *options: str):
        """The process of a dashboard on a free port; likewise."""
        with self._running("ui", "--port", "0", *options, until="serving") as process:
            yield process

    @contextmanager
    def _running(self, *arguments: str, until: str):
        process = Worker(self, *arguments)
        try:
            process.wait_for(until)
            yield process
        finally:
            process.end()


class Worker:
    """A running `perdure worker --json`, or `serve`."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.states: list[dict] = []
        self._process = subprocess.Popen(
            _command(*arguments, "--json"),
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self._unread = b""

    def wait_for(self, state: str) -> dict:
        """The line that tells the state."""
        ends = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not any(told["state"] == state for told in self.states):
                assert selector.select(ends - time.monotonic()), (state, self.states)
                read = os.read(self._process.stdout.fileno(), 65_536)
                assert read, (state, self.states, self._process.communicate())
                *lines, self._unread = (self._unread + read).split(b"\n")
                self.states.extend(map(json.loads, lines))
        return next(told for told in self.states if told["state"] == state)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        return self._process.wait(PATIENCE_SECONDS)

    def errors(self) -> list[str]:
        """What an ended process wrote to its standard error, by line."""
        return self._process.communicate()[1].decode().splitlines()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perdure", *arguments]


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture
def inside(shell, monkeypatch, capsys):
    """What a command writes to standard output and error, without the cost of a process."""

    def told(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["perdure", *arguments])
        with pytest.raises(SystemExit) as ended:
            program.run()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == code, (arguments, out, err)
        return out, err

    monkeypatch.setenv("PERDURE_STORE", "sqlite:///shop.db")
    monkeypatch.chdir(shell.folder)
    return told


@pytest.fixture
def refused(shell, monkeypatch, capsys):
    """The one sentence of a command that ends before it begins, without the cost of a process."""

    def told(*arguments: str, code: int) -> str:
        monkeypatch.setattr(sys, "argv", ["perdure", *arguments])
        with pytest.raises(SystemExit) as ended:
            program.run()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (code, "")
        (sentence,) = err.splitlines()
        return sentence

    for name in ("APP_ID", "PERDURE_STORE", "DAPR_API_TOKEN", "PERDURE_API_TOKEN", "PERDURE_ALL_APPS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(shell.folder)
    level = logging.getLogger("perdure").level
    yield told
    logging.getLogger("perdure").setLevel(level)
