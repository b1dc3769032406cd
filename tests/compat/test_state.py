"""Dapr's published Python client uses the state of a server, with and without component files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from servers.valkey import Valkey
from tests.compat.sdk import FOLDER, ROOT, load, prepare

pytestmark = pytest.mark.compat

PROGRAM = Path(__file__).with_name("state_program.py")
SECONDS = 60
STEPS = 6
COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: statestore
spec:
  type: {type}
  version: v1
  metadata:
  - name: {name}
    value: {value}
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that has the client."""
    return prepare(load(FOLDER / "dapr-python-1.19")) / ".venv" / "bin" / "python"


def played(python: Path, folder: Path, *options: str) -> None:
    """`perdure run` with the program, which asserts what it finds."""
    shutil.copy(PROGRAM, folder / "program.py")
    command = [sys.executable, "-m", "perdure", "run", "--app-id", "shop", *options, "--", str(python), "program.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": well") == STEPS


def test_on_the_store_of_the_server(python: Path, tmp_path: Path) -> None:
    played(python, tmp_path)


def test_on_a_component_in_a_file(python: Path, tmp_path: Path) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "state.yaml").write_text(
        COMPONENT.format(type="state.sqlite", name="connectionString", value="values.db")
    )
    played(python, tmp_path, "--resources-path", "components")
    assert (tmp_path / "values.db").exists()


def test_on_redis(python: Path, tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", "no")
    try:
        (tmp_path / "state.yaml").write_text(
            COMPONENT.format(type="state.redis", name="redisHost", value=f"127.0.0.1:{server.port}")
        )
        played(python, tmp_path, "--resources-path", str(tmp_path))
    finally:
        server.stop()
