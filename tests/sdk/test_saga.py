"""Sagas: compensations run in reverse, once, to the end, and only when the steps were in vain."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    App,
    CompensationFailed,
    Handle,
    Saga,
    Status,
    WorkflowCancelled,
    WorkflowFailed,
    continue_as_new,
    set_status,
    wait_for_event,
)
from perdure.errors import InvalidArgument, RemoteError

SECONDS = 20.0


class Trip:
    """An app whose activities note what they did; `gates` hold a named one up, `broken` make it fail."""

    def __init__(self, store: str = "memory:", **settings: Any) -> None:
        self.app = App("trips", store=store, **settings)
        self.done: list[str] = []
        self.broken: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.do = self.app.activity(self._do, name="do")

    async def _do(self, what: str) -> str:
        if what in self.gates:
            await self.gates[what].wait()
        self.done.append(what)
        if what in self.broken:
            raise ValueError(f"cannot {what}")
        return what

    async def reached(self, count: int) -> None:
        """Until so many activities were done."""
        async with asyncio.timeout(SECONDS):
            while len(self.done) < count:
                await asyncio.sleep(0.005)


def three_steps(trip: Trip) -> Any:
    @trip.app.workflow
    async def book() -> str:
        async with Saga() as saga:
            for step in ("flight", "hotel", "car"):
                await trip.do(step)
                saga.compensate(trip.do, f"undo {step}")
            await trip.do("pay")
        return "booked"

    return book


def outcome(trip: Trip, workflow: Any, meanwhile: Callable[[Handle[Any]], Any] | None = None) -> Any:
    """Run one instance to its end, with `meanwhile` beside it."""

    async def scenario() -> Any:
        async with trip.app:
            handle = await workflow.start()
            if meanwhile is not None:
                await meanwhile(handle)
            return await handle.result(SECONDS)

    return asyncio.run(scenario())


STEPS = ["flight", "hotel", "car", "pay"]


def test_nothing_is_undone_when_all_goes_well() -> None:
    trip = Trip()
    assert outcome(trip, three_steps(trip)) == "booked"
    assert trip.done == STEPS


def test_steps_are_undone_last_one_first() -> None:
    trip = Trip()
    trip.broken = {"pay"}
    with pytest.raises(WorkflowFailed, match="cannot pay"):
        outcome(trip, three_steps(trip))
    assert trip.done == [*STEPS, "undo car", "undo hotel", "undo flight"]


def test_a_compensation_that_fails_does_not_keep_the_others_from_running() -> None:
    trip = Trip()
    trip.broken = {"pay", "undo car", "undo flight"}
    with pytest.raises(
        WorkflowFailed, match=r"2 of 3 compensations failed.*cannot undo car.*cannot undo flight"
    ) as failed:
        outcome(trip, three_steps(trip))
    assert trip.done[-3:] == ["undo car", "undo hotel", "undo flight"]
    group = failed.value.__cause__
    assert isinstance(group, RemoteError)
    assert group.type == "CompensationFailed"
    assert "cannot pay" in str(group.__cause__), "what made them run is the cause"


def test_a_cancelled_workflow_is_undone() -> None:
    trip = Trip()

    async def cancel(handle: Handle[Any]) -> None:
        trip.gates["pay"] = asyncio.Event()
        await trip.reached(3)
        await handle.cancel()

    with pytest.raises(WorkflowCancelled):
        outcome(trip, three_steps(trip), cancel)
    assert trip.done == ["flight", "hotel", "car", "undo car", "undo hotel", "undo flight"]


@pytest.mark.parametrize("first", ["failure", "cancellation"])
def test_a_cancellation_waits_until_all_is_undone(first: str) -> None:
    trip = Trip()

    async def cancel(handle: Handle[Any]) -> None:
        trip.gates["undo hotel"] = asyncio.Event()
        if first == "failure":
            trip.broken = {"pay"}
            await trip.reached(5)
        else:
            trip.gates["pay"] = asyncio.Event()
            await trip.reached(3)
            await handle.cancel()
            await trip.reached(4)
        await handle.cancel()
        await handle.cancel()
        await asyncio.sleep(0.05)
        assert (await handle.state()).status == Status.RUNNING
        trip.gates["undo hotel"].set()

    with pytest.raises(WorkflowCancelled):
        outcome(trip, three_steps(trip), cancel)
    assert trip.done[-3:] == ["undo car", "undo hotel", "undo flight"]


def test_a_timeout_inside_the_workflow_undoes() -> None:
    trip = Trip()

    @trip.app.workflow
    async def book() -> str:
        try:
            async with asyncio.timeout(None) as limit, Saga() as saga:
                await trip.do("flight")
                saga.compensate(trip.do, "undo flight")
                limit.reschedule(asyncio.get_running_loop().time())
                await wait_for_event("never")
        except TimeoutError:
            return "too late"
        return "booked"

    assert outcome(trip, book) == "too late"
    assert trip.done == ["flight", "undo flight"]


def test_a_workflow_that_leaves_memory_is_not_undone() -> None:
    """Seven instances share room for one: each leaves in the middle of its saga, again and again."""
    trip = Trip(activations_max=1)
    begun: Counter[int] = Counter()

    @trip.app.workflow
    async def book(number: int) -> int:
        begun[number] += 1  # counts what a workflow must not see: how often its code began
        async with Saga() as saga:
            for step in range(3):
                await trip.do(f"{number}.{step}")
                saga.compensate(trip.do, "undo")
                set_status(step)
                await wait_for_event("go")
        return number

    async def scenario() -> list[int]:
        async with trip.app:
            handles = [await book.start(number) for number in range(7)]
            for step in range(3):
                await trip.reached(7 * (step + 1))
                for handle in handles:
                    await handle.raise_event("go")
            return [await handle.result(SECONDS) for handle in handles]

    assert asyncio.run(scenario()) == list(range(7))
    assert sum(begun.values()) > 7, "none left memory, so the test shows nothing"
    assert sorted(trip.done) == sorted(f"{number}.{step}" for number in range(7) for step in range(3))


def test_closing_the_app_undoes_nothing_and_a_later_failure_everything(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'trips.db'}"
    before, after = Trip(store), Trip(store)

    def book_of(trip: Trip) -> Any:
        @trip.app.workflow
        async def book() -> None:
            async with Saga() as saga:
                await trip.do("flight")
                saga.compensate(trip.do, "undo flight")
                await wait_for_event("go")
                raise ValueError("no seats")

        return book

    async def scenario() -> None:
        async with before.app:
            await book_of(before).with_options(id="trip").start()
            await before.reached(1)
        book_of(after)
        async with after.app:
            handle = after.app.client.get("trip")
            await handle.raise_event("go")
            with pytest.raises(WorkflowFailed, match="no seats"):
                await handle.result(SECONDS)

    asyncio.run(scenario())
    assert before.done == ["flight"]
    assert after.done == ["undo flight"]


def test_continuing_as_new_undoes_nothing() -> None:
    trip = Trip()

    @trip.app.workflow
    async def book(rounds: int = 3) -> str:
        async with Saga() as saga:
            await trip.do("flight")
            saga.compensate(trip.do, "undo flight")
            if rounds > 1:
                continue_as_new(rounds - 1)
        return "booked"

    assert outcome(trip, book) == "booked"
    assert trip.done == ["flight"] * 3


def test_a_terminated_workflow_runs_no_code_and_so_no_compensation() -> None:
    trip = Trip()
    book = three_steps(trip)

    async def scenario() -> Status:
        async with trip.app:
            trip.gates["pay"] = asyncio.Event()
            handle = await book.start()
            await trip.reached(3)
            await handle.terminate()
            while not (state := await handle.state()).finished:
                await asyncio.sleep(0.01)
            return state.status

    assert asyncio.run(scenario()) == Status.TERMINATED
    assert trip.done == ["flight", "hotel", "car"]


def test_child_workflows_and_functions_compensate_too() -> None:
    trip = Trip()
    returned: list[str] = []

    @trip.app.workflow
    async def give_back(what: str, *, reason: str) -> None:
        await trip.do(f"{reason}: {what}")

    @trip.app.workflow
    async def book() -> None:
        async with Saga() as saga:
            saga.compensate(returned.append, "ticket")
            saga.compensate(give_back, "car", reason="too dear")
            raise ValueError("no money")

    with pytest.raises(WorkflowFailed, match="no money"):
        outcome(trip, book)
    assert trip.done == ["too dear: car"]
    assert returned == ["ticket"]


CRASHING = """
import asyncio, os, sys
from pathlib import Path
from perdure import App, Saga

