"""Lives of the desk as real processes: reads `DIRECTORY DEATH` lines, forks one that works there, says how it ended.

It imports once and forks for each life, because pydantic-ai takes a second to import. A life begins the question, or
finds it begun, approves what waits, and writes the report into `report`. DEATH is `in WHAT`: it kills itself in the
first try of that step; `after N`: once so many steps and children have completed; or `never`. What it does in the world
stands in `ledger`, a line each: what, and the idempotency key. A file `server` has the address of the server that it
works for, if it is not to have a store of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from perdure import activity_context
from perdure.agents import AgentRun
from perdure.errors import InvalidArgument
from perdure.events import ActivityCompleted, ChildCompleted
from tests.agents.desk import Report, desk
from tests.agents.scripts import Ledger

STEP_SECONDS = 0.03
LOOK_SECONDS = 0.002


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FileLedger(Ledger):
    """Notes what is done where it outlives the process."""

    def __init__(self, path: Path, dies_in: str | None) -> None:
        super().__init__()
        self._path = path
        self._dies_in = dies_in

    async def do(self, what: str) -> None:
        is_first = not self._path.exists() or f"{what}|" not in self._path.read_text()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{what}|{activity_context().idempotency_key}\n".encode())
        os.fsync(file)
        os.close(file)
        await asyncio.sleep(STEP_SECONDS)
        if what == self._dies_in and is_first:
            die()
        await asyncio.sleep(STEP_SECONDS)


async def live(directory: Path, death: str) -> None:
    word, _, rest = death.partition(" ")
    ledger = FileLedger(directory / "ledger", rest if word == "in" else None)
    server = directory / "server"
    where = {"server": server.read_text()} if server.exists() else {"store": f"sqlite:///{directory}/app.db"}
    app, agent = desk(ledger, drain_seconds=0.0, **where)
    async with app:
        run = await agent.start("What of order 17?", id=directory.name)
        reaper = asyncio.create_task(die_after(run, int(rest))) if word == "after" else None
        approver = asyncio.create_task(approve(run))
        report = await run.result(30)
        approver.cancel()
        if reaper is not None:
            await reaper
    (directory / "report").write_text(report.model_dump_json())


async def approve(run: AgentRun[Report]) -> None:
    """Say yes as soon as somebody is asked."""
    while True:
        for pending in await run.pending():
            try:
                await run.approve(pending.call_id, by="test")
            except InvalidArgument:
                continue  # because it went on meanwhile
        await asyncio.sleep(LOOK_SECONDS)


async def die_after(run: AgentRun[Report], count: int) -> None:
    """Die once so many answers are in the history."""
    while True:
        answers = [e async for e in run.handle.history() if isinstance(e, (ActivityCompleted, ChildCompleted))]
        if len(answers) >= count:
            die()
        await asyncio.sleep(LOOK_SECONDS)


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        directory, _, death = line.strip().partition(" ")
        child = os.fork()
        if child == 0:
            asyncio.run(live(Path(directory), death))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
