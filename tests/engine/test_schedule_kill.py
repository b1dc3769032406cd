"""Real processes that run a schedule and are killed around its ticks: each tick starts one run."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure import Client, Status

PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from perdure import App, workflow_context

url, began, ticks = sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])
# because a run is not to blame for a process that is killed from outside
app = App("clock", store=url, quarantine_deaths=None)

@app.activity
async def work() -> None:
    await asyncio.sleep(0.02)

@app.workflow
async def on_tick() -> str:
    await work()
    return workflow_context().tick.isoformat()

on_tick.with_schedule(
    "s", every=1, overlap="allow", start=began, end=began + timedelta(seconds=ticks)
).declare()

async def main():
    async with app:
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
TICKS = 6
PATIENCE_SECONDS = 30.0


def begin(program: Path, url: str, began: datetime) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(program), url, began.isoformat(), str(TICKS)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


async def finished(url: str) -> dict[str, Status]:
    async with Client(url, app_id="clock") as client:
        return {state.id: state.status async for state in client.list()}


async def counts(url: str) -> tuple[int, int, int]:
    async with Client(url, app_id="clock") as client:
        state = await client.get_schedule("s").describe()
        return state.started, state.skipped, state.missed


@pytest.mark.long
@pytest.mark.timeout(90)
def test_a_worker_killed_around_every_tick_starts_each_of_them_once(tmp_path):
    dice = random.Random(7)
    program, url = tmp_path / "clock.py", f"sqlite:///{tmp_path}/clock.db"
    program.write_text(PROGRAM)
    began = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    for number in range(TICKS):
        process = begin(program, url, began)
        moment = began + timedelta(seconds=number + dice.uniform(-0.03, 0.06))
        time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
        kill(process)
    process = begin(program, url, began)
    try:
        ends = time.monotonic() + PATIENCE_SECONDS
        while list((found := asyncio.run(finished(url))).values()).count(Status.COMPLETED) < TICKS:
            assert time.monotonic() < ends, found
            time.sleep(0.1)
        time.sleep(0.2)
    finally:
        kill(process)
    expected = [began + timedelta(seconds=number) for number in range(TICKS)]
    assert sorted(asyncio.run(finished(url))) == [f"s@{at:%Y-%m-%dT%H:%M:%S}Z" for at in expected]
    assert asyncio.run(counts(url)) == (TICKS, 0, 0)
