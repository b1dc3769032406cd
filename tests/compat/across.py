"""Three apps of three languages under one `perdure run`: a Python parent, a Go activity, a JavaScript child."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.compat.process import Process
from tests.compat.sdk import ROOT, Sdk, prepare, words
from tests.compat.server import HOST, free_ports

APPS = {"py": "dapr-python-1.19", "go": "dapr-go", "js": "dapr-javascript"}
"""The app ids and the programs whose ordinary workers serve them; the first one's client drives."""
READY_SECONDS = 120.0


class Across:
    """A server with the three workers beside it. Whoever made it closes it."""

    def __init__(self, sdks: dict[str, Sdk], folder: Path) -> None:
        self.ledger = folder
        self._homes = {app: prepare(sdk) for app, sdk in sdks.items()}
        self._ports = {app: free_ports() for app in sdks}
        file = folder / "dapr.yaml"
        file.write_text("version: 1\napps:\n" + "".join(self._app(app, sdk) for app, sdk in sdks.items()))
        command = [sys.executable, "-m", "perdure", "run", "-f", str(file), "--store", f"sqlite:///{folder}/across.db"]
        self._process = Process(command, folder / "run.log", cwd=folder, env={"PYTHONPATH": str(ROOT / "src")})
        try:
            self._process.wait(self._all_ready, READY_SECONDS, "READY from all workers")
        except BaseException:
            self._process.kill()
            raise

    def client(self, sdk: Sdk, app: str, scenario: str, prefix: str) -> Process:
        """The client of an app, started."""
        command = [*words(sdk.client), scenario, prefix]
        return Process(command, self.ledger / "client.log", cwd=self._homes[app], env=self._environment(app))

    def tail(self) -> str:
        """The end of what the server and the workers printed."""
        return self._process.tail()

    def close(self) -> None:
        self._process.stop()

    def _all_ready(self) -> bool:
        return sum(line.endswith("READY") for line in self._process.lines()) == len(self._homes)

    def _app(self, app: str, sdk: Sdk) -> str:
        grpc, http = self._ports[app]
        lines = [f"  - appID: {app}", f"    appDirPath: {self._homes[app]}", f"    daprGRPCPort: {grpc}"]
        lines += [f"    daprHTTPPort: {http}", "    command:"]
        lines += [f"      - {shlex.quote(word)}" for word in words(sdk.worker)]
        lines += ["    env:", *(f"      {name}: '{value}'" for name, value in self._environment(app).items())]
        return "\n".join(lines) + "\n"

    def _environment(self, app: str) -> dict[str, str]:
        grpc, http = self._ports[app]
        return {
            "COMPAT_HOST": HOST,
            "COMPAT_PORT": str(grpc),
            "COMPAT_LEDGER": str(self.ledger),
            "DAPR_RUNTIME_HOST": HOST,
            "DAPR_GRPC_PORT": str(grpc),
            "DAPR_HTTP_PORT": str(http),
        }
