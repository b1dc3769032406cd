"""Many workflows of each published SDK while its workers and the server are killed; what really ran is in a ledger."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from perdure.errors import InstanceExists, PerdureError
from perdure.history.events import ActivityCompleted, ActivityScheduled
from tests.compat.process import Process
from tests.compat.sdk import CACHE, Sdk, every, prepare, words
from tests.compat.server import HOST, OTHER, Server

SDKS = ("dapr-go", "dapr-java", "dapr-javascript", "dapr-python-1.19", "durabletask-javascript", "durabletask-python")
"""Those whose programs know the workflow `storm`: activities, three of them at once, a timer, a child, an event."""
COUNT = 150
"""More than what a worker is given at once, of turns as well as of attempts."""
EVENT = 1_000
ACTIVITIES = 6
STRIKES = ("worker", "worker", "server", "worker")
PAUSE_SECONDS = 1.5
"""Between two strikes: a worker needs the time to connect, and the work to get under way."""
READY_SECONDS = 60.0
PATIENCE_SECONDS = 90.0
LATE_MILLISECONDS = 3_000
"""How long after the commit of its result an attempt may begin that was on its way to another worker before, or in its
queue; the server's strike comes later than that after most results."""

pytestmark = [pytest.mark.compat, pytest.mark.timeout(900)]


class Storm:
    """A server and two workers of an SDK. Whoever made it closes it."""

    def __init__(self, sdk: Sdk, folder: Path) -> None:
        self._sdk = sdk
        self._home = prepare(sdk)
        self._logs = CACHE / "logs" / f"storm-{sdk.name}"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.server = Server(folder, self._logs)
        self._workers: list[Process] = []
        self._started = 0
        for _ in range(2):
            self._launch()
        for worker in self._workers:
            worker.wait(lambda worker=worker: "READY" in worker.lines(), READY_SECONDS, "READY from a worker")  # type: ignore[misc]

    @property
    def url(self) -> str:
        return f"grpc://{HOST}:{self.server.environment['COMPAT_PORT']}"

    def strike(self, whom: str) -> None:
        """kill -9, and the same again at once."""
        if whom == "server":
            self.server.restart()
        if whom == "worker" or self._sdk.gives_up:
            for _ in range(len(self._workers) if whom == "server" else 1):
                self._workers.pop(0).kill()
                self._launch()

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self.server.stop()

    def _launch(self) -> None:
        self._started += 1
        environment = {**self.server.environment, "COMPAT_LEDGER": str(self.ledger), "PYTHONDONTWRITEBYTECODE": "1"}
        log = self._logs / f"worker-{self._started}.log"
        self._workers.append(Process(words(self._sdk.worker), log, cwd=self._home, env=environment))


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="storm-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("name", SDKS)
def test_every_workflow_ends_and_nothing_is_done_again_whose_end_was_stored(name: str, folder: Path) -> None:
    assert OTHER is None, "it reads histories in Perdure's words"
    storm = Storm(next(sdk for sdk in every() if sdk.name == name), folder)
    try:
        asyncio.run(_play(storm))
    finally:
        storm.close()


async def _play(storm: Storm) -> None:
    ids = [f"storm-{number}" for number in range(COUNT)]
    async with Client(storm.url) as client:
        await asyncio.gather(*(_start(client, id, number) for number, id in enumerate(ids)))
        for whom in STRIKES:
            await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.to_thread(storm.strike, whom)
        await asyncio.gather(*(_persistently(lambda id=id: client.get(id).raise_event("go", EVENT)) for id in ids))
        results = await asyncio.gather(*(_persistently(lambda id=id: _result(client, id)) for id in ids))
        assert results == [ACTIVITIES * (number + 1) + EVENT for number in range(COUNT)]
        for id in ids:
            await _check(client, id, storm.ledger)


async def _start(client: Client, id: str, number: int) -> None:
    begun = client.workflow("storm").with_options(id=id)
    try:
        await _persistently(lambda: begun.start({"id": id, "number": number}))
    except InstanceExists:
        return  # because the answer to an earlier try was lost


async def _result(client: Client, id: str) -> Any:
    try:
        return await client.get(id).result(timeout=PATIENCE_SECONDS)
    except TimeoutError:
        pytest.fail(str(await client.get(id).explain()))


async def _persistently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask as a client does whose server may be away."""
    async with asyncio.timeout(PATIENCE_SECONDS + 10.0):
        while True:
            try:
                return await ask()
            except PerdureError as error:
                if isinstance(error, InstanceExists):
                    raise
                await asyncio.sleep(0.1)


async def _check(client: Client, id: str, ledger: Path) -> None:
    """Each activity ran, and was not begun again when its end was stored."""
    scheduled, stored = {}, {}
    async for event in client.get(id).history():
        if isinstance(event, ActivityScheduled) and event.input is not None:
            scheduled[event.number] = json.loads(bytes(event.input.data))["name"]
        elif isinstance(event, ActivityCompleted):
            stored[event.number] = event.at / 1_000
    assert scheduled.keys() == stored.keys()
    for number, name in scheduled.items():
        lines = [line.split() for line in (ledger / name).read_text().splitlines()]
        begun = [int(at) for word, at in lines if word == "begun"]
        assert "done" in [word for word, _ in lines]
        assert len(begun) <= 1 + len(STRIKES), f"{name} was begun {len(begun)} times"
        late = [at - stored[number] for at in begun if at - stored[number] > LATE_MILLISECONDS]
        assert not late, f"{name} was begun {late} ms after its result was stored"