app = App("trips", store="sqlite:///" + sys.argv[1])
ledger = Path(sys.argv[2])

@app.activity
async def do(what: str) -> None:
    with ledger.open("a") as file:
        file.write(what + "\\n")
    if what == "pay":
        raise ValueError("no money")
    if what == "undo hotel" and sys.argv[3] == "hang":
        await asyncio.sleep(600)

@app.workflow
async def book() -> None:
    async with Saga() as saga:
        for step in ("flight", "hotel", "car"):
            await do(step)
            saga.compensate(do, "undo " + step)
        await do("pay")

async def main() -> None:
    async with app:
        handle = await book.with_options(id="trip", if_exists="return").start()
        try:
            await handle.result(30)
        except Exception as error:
            print(type(error).__name__)

asyncio.run(main())
"""


@pytest.mark.long
def test_after_a_crash_between_two_compensations_the_rest_of_them_run(tmp_path: Path) -> None:
    program, ledger = tmp_path / "trip.py", tmp_path / "ledger.txt"
    program.write_text(CRASHING)
    command = [sys.executable, str(program), str(tmp_path / "trips.db"), str(ledger)]
    undone = ["undo car", "undo hotel"]
    with subprocess.Popen([*command, "hang"]) as first:
        deadline = time.monotonic() + SECONDS
        while not (ledger.exists() and ledger.read_text().endswith("undo hotel\n")):
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
    assert ledger.read_text().splitlines() == [*STEPS, *undone]
    second = subprocess.run([*command, "go on"], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert second.stdout == "WorkflowFailed\n"
    # The one that was under way runs again; the one before it, which had been committed, does not.
    assert ledger.read_text().splitlines() == [*STEPS, *undone, "undo hotel", "undo flight"]


def test_outside_a_workflow_it_is_plain_asyncio() -> None:
    trip = Trip()
    trip.broken = {"undo flight"}
    original = ValueError("no money")

    async def scenario() -> None:
        async with Saga() as saga:
            saga.compensate(trip.do, "undo flight")
            saga.compensate(trip.do, "undo hotel")
            raise original

    with pytest.raises(CompensationFailed, match="1 of 2 compensations failed") as failed:
        asyncio.run(scenario())
    assert trip.done == ["undo hotel", "undo flight"]
    assert "PERDURE-1316" in str(failed.value)
    assert failed.value.__cause__ is original
    assert [str(error) for error in failed.value.exceptions] == ["cannot undo flight"]
    matching, rest = failed.value.split(ValueError)
    assert isinstance(matching, CompensationFailed)
    assert rest is None


def test_a_compensation_that_is_itself_cancelled_counts_as_failed() -> None:
    undone: list[str] = []

    async def gives_up() -> None:
        raise asyncio.CancelledError

    async def scenario() -> None:
        async with Saga() as saga:
            saga.compensate(undone.append, "flight")
            saga.compensate(gives_up)
            raise ValueError

    with pytest.raises(CompensationFailed, match=r"gives_up.* was cancelled"):
        asyncio.run(scenario())
    assert undone == ["flight"]


def test_mistakes_show_when_a_compensation_is_registered() -> None:
    trip = Trip()
    saga = Saga()
    with pytest.raises(InvalidArgument, match="without calling release"):
        saga.compensate(trip.do("flight"))  # type: ignore[arg-type]
    with pytest.raises((TypeError, InvalidArgument)):
        saga.compensate(trip.do, "too", "many")  # type: ignore[call-arg]
    assert repr(saga) == "<Saga: 0 compensations>"
