"""The client's side of every scenario, told once; `driver` is the SDK's own client behind one face."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import grpc
import ledger

WAIT_SECONDS = 30.0
"""Until an outcome, restarts included."""
LONG_SECONDS = 100.0
"""The same for a long history; below the runner's limit, so that the error says what was waited for."""
POLL_SECONDS = 0.05
LONG = "wörter mit ümlauten, 漢字 und mehr. "


@dataclass(frozen=True)
class Failure:
    """Failure details as the SDK gives them to a client; `causes` is empty where it gives none."""

    type: str
    message: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """An instance as a client sees it. `status` is a lower-case word; values are decoded."""

    status: str
    output: Any
    custom_status: Any
    failure: Failure | None


class Unsupported(Exception):
    """The SDK has no API for the scenario."""


class Driver(Protocol):
    """The client of an SDK."""

    async def start(self, workflow: str, id: str, input: Any = None, at: datetime | None = None) -> str: ...
    async def state(self, id: str) -> State | None: ...
    async def wait(self, id: str, seconds: float) -> State | None: ...
    async def raise_event(self, id: str, name: str, data: Any) -> None: ...
    async def suspend(self, id: str) -> None: ...
    async def resume(self, id: str) -> None: ...
    async def terminate(self, id: str, output: Any) -> None: ...
    async def purge(self, id: str) -> None: ...
    async def ids(self, prefix: str, page: int) -> list[str]: ...
    async def history(self, id: str) -> list[tuple[str, int]]: ...
    async def rerun(self, id: str, event: int, new_id: str) -> None: ...
    async def rewind(self, id: str) -> None: ...
    async def restart(self, id: str, *, new_id: bool) -> str: ...
    async def signal(self, name: str, key: str, operation: str, input: Any, at: datetime | None = None) -> None: ...
    async def entity(self, name: str, key: str) -> Any: ...
    async def entities(self, prefix: str, page: int) -> dict[str, Any]: ...
    async def clean(self) -> int: ...


Play = Callable[[Driver, str], Awaitable[dict[str, Any]]]
PLAYS: dict[str, Play] = {}


def main(driver: Callable[[], Driver], scenario: str, prefix: str) -> int:
    """Play a scenario and print its answer. Returns the exit code."""
    try:
        answer = asyncio.run(_play(driver, scenario, prefix))
    except Unsupported as gap:
        answer = {"unsupported": str(gap)}
    except AssertionError as error:
        answer = {"ok": False, "error": str(error) or repr(error)}
    print(json.dumps(answer), flush=True)
    return 0 if answer.get("ok", True) else 1


async def _play(driver: Callable[[], Driver], scenario: str, prefix: str) -> dict[str, Any]:
    if scenario not in PLAYS:
        raise Unsupported(f"this program has no scenario {scenario}")
    return {"ok": True, **await PLAYS[scenario](driver(), prefix)}


def play(name: str) -> Callable[[Play], Play]:
    """Register the coroutine function of a scenario."""

    def register(scenario: Play) -> Play:
        PLAYS[name] = scenario
        return scenario

    return register


# --- The plain ones ---


