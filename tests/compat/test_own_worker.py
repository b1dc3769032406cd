"""Perdure's own worker and client at a backend that nobody here wrote: the in-memory one of `durabletask`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import WorkflowFailed
from perdure.errors import NotSupportedByServer, PerdureError
from perdure.remote.requests import Flavour
from servers.ports import free_port
from tests.compat.sdk import python_with
from tests.remote.native.capabilities import IGNORED, is_refused
from tests.remote.native.features import FEATURES, Where
from tests.remote.native.processes import Process

ENVIRONMENT = ("own-worker", "durabletask==1.12.*")
PROGRAM = """
import sys, time
from durabletask.testing import create_test_backend
backend = create_test_backend(port=int(sys.argv[1]))
print("ready", flush=True)
while True:
    time.sleep(1)
"""
SECONDS = 20.0
NOT_THERE = frozenset(("termination, with that of children", "ids and tags of a start"))
"""What this backend does not do although the protocol has it: it ends no children, and gives no tags back."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that has the backend, made once."""
    return python_with(*ENVIRONMENT)


@pytest.fixture
def url(python: Path, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    backend = Process(tmp_path / "backend.log", str(python), "-c", PROGRAM, str(port))
    backend.until("ready")
    yield f"grpc://127.0.0.1:{port}"
    backend.kill()


@pytest.mark.compat
@pytest.mark.xdist_group("own worker")
@pytest.mark.parametrize("name", [name for name in FEATURES if name not in IGNORED | NOT_THERE])
def test_a_feature_works_or_is_refused(name: str, url: str) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(SECONDS):
            await FEATURES[name](Where({"server": url}, ""))

    if not is_refused(name, Flavour.MICROSOFT):
        asyncio.run(scenario())
        return
    with pytest.raises(PerdureError) as caught:
        asyncio.run(scenario())
    if isinstance(caught.value, WorkflowFailed):
        assert getattr(caught.value.__cause__, "type", "") == NotSupportedByServer.__name__
    else:
        assert isinstance(caught.value, NotSupportedByServer)
