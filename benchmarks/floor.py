"""The floor: the least work that makes a workflow of plain Python survive a crash.

Live coroutines, one SQLite file (WAL, synchronous=FULL), a row per turn, group commit on one writer
thread. An activity starts after its schedule is durable, a result is released after its completion is.
No retries, timers, recovery, leases, search or errors: what an engine costs above this is its features.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import MARKS, receipt

SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = full;
create table head(
    id text primary key, workflow text, status text, updated real, argument text, result text
) without rowid;
create table segment(id text, turn integer, events text, primary key (id, turn)) without rowid;
create table open_call(
    id text, event integer, activity text, argument text, primary key (id, event)
) without rowid;
"""
PUT_HEAD = """
insert into head values (?, ?, ?, ?, ?, ?) on conflict (id) do update
set status = excluded.status, updated = excluded.updated, result = excluded.result
"""
PUT_SEGMENT = "insert into segment values (?, ?, ?)"
OPEN_CALL = "insert into open_call values (?, ?, ?, ?)"
CLOSE_CALL = "delete from open_call where id = ? and event = ?"

Workflow = Callable[[Any], Coroutine["Call", Any, Any]]


class Call:
    """What a workflow awaits: an activity with its argument."""

    __slots__ = ("activity", "argument")

    def __init__(self, activity: Callable[[Any], Coroutine[Any, Any, Any]], argument: Any) -> None:
        self.activity = activity
        self.argument = argument

    def __await__(self) -> Generator["Call", Any, Any]:
        return (yield self)


class Batch:
    """The rows of the turns that will share one transaction, and what to do once it is durable."""

    __slots__ = ("closed", "heads", "opened", "releases", "segments")

    def __init__(self) -> None:
        self.heads: list[tuple[Any, ...]] = []
        self.segments: list[tuple[str, int, str]] = []
        self.opened: list[tuple[str, int, str, str]] = []
        self.closed: list[tuple[str, int]] = []
        self.releases: list[tuple[Callable[[Any], object], Any]] = []


class Floor:
    """Runs workflows and commits their turns, as many in one transaction as arrive during the last."""

    def __init__(self, path: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.batch = Batch()
        self._writer = ThreadPoolExecutor(1)
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.executescript(SCHEMA)
        self._writing = False

    def run(self, workflow: str, id: str, argument: Any) -> Awaitable[Any]:
        """Start a workflow; the awaitable gives its result once that is durable."""
        run = Run(self, id, WORKFLOWS[workflow], argument)
        run.start()
        return run.result

    def submitted(self) -> None:
        """A turn has joined the batch: write it now, or after the write under way."""
        if not self._writing:
            self._writing = True
            self.loop.call_soon(self._write)

    def close(self) -> None:
        self._writer.shutdown()
        self._database.close()

    def _write(self) -> None:
        batch, self.batch = self.batch, Batch()
        self.loop.run_in_executor(self._writer, self._commit, batch).add_done_callback(self._written)

    def _commit(self, batch: Batch) -> Batch:
        many = self._database.executemany
        self._database.execute("begin immediate")
        many(PUT_HEAD, batch.heads)
        many(PUT_SEGMENT, batch.segments)
        many(OPEN_CALL, batch.opened)
        many(CLOSE_CALL, batch.closed)
        self._database.execute("commit")
        return batch

    def _written(self, commit: asyncio.Future[Batch]) -> None:
        for release, argument in commit.result().releases:
            release(argument)
        self._writing = False
        if self.batch.segments:
            self.submitted()


class Run:
    """One workflow, kept live between its turns."""

    __slots__ = ("_argument", "_coroutine", "_floor", "_id", "_name", "_open", "_turn", "result")

    def __init__(self, floor: Floor, id: str, workflow: Workflow, argument: Any) -> None:
        self.result: asyncio.Future[Any] = floor.loop.create_future()
        self._floor = floor
        self._id = id
        self._name = workflow.__name__
        self._coroutine = workflow(argument)
        self._argument = json.dumps(argument)
        self._turn = 0
        self._open = 0

    def start(self) -> None:
        self._floor.batch.heads.append((self._id, self._name, "running", time.time(), self._argument, None))
        self._advance(None, {"type": "WorkflowStarted", "argument": self._argument, "at": time.time()})

    def _advance(self, value: Any, event: dict[str, Any]) -> None:
        self._turn += 1
        try:
            call = self._coroutine.send(value)
        except StopIteration as stop:
            self._complete(stop.value, event)
        else:
            self._schedule(call, event)
        self._floor.submitted()

    def _schedule(self, call: Call, event: dict[str, Any]) -> None:
        batch, name, argument = self._floor.batch, call.activity.__name__, json.dumps(call.argument)
        self._open = self._turn
        scheduled = {
            "type": "ActivityScheduled",
            "id": self._open,
            "activity": name,
            "argument": argument,
            "at": time.time(),
        }
        batch.segments.append((self._id, self._turn, json.dumps([event, scheduled])))
        batch.opened.append((self._id, self._open, name, argument))
        batch.releases.append((self._execute, call))

    def _complete(self, value: Any, event: dict[str, Any]) -> None:
        batch, result, now = self._floor.batch, json.dumps(value), time.time()
        completed = {"type": "WorkflowCompleted", "result": result, "at": now}
        batch.segments.append((self._id, self._turn, json.dumps([event, completed])))
        batch.heads.append((self._id, self._name, "completed", now, self._argument, result))
        batch.releases.append((self.result.set_result, value))

    def _execute(self, call: Call) -> None:
        self._floor.loop.create_task(call.activity(call.argument)).add_done_callback(self._executed)

    def _executed(self, task: asyncio.Task[Any]) -> None:
        value = task.result()
        self._floor.batch.closed.append((self._id, self._open))
        self._advance(
            value, {"type": "ActivityCompleted", "id": self._open, "result": json.dumps(value), "at": time.time()}
        )


async def activity(argument: Any) -> dict[str, Any]:
    return receipt(argument)


async def marked(argument: int) -> int:
    MARKS.mark()
    return argument


async def one(order: Any) -> Any:
    return await Call(activity, order)


async def sequence(steps: int) -> Any:
    last = None
    for step in range(steps):
        last = await Call(activity, step)
    return last


async def long_run(steps: int) -> int:
    for step in range(steps):
        await Call(marked, step)
    return steps


WORKFLOWS: dict[str, Workflow] = {workflow.__name__: workflow for workflow in (one, sequence, long_run)}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Floor]:
    """The floor on a new file in `folder`."""
    floor = Floor(folder / "floor.db")
    try:
        yield floor
    finally:
        floor.close()
