"""The program of Microsoft's Durable Task SDK for Python: `worker`, or `client SCENARIO PREFIX`."""

import asyncio
import json
import os
import re
import signal
import sys
from datetime import datetime, timedelta
from typing import Any

import ledger
from durabletask import client, entities, task
from durabletask.worker import TaskHubGrpcWorker
from scenarios import Failure, State, program

ADDRESS = f"{os.environ['COMPAT_HOST']}:{os.environ['COMPAT_PORT']}"

worker = TaskHubGrpcWorker(host_address=ADDRESS)


# --- Activities ---


@worker.add_activity
def add_one(ctx: task.ActivityContext, number: int) -> int:
    return number + 1


@worker.add_activity
def square(ctx: task.ActivityContext, order: dict[str, Any]) -> int:
    ledger.note(order["ledger"])
    return order["number"] ** 2


@worker.add_activity
def double(ctx: task.ActivityContext, number: int) -> int:
    return number * 2


@worker.add_activity
def flaky(ctx: task.ActivityContext, order: dict[str, Any]) -> str:
    attempt = ledger.note(order["ledger"])
    if attempt < order["succeeds_at"]:
        raise RuntimeError(f"not yet: attempt {attempt}")
    return f"attempt {attempt}"


class OrderError(Exception):
    """An error of the program's own."""


@worker.add_activity
def ship(ctx: task.ActivityContext, order: Any) -> None:
    try:
        raise LookupError("no such address")
    except LookupError as cause:
        raise OrderError("the order cannot be shipped") from cause


@worker.add_activity
def mirror_text(ctx: task.ActivityContext, text: str) -> str:
    return text


@worker.add_activity
def note(ctx: task.ActivityContext, name: str) -> None:
    ledger.note(name)


@worker.add_activity
def slow(ctx: task.ActivityContext, prefix: str) -> None:
    ledger.note(f"{prefix}-slow")
    ledger.gate(prefix)


@worker.add_activity
def work(ctx: task.ActivityContext, order: dict[str, Any]) -> int:
    ledger.work(order["name"])
    return order["number"] + 1


# --- Workflows ---


@worker.add_orchestrator
def chaining(ctx: task.OrchestrationContext, number: int):
    for _ in range(3):
        number = yield ctx.call_activity(add_one, input=number)
    return number


@worker.add_orchestrator
def fan_out(ctx: task.OrchestrationContext, order: dict[str, Any]):
    squares = [
        ctx.call_activity(square, input={"ledger": order["ledger"], "number": number})
        for number in range(order["count"])
    ]
    return sum((yield task.when_all(squares)))


@worker.add_orchestrator
def parent(ctx: task.OrchestrationContext, number: int):
    return (yield ctx.call_sub_orchestrator(doubler, input=number))


@worker.add_orchestrator
def doubler(ctx: task.OrchestrationContext, number: int):
    return (yield ctx.call_activity(double, input=number))


@worker.add_orchestrator
def timer(ctx: task.OrchestrationContext, seconds: float):
    yield ctx.create_timer(timedelta(seconds=seconds))
    return "fired"


@worker.add_orchestrator
def late_listener(ctx: task.OrchestrationContext, _: Any):
    yield ctx.create_timer(timedelta(seconds=1))
    return (yield ctx.wait_for_external_event("go"))


@worker.add_orchestrator
def listener(ctx: task.OrchestrationContext, _: Any):
    ctx.set_custom_status("waiting")
    return (yield ctx.wait_for_external_event("go"))


@worker.add_orchestrator
def impatient(ctx: task.OrchestrationContext, seconds: float):
    event = ctx.wait_for_external_event("go")
    alarm = ctx.create_timer(timedelta(seconds=seconds))
    first = yield task.when_any([event, alarm])
    return "timed out" if first == alarm else event.get_result()


@worker.add_orchestrator
def retrying(ctx: task.OrchestrationContext, order: dict[str, Any]):
    policy = task.RetryPolicy(
        first_retry_interval=timedelta(milliseconds=100), max_number_of_attempts=order["attempts"]
    )
    return (yield ctx.call_activity(flaky, input=order, retry_policy=policy))


@worker.add_orchestrator
def doomed(ctx: task.OrchestrationContext, _: Any):
    yield ctx.call_activity(ship, input=None)


@worker.add_orchestrator
def collector(ctx: task.OrchestrationContext, items: list[int]):
    items = [*items, (yield ctx.wait_for_external_event("item"))]
    if len(items) < 5:
        ctx.continue_as_new(items, save_events=True)
        return None
    return items


