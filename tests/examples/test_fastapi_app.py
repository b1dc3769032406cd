"""The web application under four real uvicorn workers on one file: all serve, and the owner may die."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKERS = 4
SMALL = [f"small-{number}" for number in range(40)]
LARGE = [f"large-{number}" for number in range(40)]
SECONDS = 30.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the application listens. Its processes end with the test."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:web", "--app-dir", str(EXAMPLES)]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        str(WORKERS),
        "--log-level",
        "warning",
    ]
    store = f"sqlite:///{tmp_path / 'shop.db'}"
    log = tmp_path / "uvicorn.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            env={**os.environ, "PERDURE_STORE": store},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(15)
        finally:
            _kill_group(server.pid)
            print(log.read_text())


@pytest.mark.long
def test_four_processes_serve_one_file_and_one_takes_over_when_the_owner_is_killed(address: str) -> None:
    async def scenario() -> None:
        no_reuse = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=address, timeout=20, limits=no_reuse) as client:
            await _scenario(Web(client))

    asyncio.run(scenario())


class Web:
    """Requests over connections of their own, so that they reach all worker processes."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer; asked again while a worker that was killed takes connections with it."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    return await self._client.request(method, path, **options)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def processes(self) -> dict[int, bool]:
        """The workers that answer, and which of them owns the file."""
        answers = await asyncio.gather(*(self.ask("GET", "/process") for _ in range(8 * WORKERS)))
        return {answer.json()["pid"]: answer.json()["owner"] for answer in answers}

    async def owner(self) -> int:
        """The worker that owns the file, once there is exactly one and all have answered."""
        seen: dict[int, bool] = {}

        async def all_seen() -> bool:
            seen.clear()
            seen.update(await self.processes())
            return len(seen) == WORKERS and sum(seen.values()) == 1

        await _until(all_seen)
        return next(pid for pid, owns in seen.items() if owns)

    async def place(self, ids: list[str], cents: int) -> None:
        order = {"item": "lamp", "cents": cents}
        answers = await asyncio.gather(*(self.ask("PUT", f"/orders/{id}", json=order) for id in ids))
        assert {answer.status_code for answer in answers} == {202}

    async def results(self, ids: list[str]) -> list[list[str]]:
        answers = await asyncio.gather(*(self.ask("GET", f"/orders/{id}/result?seconds=15") for id in ids))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        return [answer.json() for answer in answers]


async def _scenario(web: Web) -> None:
    owner = await web.owner()
    await web.place(SMALL, 900)
    await web.place(LARGE, 90_000)
    lines = await web.results(SMALL)
    assert lines == [["9.00 paid for lamp", f"lamp shipped by process {owner}"]] * len(SMALL)

    assert (await web.ask("PUT", f"/orders/{LARGE[0]}", json={"item": "lamp", "cents": 1})).status_code == 409
    assert (await web.ask("GET", "/orders/nobody")).status_code == 404
    assert (await web.ask("POST", "/orders/nobody/approval")).status_code == 404
    assert (await web.ask("GET", f"/orders/{LARGE[0]}/result?seconds=0.2")).status_code == 504

    os.kill(owner, signal.SIGKILL)
    approvals = await asyncio.gather(*(web.ask("POST", f"/orders/{id}/approval") for id in LARGE))
    assert {answer.status_code for answer in approvals} == {202}
    lines = await web.results(LARGE)
    shippers = {line[1] for line in lines}
    assert len(shippers) == 1, "one process has taken over"
    assert shippers != {f"lamp shipped by process {owner}"}

    answer = await web.ask("GET", "/orders?item=lamp&limit=200")
    assert {order["id"]: order["status"] for order in answer.json()} == dict.fromkeys([*SMALL, *LARGE], "completed")
    assert await web.owner() != owner, "uvicorn has replaced the dead worker, and the file has its new owner"


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await true():
            await asyncio.sleep(0.05)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass  # because all have ended as they were asked
