"""Dapr's published Python packages publish and subscribe on a server, with and without component files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.nats import Nats
from servers.ports import free_port
from servers.valkey import Valkey
from tests.compat.sdk import ROOT, python_with

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]

HERE = Path(__file__).parent / "pubsub"
ENVIRONMENT = ("dapr-pubsub", "--requirement", str(HERE / "requirements.txt"))
SECONDS = 120
PARTS, CALLED_PARTS = 5, 4
COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: pubsub
spec:
  type: {type}
  version: v1
  metadata: [{metadata}]
"""
SUBSCRIPTION = """\
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata:
  name: declared
spec:
  pubsubname: pubsub
  topic: declared
  routes:
    rules:
    - match: event.data.n > 10
      path: /large
    default: /declared
"""
"""A path of a program that is called over gRPC is the topic of the handler that gets the event."""
CALLED = """\
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata:
  name: filed
spec:
  pubsubname: pubsub
  topic: filed
  routes:
    default: declared
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that has the packages."""
    return python_with(*ENVIRONMENT)


def played(python: Path, folder: Path, type: str, metadata: str = "") -> None:
    """`perdure run` with the program, which asserts what it finds."""
    (folder / "resources").mkdir()
    (folder / "resources" / "pubsub.yaml").write_text(COMPONENT.format(type=type, metadata=metadata))
    (folder / "resources" / "subscription.yaml").write_text(SUBSCRIPTION)
    ended = run(folder, "--", str(python), str(HERE / "program.py"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": well") == PARTS


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "run", "--app-id", "shop", "--app-port", str(free_port())]
    command += ["--resources-path", "resources", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_on_the_store_of_the_server(python: Path, tmp_path: Path) -> None:
    played(python, tmp_path, "pubsub.perdure")


def test_over_grpc(python: Path, tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "pubsub.yaml").write_text(COMPONENT.format(type="pubsub.perdure", metadata=""))
    (tmp_path / "resources" / "subscription.yaml").write_text(CALLED)
    ended = run(tmp_path, "--app-protocol", "grpc", "--", str(python), str(HERE / "callback.py"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": well") == CALLED_PARTS


def test_on_redis(python: Path, tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", "no")
    try:
        played(python, tmp_path, "pubsub.redis", f'{{name: redisHost, value: "127.0.0.1:{server.port}"}}')
    finally:
        server.stop()


def test_on_nats(python: Path, tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats")
    try:
        played(python, tmp_path, "pubsub.jetstream", f'{{name: natsURL, value: "{server.url()}"}}')
    finally:
        server.stop()
