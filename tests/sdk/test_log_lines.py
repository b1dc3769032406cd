"""Log lines of real processes, read from their standard output: where they come from, and none of them twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import asyncio, logging, pathlib, sys
from perdure import App, Retry, activity_context, setup_logging, workflow_context

setup_logging("json", stream=sys.stdout)
log = logging.getLogger("shop.own")
app = App("shop", store="sqlite:///shop.db", activations_max=int(sys.argv[2]))

def deep(what):
    log.info("deep in %s", what)

@app.activity
async def charge(step: int) -> int:
    deep("a coroutine")
    activity_context().logger.info("charged %d", step)
    return step

@app.activity(retry=Retry(max_attempts=2, initial_interval=0.001))
def pack(step: int) -> int:
    deep("a thread")
    if activity_context().attempt == 1:
        raise ValueError("not yet")
    return step

@app.activity
async def hold() -> None:
    pathlib.Path("held").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    await asyncio.to_thread(deep, "a helper thread")

@app.workflow
async def order(number: int) -> int:
    workflow_context().logger.info("step one")
    log.info("plain one")
    await charge(number)
    workflow_context().logger.info("step two")
    await pack(number)
    log.info("plain two")
    await hold()
    workflow_context().logger.info("step three", extra={"colour": "red"})
    return number

async def main():
    log.info("outside")
    async with app:
        if sys.argv[1] == "start":
            await order.with_options(id="o1").start(1)
        state = await app.client.get("o1").result()
        log.info("done")

asyncio.run(main())
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, "program.py", *words],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def where(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in ("app", "instance", "run", "workflow", "activity", "attempt"))


def until(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()


@pytest.mark.long
def test_every_line_tells_where_it_comes_from(tmp_path):
    (tmp_path / "go").touch()
    with start(tmp_path, "start", "2000") as process:
        told = lines(process.communicate(timeout=30)[0])
    found = {(line["message"], line.get("attempt")): line for line in told}
    assert len(found) == len(told)
    order = ("shop", "o1", 1, "order", None, None)
    assert where(found["outside", None]) == where(found["done", None]) == (None,) * 6
    for message in ("step one", "plain one", "step two", "plain two", "step three"):
        assert where(found[message, None]) == order
    assert found["step three", None]["colour"] == "red"
    assert found["step one", None]["logger"] == "perdure.workflow.order"
    assert where(found["deep in a coroutine", 1]) == ("shop", "o1", 1, None, "charge", 1)
    assert where(found["charged 1", 1]) == ("shop", "o1", 1, None, "charge", 1)
    assert where(found["deep in a thread", 1]) == ("shop", "o1", 1, None, "pack", 1)
    assert where(found["deep in a thread", 2]) == ("shop", "o1", 1, None, "pack", 2)
    assert where(found["deep in a helper thread", 1]) == ("shop", "o1", 1, None, "hold", 1)


@pytest.mark.long
def test_a_run_that_is_replayed_after_a_kill_says_nothing_twice(tmp_path):
    with start(tmp_path, "start", "2000") as first:
        until(tmp_path / "held", first)
        first.send_signal(signal.SIGKILL)
        before = lines(first.communicate(timeout=30)[0])
    (tmp_path / "go").touch()
    with start(tmp_path, "wait", "2000") as second:
        after = lines(second.communicate(timeout=30)[0])
    said = [line["message"] for line in before + after if line.get("workflow")]
    assert said == ["step one", "plain one", "step two", "plain two", "step three"]
    assert "step three" not in [line["message"] for line in before]