@play("chaining")
async def chaining(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("chaining", prefix, 1)
    await completed(driver, prefix, 4)
    return {}


@play("fan-out-50")
async def fan_out(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("fan_out", prefix, {"ledger": f"{prefix}-square", "count": 50})
    await completed(driver, prefix, sum(n * n for n in range(50)))
    equal(ledger.count(f"{prefix}-square"), 50, "runs of the activity")
    return {}


@play("child")
async def child(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("parent", prefix, 21)
    await completed(driver, prefix, 42)
    return {}


@play("timer")
async def timer(driver: Driver, prefix: str) -> dict[str, Any]:
    started = time.monotonic()
    await driver.start("timer", prefix, 1.0)
    await completed(driver, prefix, "fired")
    took = time.monotonic() - started
    assert took >= 1.0, f"a timer of 1 s fired after {took:.3f} s"
    return {"took": round(took, 3)}


# --- Events ---


@play("event-before")
async def event_before(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("late_listener", prefix)
    await driver.raise_event(prefix, "go", {"n": 7})
    await completed(driver, prefix, {"n": 7})
    return {}


@play("event-after")
async def event_after(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("listener", prefix)
    await status_is(driver, prefix, custom="waiting")
    await driver.raise_event(prefix, "go", {"n": 8})
    await completed(driver, prefix, {"n": 8})
    return {}


@play("event-timeout")
async def event_timeout(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("impatient", prefix, 1.0)
    await completed(driver, prefix, "timed out")
    return {}


# --- Retries and failures ---


@play("retry-third")
async def retry_third(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("retrying", prefix, {"ledger": f"{prefix}-flaky", "succeeds_at": 3, "attempts": 5})
    await completed(driver, prefix, "attempt 3")
    equal(ledger.count(f"{prefix}-flaky"), 3, "attempts")
    return {}


@play("retry-exhausted")
async def retry_exhausted(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("retrying", prefix, {"ledger": f"{prefix}-flaky", "succeeds_at": 99, "attempts": 3})
    failure = await failed(driver, prefix)
    assert "not yet: attempt 3" in failure.message, failure
    equal(ledger.count(f"{prefix}-flaky"), 3, "attempts")
    return {"type": failure.type}


@play("failure-cause")
async def failure_cause(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("doomed", prefix)
    failure = await failed(driver, prefix)
    assert "TaskFailed" in failure.type, failure
    assert "the order cannot be shipped" in failure.message, failure
    if not failure.causes:
        return {"type": failure.type, "causes": "the SDK sends none"}
    assert any("OrderError" in cause for cause in failure.causes), failure
    assert any("no such address" in cause for cause in failure.causes), failure
    return {"type": failure.type, "causes": list(failure.causes)}


# --- Lifecycle ---


@play("continue-as-new")
async def continue_as_new(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("collector", prefix, [])
    for n in range(1, 6):
        await driver.raise_event(prefix, "item", n)
    await completed(driver, prefix, [1, 2, 3, 4, 5])
    return {}


@play("custom-status")
async def custom_status(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("reporter", prefix)
    await status_is(driver, prefix, "running", custom="half way")
    await driver.raise_event(prefix, "go", None)
    state = await completed(driver, prefix, "done")
    equal(state.custom_status, "finished", "custom status at the end")
    return {}


@play("suspend-resume")
async def suspend_resume(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("listener", prefix)
    await status_is(driver, prefix, custom="waiting")
    await driver.suspend(prefix)
    await status_is(driver, prefix, "suspended")
    await driver.raise_event(prefix, "go", {"n": 9})
    await asyncio.sleep(1.0)
    await status_is(driver, prefix, "suspended", seconds=0)
    await driver.resume(prefix)
    await completed(driver, prefix, {"n": 9})
    return {}


@play("terminate-recursive")
async def terminate_recursive(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("patient_parent", prefix, f"{prefix}-child")
    await status_is(driver, f"{prefix}-child", "running", custom="waiting")
    await driver.terminate(prefix, "enough")
    state = await outcome(driver, prefix)
    equal((state.status, state.output), ("terminated", "enough"), "the parent")
    child = await outcome(driver, f"{prefix}-child")
    equal(child.status, "terminated", "the child")
    return {}


@play("purge")
async def purge(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("chaining", prefix, 1)
    await completed(driver, prefix, 4)
    await driver.purge(prefix)
    equal(await driver.state(prefix), None, "a purged instance")
    await driver.purge(f"{prefix}-unknown")
    return {}


@play("query-list")
async def query_list(driver: Driver, prefix: str) -> dict[str, Any]:
    equal([id for id in await driver.ids(prefix, 2) if id.startswith(prefix)], [], "ids before the start")
    wanted = [f"{prefix}-{n}" for n in range(3)]
    for id in wanted:
        await driver.start("chaining", id, 1)
    for id in wanted:
        await completed(driver, id, 4)
    for page in (1000, 2):
        found = [id for id in await driver.ids(prefix, page) if id.startswith(prefix)]
        equal(sorted(found), wanted, f"ids in pages of {page}")
    return {}


# --- Size ---


@play("payload-200k")
async def payload(driver: Driver, prefix: str) -> dict[str, Any]:
    text = (LONG * (200_000 // len(LONG) + 1))[:200_000]
    await driver.start("mirror", prefix, text)
    state = await outcome(driver, prefix)
    equal(state.status, "completed", "status")
    assert state.output == text, f"{len(str(state.output))} characters came back changed"
    return {"characters": len(text)}


@play("history-1000")
async def history(driver: Driver, prefix: str) -> dict[str, Any]:
    started = time.monotonic()
    await driver.start("marathon", prefix, 350)
    await completed(driver, prefix, 350, LONG_SECONDS)
    return {"took": round(time.monotonic() - started, 3)}


# --- Kills: the client says where the program is, and waits ---


@play("worker-killed-turn")
async def worker_killed_turn(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("stops_in_turn", prefix, prefix)
    await until(lambda: ledger.at_gate(prefix), "the gate in the turn")
    print("AT turn", flush=True)
    await completed(driver, prefix, "done")
    equal((ledger.count(f"{prefix}-first"), ledger.count(f"{prefix}-second")), (1, 1), "runs of first and second")
    return {}


@play("worker-killed-activity")
async def worker_killed_activity(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("stops_in_activity", prefix, prefix)
    await until(lambda: ledger.at_gate(prefix), "the gate in the activity")
    print("AT activity", flush=True)
    await completed(driver, prefix, "done")
    equal((ledger.count(f"{prefix}-first"), ledger.count(f"{prefix}-slow")), (1, 2), "runs of first and slow")
    return {}


@play("server-restarted")
async def server_restarted(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("sleeps_between", prefix, prefix)
    await status_is(driver, prefix, custom="sleeping")  # so the first activity is in the store, and none runs again
    print("AT timer", flush=True)
    await completed(driver, prefix, "done")
    equal((ledger.count(f"{prefix}-first"), ledger.count(f"{prefix}-second")), (1, 1), "runs of first and second")
    return {}


@play("cross-language")
async def cross_language(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("cross_parent", prefix, 21)
    await completed(driver, prefix, {"doubled": 42, "said": "42 from JavaScript"})
    return {}


# --- What only some SDKs know ---


@play("start-at")
async def start_at(driver: Driver, prefix: str) -> dict[str, Any]:
    started = time.monotonic()
    await driver.start("listener", prefix, at=datetime.now(UTC) + timedelta(seconds=1.5))
    await driver.raise_event(prefix, "go", {"n": 3})
    await status_is(driver, prefix, "pending", seconds=0)
    await completed(driver, prefix, {"n": 3})
    took = time.monotonic() - started
    assert took >= 1.4, f"a start that lay 1.5 s ahead was over after {took:.3f} s"
    return {"took": round(took, 3)}


@play("start-again")
async def start_again(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("listener", prefix)
    await status_is(driver, prefix, custom="waiting")
    try:
        await driver.start("listener", prefix)
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.ALREADY_EXISTS, "code of a start under an id in use")
    else:
        raise AssertionError("a second start under an id in use was not refused")
    await driver.raise_event(prefix, "go", 1)
    await completed(driver, prefix, 1)
    await driver.start("chaining", prefix, 1)
    await completed(driver, prefix, 4)
    return {}


@play("history-read")
async def history_read(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("chaining", prefix, 1)
    await completed(driver, prefix, 4)
    step = ["task scheduled", "turn started", "task completed"]
    wanted = ["turn started", "execution started", *(3 * step), "execution completed"]
    equal([kind for kind, _ in await driver.history(prefix)], wanted, "kinds of the events")
    return {}


@play("stateful-history")
async def stateful_history(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("marathon", prefix, 20)
    await completed(driver, prefix, 20)
    full, delta, asked = (ledger.count(f"{prefix}-{what}") for what in ("full", "delta", "asked"))
    assert full <= 2, f"{full} of 20 turns came with the whole history"
    equal((full + delta, asked), (20, 0), "turns with a past, and calls that asked for the rest")
    return {"full": full, "delta": delta}


@play("send-event")
async def send_event(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("listener", f"{prefix}-listener")
    await status_is(driver, f"{prefix}-listener", custom="waiting")
    await driver.start("sender", f"{prefix}-sender", f"{prefix}-listener")
    await completed(driver, f"{prefix}-sender", "sent")
    await completed(driver, f"{prefix}-listener", {"from": f"{prefix}-sender"})
    return {}


@play("rerun")
async def rerun(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("three_notes", prefix, prefix)
    await completed(driver, prefix, "done")
    calls = [number for kind, number in await driver.history(prefix) if kind == "task scheduled"]
    await driver.rerun(prefix, calls[1], f"{prefix}-again")
    await completed(driver, f"{prefix}-again", "done")
    equal([ledger.count(f"{prefix}-{step}") for step in ("first", "second", "third")], [1, 2, 2], "runs of each step")
    return {}


@play("rewind")
async def rewind(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("fails_once", prefix, prefix)
    await failed(driver, prefix)
    await driver.rewind(prefix)
    await completed(driver, prefix, "attempt 2")
    equal((ledger.count(f"{prefix}-first"), ledger.count(f"{prefix}-flaky")), (1, 2), "runs of first and flaky")
    return {}


@play("restart")
async def restart(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("three_notes", prefix, prefix)
    await completed(driver, prefix, "done")
    other = await driver.restart(prefix, new_id=True)
    assert other != prefix, "a restart under a new id kept the old one"
    await completed(driver, other, "done")
    equal(await driver.restart(prefix, new_id=False), prefix, "id of a restart under its own id")
    await until(lambda: ledger.count(f"{prefix}-third") == 3, "the third run")
    await completed(driver, prefix, "done")
    return {}


# --- Entities, where the SDK has them ---


@play("entity-signal")
async def entity_signal(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.signal("counter", prefix, "add", 5)
    await driver.signal("counter", prefix, "add", 37)
    await entity_is(driver, "counter", prefix, 42)
    await driver.start("entity_signaller", f"{prefix}-workflow", prefix)
    await completed(driver, f"{prefix}-workflow", "signalled")
    await entity_is(driver, "counter", prefix, 43)
    await driver.signal("counter", prefix, "delete", None)
    await entity_is(driver, "counter", prefix, None)
    return {}


@play("entity-call")
async def entity_call(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.start("entity_caller", prefix, prefix)
    await completed(driver, prefix, {"after": 12, "read": 12, "refused": True})
    return {}


@play("entity-lock")
async def entity_lock(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.signal("counter", f"{prefix}-from", "add", 100)
    await entity_is(driver, "counter", f"{prefix}-from", 100)
    movers = [f"{prefix}-{n}" for n in range(4)]
    for mover in movers:
        await driver.start("entity_mover", mover, {"from": f"{prefix}-from", "to": f"{prefix}-to", "amount": 10})
    for mover in movers:
        await completed(driver, mover, "moved")
    await entity_is(driver, "counter", f"{prefix}-from", 60)
    await entity_is(driver, "counter", f"{prefix}-to", 40)
    return {}


@play("entity-spread")
async def entity_spread(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.signal("relay", prefix, "pass", f"{prefix}-target")
    await entity_is(driver, "counter", f"{prefix}-target", 5)
    await entity_is(driver, "relay", prefix, f"{prefix}-target-started")
    await completed(driver, f"{prefix}-target-started", 4)
    return {}


@play("entity-delayed")
async def entity_delayed(driver: Driver, prefix: str) -> dict[str, Any]:
    started = time.monotonic()
    await driver.signal("counter", prefix, "add", 100, datetime.now(UTC) + timedelta(seconds=1.5))
    await driver.signal("counter", prefix, "add", 1)
    await entity_is(driver, "counter", prefix, 1)
    await entity_is(driver, "counter", prefix, 101)
    took = time.monotonic() - started
    assert took >= 1.5, f"a signal for 1.5 s later came after {took:.3f} s"
    return {"took": round(took, 3)}


@play("entity-storage")
async def entity_storage(driver: Driver, prefix: str) -> dict[str, Any]:
    for n in range(3):
        await driver.signal("counter", f"{prefix}-{n}", "add", n + 1)
    for n in range(3):
        await entity_is(driver, "counter", f"{prefix}-{n}", n + 1)
    wanted = {f"@counter@{prefix}-{n}": n + 1 for n in range(3)}
    for page in (1000, 2):
        equal(await driver.entities(f"@counter@{prefix}", page), wanted, f"entities in pages of {page}")
    equal([id for id in await driver.ids("", 1000) if id.startswith("@")], [], "entities among workflows")
    await driver.signal("counter", f"{prefix}-1", "delete", None)
    await entity_is(driver, "counter", f"{prefix}-1", None)
    removed = await driver.clean()
    assert removed >= 1, f"a clean-up removed {removed} entities"
    del wanted[f"@counter@{prefix}-1"]
    equal(await driver.entities(f"@counter@{prefix}", 1000), wanted, "entities after the clean-up")
    return {}


@play("entity-server-killed")
async def entity_server_killed(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.signal("counter", f"{prefix}-from", "add", 1000)
    await entity_is(driver, "counter", f"{prefix}-from", 1000)
    movers = [f"{prefix}-{n}" for n in range(60)]
    for mover in movers:
        await driver.start("entity_mover", mover, {"from": f"{prefix}-from", "to": f"{prefix}-to", "amount": 10})
    print("AT movers", flush=True)
    for mover in movers:
        await completed(driver, mover, "moved", LONG_SECONDS)
    await entity_is(driver, "counter", f"{prefix}-from", 400)
    await entity_is(driver, "counter", f"{prefix}-to", 600)
    return {}


@play("entity-worker-killed")
async def entity_worker_killed(driver: Driver, prefix: str) -> dict[str, Any]:
    await driver.signal("counter", prefix, "slow", prefix)
    await until(lambda: ledger.at_gate(prefix), "the gate in the operation")
    print("AT operation", flush=True)
    await entity_is(driver, "counter", prefix, 1)
    equal(ledger.count(f"{prefix}-operation"), 2, "runs of the operation")
    return {}


# --- What the plays assert with ---


async def completed(driver: Driver, id: str, output: Any, seconds: float = WAIT_SECONDS) -> State:
    """The instance completes with this output in time."""
    state = await outcome(driver, id, seconds)
    equal((state.status, state.output), ("completed", output), f"outcome of {id} ({state.failure})")
    return state


async def failed(driver: Driver, id: str) -> Failure:
    """The instance fails; its failure details."""
    state = await outcome(driver, id)
    equal(state.status, "failed", f"status of {id}")
    assert state.failure is not None, "a failed instance has failure details"
    return state.failure


async def outcome(driver: Driver, id: str, seconds: float = WAIT_SECONDS) -> State:
    """The terminal state, waited for through restarts of the server."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        assert left > 0, f"{id} has no outcome after {seconds:.0f} s: {await driver.state(id)}"
        try:
            state = await driver.wait(id, left)
        except TimeoutError:
            continue
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            await asyncio.sleep(POLL_SECONDS)
            continue
        assert state is not None, f"{id} does not exist"
        return state


async def status_is(
    driver: Driver, id: str, status: str | None = None, *, custom: Any = None, seconds: float = 30.0
) -> None:
    """The instance comes to this status and custom status in time."""
    deadline = time.monotonic() + seconds
    while True:
        state = await driver.state(id)
        if state and status in (None, state.status) and custom in (None, state.custom_status):
            return
        assert time.monotonic() < deadline, f"{id} is {state}, not {status or ''} {custom or ''}"
        await asyncio.sleep(POLL_SECONDS)


async def entity_is(driver: Driver, name: str, key: str, value: Any, seconds: float = 30.0) -> None:
    """The state of an entity comes to this value in time; None: there is no such entity."""
    deadline = time.monotonic() + seconds
    while (found := await driver.entity(name, key)) != value:
        assert time.monotonic() < deadline, f"entity {name} {key} is {found!r}, not {value!r}"
        await asyncio.sleep(POLL_SECONDS)


async def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """The condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} was not reached in {seconds:.0f} s"
        await asyncio.sleep(POLL_SECONDS)


def equal(found: Any, wanted: Any, what: str) -> None:
    """They are equal, or the error shows both."""
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


def program(worker: Callable[[], None], client: Callable[[], Driver]) -> int:
    """The command line of a program: `worker`, or `client SCENARIO PREFIX`."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words == ["worker"]:
        worker()
        return 0
    return main(client, *words[1:])
