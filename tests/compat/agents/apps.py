"""Applications of dapr-agents under `perdure run`: their environment, their processes, and how a test talks to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from perdure.testing.openai import FakeOpenAI
from tests.compat.process import Process
from tests.compat.sdk import ROOT, Sdk, prepare
from tests.compat.server import HOST, free_ports

FOLDER = Path(__file__).parent
TOOLS = ROOT / "tests" / "remote" / "inner" / "weather_program.py"
PACKAGE = Sdk(
    name="dapr-agents",
    title="dapr-agents 1.0.9",
    language="Python",
    flavour="dapr",
    worker="",
    client="",
    pins=("requirements.txt",),
    sources=(FOLDER,),
    setup=(
        "{python} -m venv --without-pip .venv",
        "{python} -m pip --python .venv/bin/python install --quiet --disable-pip-version-check "
        "--requirement requirements.txt",
    ),
)
READY_SECONDS = 300.0
"""Until a program serves: the package takes 12 s of one core to import, and several begin at once."""
ANSWER_SECONDS = 120.0
STORE = "sqlite:///store.db"
POLL_SECONDS = 0.1


class Run:
    """One `perdure run` with the programs of some roles, which can be killed with them and begun again."""

    def __init__(self, folder: Path, roles: tuple[str, ...], model: FakeOpenAI) -> None:
        self._home = prepare(PACKAGE)
        self._folder = folder
        self._model = model
        self._roles = roles
        self._starts = 0
        self.ledger = folder / "ledger"
        self.ledger.mkdir(parents=True)
        self._ports = {role: (*free_ports(), free_ports()[0]) for role in roles}
        self._resources()
        self._process = self._launch()

    def ready(self) -> None:
        """Wait until every program serves."""
        for role in self._roles:
            self._process.wait(lambda role=role: self._serves(role), READY_SECONDS, f"serving {role}")  # type: ignore[misc]

    def kill_and_begin(self) -> None:
        """kill -9 of the server and of its programs, at one moment, and the same command again."""
        kill_session(self._process.pid)
        self._process.kill()
        self._process = self._launch()

    def stop(self) -> None:
        self._process.stop()

    def tail(self) -> str:
        return self._process.tail()

    # -- asking -----------------------------------------------------------------------------------------------------

    def start(self, role: str, task: str) -> str:
        """Begin a run of an agent; its id."""
        id: str = self.ask(role, "POST", "/agent/run", {"task": task})["instance_id"]
        return id

    def status(self, role: str, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(role, "GET", f"/agent/instances/{id}")
        return found

    def answer(self, role: str, id: str) -> str:
        """What the agent says at the end of a run, which has to complete."""
        found = self.until(lambda: self._ended(self.status(role, id)), f"end of {id}")
        assert found["runtime_status"] == "COMPLETED", found
        said: str = json.loads(found["serialized_output"])["content"]
        return said

    def ask(self, role: str, method: str, path: str, body: Any = None) -> Any:
        """Of the program of a role."""
        return asked(f"http://{HOST}:{self._ports[role][2]}{path}", method, body)

    def server(self, role: str, method: str, path: str, body: Any = None) -> Any:
        """Of the server, on the HTTP port of a role."""
        return asked(f"http://{HOST}:{self._ports[role][1]}{path}", method, body)

    def ran(self, name: str) -> int:
        """How often something ran, by the ledger."""
        file = self.ledger / name
        return len(file.read_text().splitlines()) if file.exists() else 0

    def set(self, component: str, **items: str) -> None:
        """Change settings from outside, while everything runs."""
        pairs = [f"{key}={value}" for key, value in items.items()]
        words = ["configuration", "set", component, *pairs, "--store", STORE]
        subprocess.run([sys.executable, "-m", "perdure", *words], cwd=self._folder, check=True, timeout=ANSWER_SECONDS)

    def has_said(self, text: str) -> bool:
        """Whether a line of the server's log has it."""
        return text in self._process.log.with_suffix(".err").read_text(encoding="utf-8", errors="replace")

    def until(self, condition: Any, what: str, seconds: float = ANSWER_SECONDS) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s\n{self.tail()}"
            time.sleep(POLL_SECONDS)
        return found

    # -- inside -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _ended(status: dict[str, Any]) -> dict[str, Any] | None:
        return None if status["runtime_status"] in ("RUNNING", "PENDING") else status

    def _serves(self, role: str) -> bool:
        try:
            self.ask(role, "GET", "/settings")
        except (URLError, OSError):
            return False
        return True

    def _launch(self) -> Process:
        self._starts += 1
        environment = {
            "OPENAI_BASE_URL": self._model.url,
            "OPENAI_API_KEY": "none",
            "LEDGER": str(self.ledger),
            "AGENT_GREETING": "hello",
            "DAPR_AGENTS_LOG_LEVEL": "WARNING",
        }
        if len(self._roles) == 1:
            (role,) = self._roles
            grpc, http, port = self._ports[role]
            words = ["--app-id", role, "--resources-path", "resources", "--app-port", str(port), "--log-level", "warn"]
            words += ["--dapr-grpc-port", str(grpc), "--dapr-http-port", str(http), "--", *self._command(role)]
        else:
            (self._folder / "dapr.yaml").write_text(self._run_file())
            words = ["--verbose", "-f", "."]
        command = [sys.executable, "-m", "perdure", "run", "--store", STORE, *words]
        environment["PYTHONPATH"] = str(ROOT / "src")
        return Process(command, self._folder / f"run-{self._starts}.log", cwd=self._folder, env=environment)

    def _command(self, role: str) -> list[str]:
        # without the path of this project, whose libraries are others
        return ["env", "-u", "PYTHONPATH", str(self._home / ".venv/bin/python"), str(self._home / "program.py"), role]

    def _run_file(self) -> str:
        apps = [
            {
                "appID": role,
                "appDirPath": ".",
                "appPort": port,
                "daprGRPCPort": grpc,
                "daprHTTPPort": http,
                "command": self._command(role),
            }
            for role, (grpc, http, port) in self._ports.items()
        ]
        return json.dumps({"version": 1, "common": {"resourcesPath": "resources"}, "apps": apps}, indent=1)

    def _resources(self) -> None:
        folder = self._folder / "resources"
        folder.mkdir()
        for file in (FOLDER / "resources").glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            for word, meant in (("python", sys.executable), ("tools", TOOLS), ("ledger", self.ledger / "tools")):
                text = text.replace(f"{{{word}}}", str(meant))
            (folder / file.name).write_text(text, encoding="utf-8")


def kill_session(pid: int) -> None:
    """kill -9 of all processes of a session: `perdure run` gives each program a group of its own."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            session = int(stat.read_text().rpartition(")")[2].split()[3])
            if session == pid:
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue  # because it has ended meanwhile


def asked(url: str, method: str, body: Any = None) -> Any:
    """The answer to a request, as JSON. Raises HTTPError with the answer in its notes."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=ANSWER_SECONDS) as response:
            text = response.read()
    except HTTPError as error:
        error.add_note(error.read().decode("utf-8", "replace"))
        raise
    return json.loads(text) if text else None