@worker.add_orchestrator
def reporter(ctx: task.OrchestrationContext, _: Any):
    ctx.set_custom_status("half way")
    yield ctx.wait_for_external_event("go")
    ctx.set_custom_status("finished")
    return "done"


@worker.add_orchestrator
def patient_parent(ctx: task.OrchestrationContext, child: str):
    return (yield ctx.call_sub_orchestrator(listener, input=None, instance_id=child))


@worker.add_orchestrator
def mirror(ctx: task.OrchestrationContext, text: str):
    return (yield ctx.call_activity(mirror_text, input=text))


@worker.add_orchestrator
def marathon(ctx: task.OrchestrationContext, steps: int):
    number = 0
    for _ in range(steps):
        number = yield ctx.call_activity(add_one, input=number)
    return number


@worker.add_orchestrator
def stops_in_turn(ctx: task.OrchestrationContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    ledger.gate(prefix)
    yield ctx.call_activity(note, input=f"{prefix}-second")
    return "done"


@worker.add_orchestrator
def stops_in_activity(ctx: task.OrchestrationContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    yield ctx.call_activity(slow, input=prefix)
    return "done"


@worker.add_orchestrator
def sleeps_between(ctx: task.OrchestrationContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    ctx.set_custom_status("sleeping")
    yield ctx.create_timer(timedelta(seconds=3))
    yield ctx.call_activity(note, input=f"{prefix}-second")
    return "done"


@worker.add_orchestrator
def storm(ctx: task.OrchestrationContext, order: dict[str, Any]):
    def call(name: str) -> Any:
        return ctx.call_activity(work, input={"name": f"{order['id']}-{name}", "number": order["number"]})

    total = yield call("first")
    total += sum((yield task.when_all([call(name) for name in "abc"])))
    yield ctx.create_timer(timedelta(seconds=0.5))
    total += yield ctx.call_sub_orchestrator(squall, input=order)
    total += yield ctx.wait_for_external_event("go")
    return total + (yield call("last"))


@worker.add_orchestrator
def squall(ctx: task.OrchestrationContext, order: dict[str, Any]):
    return (yield ctx.call_activity(work, input={"name": f"{order['id']}-child", "number": order["number"]}))


@worker.add_orchestrator
def three_notes(ctx: task.OrchestrationContext, prefix: str):
    for step in ("first", "second", "third"):
        yield ctx.call_activity(note, input=f"{prefix}-{step}")
    return "done"


@worker.add_orchestrator
def fails_once(ctx: task.OrchestrationContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    return (yield ctx.call_activity(flaky, input={"ledger": f"{prefix}-flaky", "succeeds_at": 2}))


@worker.add_orchestrator
def sender(ctx: task.OrchestrationContext, receiver: str):
    ctx.send_event(receiver, "go", data={"from": ctx.instance_id})
    return "sent"


# --- Entities ---


@worker.add_entity
class counter(entities.DurableEntity):  # noqa: N801 the name of the class is the name of the entity
    """A number that never goes below nothing."""

    def add(self, number: int) -> int:
        value = self.get_state(int, 0) + number
        if value < 0:
            raise ValueError(f"{value} is below nothing")
        self.set_state(value)
        return value

    def get(self) -> int:
        return self.get_state(int, 0)

    def slow(self, prefix: str) -> int:
        ledger.note(f"{prefix}-operation")
        ledger.gate(prefix)
        return self.add(1)


@worker.add_entity
def relay(ctx: entities.EntityContext, target: str):
    """Passes on what it is told, to a counter and to a workflow, and keeps the id of that."""
    ctx.signal_entity(counter_of(target), "add", 5)
    ctx.set_state(ctx.schedule_new_orchestration("chaining", 1, f"{target}-started"))


def counter_of(key: str) -> entities.EntityInstanceId:
    """The id of a counter."""
    return entities.EntityInstanceId("counter", key)


@worker.add_orchestrator
def entity_signaller(ctx: task.OrchestrationContext, key: str):
    ctx.signal_entity(counter_of(key), "add", 1)
    return "signalled"


@worker.add_orchestrator
def entity_caller(ctx: task.OrchestrationContext, key: str):
    after = yield ctx.call_entity(counter_of(key), "add", 12)
    try:
        yield ctx.call_entity(counter_of(key), "add", -100)
        refused = False
    except Exception:  # noqa: BLE001 which type it is differs between versions of the SDK
        refused = True
    read = yield ctx.call_entity(counter_of(key), "get")
    return {"after": after, "read": read, "refused": refused}


@worker.add_orchestrator
def entity_mover(ctx: task.OrchestrationContext, order: dict[str, Any]):
    source, target = counter_of(order["from"]), counter_of(order["to"])
    with (yield ctx.lock_entities([source, target])):
        before = yield ctx.call_entity(source, "get")
        yield ctx.call_entity(source, "add", -order["amount"])
        yield ctx.call_entity(target, "add", order["amount"])
        after = yield ctx.call_entity(source, "get")
    return "moved" if after == before - order["amount"] else f"{before} became {after}"


def serve() -> None:
    """Serve until SIGTERM."""
    worker.start()
    print("READY", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    worker.stop()


class Client:
    """The SDK's blocking client, in threads, behind the face that the scenarios know."""

    def __init__(self) -> None:
        self._client = client.TaskHubGrpcClient(host_address=ADDRESS)

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, name), *args, **options)

    async def start(self, workflow: str, id: str, input: Any = None, at: datetime | None = None) -> str:
        return await self._call("schedule_new_orchestration", workflow, input=input, instance_id=id, start_at=at)

    async def state(self, id: str) -> State | None:
        return _state(await self._call("get_orchestration_state", id))

    async def wait(self, id: str, seconds: float) -> State | None:
        return _state(await self._call("wait_for_orchestration_completion", id, timeout=seconds))

    async def raise_event(self, id: str, name: str, data: Any) -> None:
        await self._call("raise_orchestration_event", id, name, data=data)

    async def suspend(self, id: str) -> None:
        await self._call("suspend_orchestration", id)

    async def resume(self, id: str) -> None:
        await self._call("resume_orchestration", id)

    async def terminate(self, id: str, output: Any) -> None:
        await self._call("terminate_orchestration", id, output=output, recursive=True)

    async def purge(self, id: str) -> None:
        await self._call("purge_orchestration", id)

    async def history(self, id: str) -> list[tuple[str, int]]:
        events = await self._call("get_orchestration_history", id)
        return [(_kind(type(event).__name__), event.event_id) for event in events]

    async def rewind(self, id: str) -> None:
        await self._call("rewind_orchestration", id, reason="the cause is gone")

    async def restart(self, id: str, *, new_id: bool) -> str:
        return await self._call("restart_orchestration", id, restart_with_new_instance_id=new_id)

    async def ids(self, prefix: str, page: int) -> list[str]:
        query = client.OrchestrationQuery(max_instance_count=page, instance_id_prefix=prefix)
        found = [state.instance_id for state in await self._call("get_all_orchestration_states", query)]
        listed = await self._listed(page)
        assert set(found) <= set(listed), f"list_instance_ids lacks {set(found) - set(listed)}"
        return found

    async def _listed(self, page: int) -> list[str]:
        """The ids of what has ended, by the SDK's other call."""
        found: list[str] = []
        token = None
        while True:
            answer = await self._call("list_instance_ids", page_size=page, continuation_token=token)
            found += answer.items
            token = answer.continuation_token
            if not token:
                return found

    async def signal(self, name: str, key: str, operation: str, input: Any, at: datetime | None = None) -> None:
        await self._call("signal_entity", entities.EntityInstanceId(name, key), operation, input, at)

    async def entities(self, prefix: str, page: int) -> dict[str, Any]:
        query = client.EntityQuery(instance_id_starts_with=prefix, page_size=page)
        found = await self._call("get_all_entities", query)
        return {str(entity.id): _decoded(entity.get_state()) for entity in found}

    async def clean(self) -> int:
        return (await self._call("clean_entity_storage")).empty_entities_removed

    async def entity(self, name: str, key: str) -> Any:
        found = await self._call("get_entity", entities.EntityInstanceId(name, key))
        return _decoded(found.get_state()) if found else None


def _state(state: client.OrchestrationState | None) -> State | None:
    if state is None:
        return None
    failure = state.failure_details
    return State(
        status=state.runtime_status.name.lower(),
        output=_decoded(state.serialized_output),
        custom_status=_decoded(state.serialized_custom_status),
        failure=failure and Failure(failure.error_type, failure.message, tuple(_causes(failure.inner_failure))),
    )


def _causes(failure: task.FailureDetails | None) -> list[str]:
    return [] if failure is None else [f"{failure.error_type}: {failure.message}", *_causes(failure.inner_failure)]


def _kind(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Event")).lower()
    return words.replace("orchestrator", "turn")


def _decoded(text: str | None) -> Any:
    return json.loads(text) if text else None


if __name__ == "__main__":
    sys.exit(program(serve, Client))
