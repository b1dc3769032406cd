"""`perdure.testing.run`: a workflow in a unit test, without a store and without waiting."""

import asyncio
import time

import pytest

from perdure import App, Retry, WorkflowFailed, now, wait_for_event
from perdure.errors import NothingMoves
from perdure.testing import run

app = App("testing-run")
tries: list[int] = []


@app.activity
async def double(value: int) -> int:
    await asyncio.sleep(60)
    return value * 2


@app.activity(retry=Retry(max_attempts=3, initial_interval=3600))
def flaky() -> int:
    tries.append(1)
    if len(tries) < 3:
        raise ValueError("not yet")
    return len(tries)


@app.workflow
async def child(value: int) -> int:
    return await double(value)


@app.workflow
async def year(value: int) -> float:
    before = now()
    await asyncio.sleep(365 * 86_400)
    assert await child(value) == value * 2
    assert await flaky() == 3
    return (now() - before).total_seconds()


@app.workflow
async def waiting() -> None:
    await wait_for_event("never")


@app.workflow
async def broken() -> None:
    raise ValueError("broken on purpose")


def test_a_year_takes_no_time() -> None:
    began = time.monotonic()
    elapsed = run(year, 21)
    assert time.monotonic() - began < 30
    assert elapsed == pytest.approx(365 * 86_400 + 60 + 3 * 3600, abs=60)


def test_a_failure_is_raised_with_its_cause() -> None:
    with pytest.raises(WorkflowFailed, match="broken on purpose"):
        run(broken)


def test_runs_do_not_disturb_each_other() -> None:
    assert [run(child, value) for value in range(3)] == [0, 2, 4]


def test_a_workflow_that_waits_for_ever_is_told() -> None:
    with pytest.raises(NothingMoves, match="waits for the event 'never'"):
        run(waiting)
