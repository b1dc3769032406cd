"""A column of the matrix while it runs: the server and the worker of one SDK, and the client of each scenario."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.compat.process import POLL_SECONDS, Process
from tests.compat.scenarios import Scenario
from tests.compat.sdk import CACHE, Sdk, prepare, words
from tests.compat.server import Server

READY_SECONDS = 60.0
"""Until a worker says READY: a JVM on a busy machine takes its time."""
CLIENT_SECONDS = 120.0


class Broken(AssertionError):
    """The server or the worker did not come up: no fault of the scenario."""


class Column:
    """A server and one worker of an SDK. Whoever made it closes it."""

    def __init__(self, sdk: Sdk, *, server: Server | None = None, ledger: Path | None = None) -> None:
        self.sdk = sdk
        self._home = prepare(sdk)
        self._logs = CACHE / "logs" / sdk.name
        self._logs.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f"compat-{sdk.name}-"))
        self._ledger = ledger or self._folder / "ledger"
        self._ledger.mkdir(exist_ok=True)
        self._owns_server = server is None
        self._server = server or Server(self._folder, self._logs)
        self._workers = 0
        self._worker = self._launch_worker()

    def run(self, scenario: Scenario) -> dict[str, Any]:
        """Run the client of a scenario; kill and restart what it asks for. Returns its answer.

        Raises AssertionError, with the output of all three programs, for an outcome that is not right.
        """
        prefix = f"{scenario.name}-{uuid.uuid4().hex[:8]}"
        command = [*words(self.sdk.client), scenario.told or scenario.name, prefix]
        client = Process(command, self._logs / f"{scenario.name}.log", cwd=self._home, env=self._environment())
        try:
            answer = answer_of(client, scenario, self._strike)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n--- worker\n{self._worker.tail()}\n--- server\n{self._server.tail()}"
            ) from None
        finally:
            client.kill()
        return answer

    def close(self) -> None:
        """End the worker, then the server, and remove their files."""
        self._worker.stop()
        if self._owns_server:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _strike(self, scenario: Scenario) -> None:
        if scenario.kills == "server":
            self._server.restart(in_peace=scenario.in_peace)
        if scenario.kills == "worker" or (self.sdk.gives_up and not scenario.in_peace):
            self._worker.kill()
            self._worker = self._launch_worker()

    def _launch_worker(self) -> Process:
        self._workers += 1
        log = self._logs / f"worker-{self._workers}.log"
        worker = Process(words(self.sdk.worker), log, cwd=self._home, env=self._environment())
        try:
            worker.wait(lambda: "READY" in worker.lines(), READY_SECONDS, "READY from the worker")
        except AssertionError as error:
            worker.kill()
            raise Broken(str(error)) from None
        return worker

    def _environment(self) -> dict[str, str]:
        return {**self._server.environment, "COMPAT_LEDGER": str(self._ledger), "PYTHONDONTWRITEBYTECODE": "1"}


def answer_of(client: Process, scenario: Scenario, strike: Callable[[Scenario], None]) -> dict[str, Any]:
    """What a client that has been started answers; `strike` is called once where it says that the program is there."""
    deadline, struck = time.monotonic() + CLIENT_SECONDS, False
    while client.code() is None:
        assert time.monotonic() < deadline, f"the client has not ended within {CLIENT_SECONDS:.0f} s\n{client.tail()}"
        if scenario.kills and not struck and any(line.startswith("AT ") for line in client.lines()):
            strike(scenario)
            struck = True
        time.sleep(POLL_SECONDS)
    lines = client.lines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise AssertionError(f"the client ended with {client.code()} and no answer\n{client.tail()}") from None
    if "unsupported" not in answer:
        is_right = answer.get("ok") is True and client.code() == 0
        assert is_right, f"{answer.get('error', answer)}\n{client.tail()}"
        assert struck or not scenario.kills, "the client never came to the point where something is killed"
    return answer
