"""Values at the edge of what can be stored harm neither the instance nor its neighbours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App
from perdure.errors import ActivityFailed, ApplicationError, WorkflowFailed

PATIENCE_SECONDS = 30.0


class Mute(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("seconds", ["inf", "1e12", "1e13", "1e300"])
def test_a_sleep_beyond_all_dates_waits_and_neighbours_run(run, url, seconds):
    app = App("shop", store=url)

    @app.activity
    async def price(n: int) -> int:
        return n

    @app.workflow
    async def sleeper(seconds: str) -> None:
        await asyncio.sleep(float(seconds))

    @app.workflow
    async def neighbour(n: int) -> int:
        return await price(n)

    async def scenario() -> tuple[str, int, str, str]:
        async with app:
            handle = await sleeper.start(seconds)
            told = await (await neighbour.start(7)).result(PATIENCE_SECONDS)
            why = str(await handle.explain())
            state = await handle.state()
        async with app:
            await app.client.get(handle.id).terminate()
            return state.status, told, why, (await app.client.get(handle.id).state()).status

    status, told, why, ended = run(scenario)
    assert (status, told, ended) == ("running", 7, "terminated")
    assert why


def test_an_endless_run_timeout_and_an_endless_timeout_never_come(run, url):
    app = App("shop", store=url)

    @app.workflow
    async def patient(n: int) -> int:
        async with asyncio.timeout(float("inf")):
            await asyncio.sleep(0.01)
        return n

    async def scenario() -> Any:
        async with app:
            return await (await patient.with_options(run_timeout=1e15).start(3)).result(PATIENCE_SECONDS)

    assert run(scenario) == 3


@pytest.mark.parametrize(
    "error",
    [ValueError("caf\udce9.txt"), ApplicationError("x", type="Odd\udcff"), Mute()],
    ids=["message", "type", "mute"],
)
@pytest.mark.parametrize("fails_in", ["activity", "workflow"])
def test_an_error_with_text_that_cannot_be_stored_still_arrives(run, url, error, fails_in):
    app = App("shop", store=url)

    @app.activity
    async def read() -> None:
        raise error

    @app.workflow
    async def main() -> str:
        if fails_in == "workflow":
            raise error
        try:
            await read()
        except ActivityFailed as failed:
            return str(failed)
        return "read"

    async def scenario() -> str:
        async with app:
            try:
                return await (await main.start()).result(PATIENCE_SECONDS)
            except WorkflowFailed as failed:
                return str(failed)

    told = run(scenario)
    assert told.isprintable()
    assert any(part in told for part in ("caf\\udce9.txt", "Odd\\udcff", "Mute has no text"))
