"""The program of Dapr's Python SDK: `worker`, or `client SCENARIO PREFIX`; `--aio` takes the asyncio client."""

import asyncio
import json
import signal
import sys
from datetime import datetime, timedelta
from typing import Any

import grpc
import ledger
from dapr.ext import workflow as wf
from dapr.ext.workflow import aio
from scenarios import Failure, State, Unsupported, program


class Watch(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Writes into the ledger how much history came with each turn, and which calls asked for the rest."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        if details.method.endswith("/GetInstanceHistory"):
            ledger.note(f"{request.instanceId}-asked")
        return continuation(details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return Watched(continuation(details, request))


class Watched:
    """A stream of work items that is looked at as it passes."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> "Watched":
        return self

    def __next__(self) -> Any:
        item = next(self._call)
        turn = item.workflowRequest
        if turn.instanceId.startswith("stateful-history") and turn.pastEvents:
            ledger.note(f"{turn.instanceId}-{'delta' if turn.HasField('cachedHistory') else 'full'}")
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


runtime = wf.WorkflowRuntime(interceptors=[Watch()])


# --- Activities ---


@runtime.activity
def add_one(ctx: wf.WorkflowActivityContext, number: int) -> int:
    return number + 1


@runtime.activity
def square(ctx: wf.WorkflowActivityContext, order: dict[str, Any]) -> int:
    ledger.note(order["ledger"])
    return order["number"] ** 2


@runtime.activity
def double(ctx: wf.WorkflowActivityContext, number: int) -> int:
    return number * 2


@runtime.activity
def flaky(ctx: wf.WorkflowActivityContext, order: dict[str, Any]) -> str:
    attempt = ledger.note(order["ledger"])
    if attempt < order["succeeds_at"]:
        raise RuntimeError(f"not yet: attempt {attempt}")
    return f"attempt {attempt}"


class OrderError(Exception):
    """An error of the program's own."""


@runtime.activity
def ship(ctx: wf.WorkflowActivityContext, order: Any) -> None:
    try:
        raise LookupError("no such address")
    except LookupError as cause:
        raise OrderError("the order cannot be shipped") from cause


@runtime.activity
def mirror_text(ctx: wf.WorkflowActivityContext, text: str) -> str:
    return text


@runtime.activity
def note(ctx: wf.WorkflowActivityContext, name: str) -> None:
    ledger.note(name)


@runtime.activity
def slow(ctx: wf.WorkflowActivityContext, prefix: str) -> None:
    ledger.note(f"{prefix}-slow")
    ledger.gate(prefix)


@runtime.activity
def work(ctx: wf.WorkflowActivityContext, order: dict[str, Any]) -> int:
    ledger.work(order["name"])
    return order["number"] + 1


# --- Workflows ---


@runtime.workflow
def chaining(ctx: wf.DaprWorkflowContext, number: int):
    for _ in range(3):
        number = yield ctx.call_activity(add_one, input=number)
    return number


@runtime.workflow
def fan_out(ctx: wf.DaprWorkflowContext, order: dict[str, Any]):
    squares = [
        ctx.call_activity(square, input={"ledger": order["ledger"], "number": number})
        for number in range(order["count"])
    ]
    return sum((yield wf.when_all(squares)))


@runtime.workflow
def parent(ctx: wf.DaprWorkflowContext, number: int):
    return (yield ctx.call_child_workflow(doubler, input=number))


@runtime.workflow
def doubler(ctx: wf.DaprWorkflowContext, number: int):
    return (yield ctx.call_activity(double, input=number))


@runtime.workflow
def timer(ctx: wf.DaprWorkflowContext, seconds: float):
    yield ctx.create_timer(timedelta(seconds=seconds))
    return "fired"


@runtime.workflow
def late_listener(ctx: wf.DaprWorkflowContext, _: Any):
    yield ctx.create_timer(timedelta(seconds=1))
    return (yield ctx.wait_for_external_event("go"))


@runtime.workflow
def listener(ctx: wf.DaprWorkflowContext, _: Any):
    ctx.set_custom_status("waiting")
    return (yield ctx.wait_for_external_event("go"))


@runtime.workflow
def impatient(ctx: wf.DaprWorkflowContext, seconds: float):
    event = ctx.wait_for_external_event("go")
    alarm = ctx.create_timer(timedelta(seconds=seconds))
    first = yield wf.when_any([event, alarm])
    return "timed out" if first == alarm else event.get_result()


@runtime.workflow
def retrying(ctx: wf.DaprWorkflowContext, order: dict[str, Any]):
    policy = wf.RetryPolicy(first_retry_interval=timedelta(milliseconds=100), max_number_of_attempts=order["attempts"])
    return (yield ctx.call_activity(flaky, input=order, retry_policy=policy))


@runtime.workflow
def doomed(ctx: wf.DaprWorkflowContext, _: Any):
    yield ctx.call_activity(ship, input=None)


@runtime.workflow
def collector(ctx: wf.DaprWorkflowContext, items: list[int]):
    items = [*items, (yield ctx.wait_for_external_event("item"))]
    if len(items) < 5:
        ctx.continue_as_new(items, save_events=True)
        return None
    return items


@runtime.workflow
def reporter(ctx: wf.DaprWorkflowContext, _: Any):
    ctx.set_custom_status("half way")
    yield ctx.wait_for_external_event("go")
    ctx.set_custom_status("finished")
    return "done"


@runtime.workflow
def patient_parent(ctx: wf.DaprWorkflowContext, child: str):
    return (yield ctx.call_child_workflow(listener, input=None, instance_id=child))


@runtime.workflow
def mirror(ctx: wf.DaprWorkflowContext, text: str):
    return (yield ctx.call_activity(mirror_text, input=text))


@runtime.workflow
def marathon(ctx: wf.DaprWorkflowContext, steps: int):
    number = 0
    for _ in range(steps):
        number = yield ctx.call_activity(add_one, input=number)
    return number


@runtime.workflow
def stops_in_turn(ctx: wf.DaprWorkflowContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    ledger.gate(prefix)
    yield ctx.call_activity(note, input=f"{prefix}-second")
    return "done"


@runtime.workflow
def stops_in_activity(ctx: wf.DaprWorkflowContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    yield ctx.call_activity(slow, input=prefix)
    return "done"


@runtime.workflow
def sleeps_between(ctx: wf.DaprWorkflowContext, prefix: str):
    yield ctx.call_activity(note, input=f"{prefix}-first")
    ctx.set_custom_status("sleeping")
    yield ctx.create_timer(timedelta(seconds=3))
    yield ctx.call_activity(note, input=f"{prefix}-second")
    return "done"


@runtime.workflow
def three_notes(ctx: wf.DaprWorkflowContext, prefix: str):
    for step in ("first", "second", "third"):
        yield ctx.call_activity(note, input=f"{prefix}-{step}")
    return "done"


@runtime.workflow
def storm(ctx: wf.DaprWorkflowContext, order: dict[str, Any]):
    def call(name: str) -> Any:
        return ctx.call_activity(work, input={"name": f"{order['id']}-{name}", "number": order["number"]})

    total = yield call("first")
    total += sum((yield wf.when_all([call(name) for name in "abc"])))
    yield ctx.create_timer(timedelta(seconds=0.5))
    total += yield ctx.call_child_workflow(squall, input=order)
    total += yield ctx.wait_for_external_event("go")
    return total + (yield call("last"))


@runtime.workflow
def squall(ctx: wf.DaprWorkflowContext, order: dict[str, Any]):
    return (yield ctx.call_activity(work, input={"name": f"{order['id']}-child", "number": order["number"]}))


@runtime.workflow
def cross_parent(ctx: wf.DaprWorkflowContext, number: int):
    doubled = yield ctx.call_activity("double", input=number, app_id="go")
    said = yield ctx.call_child_workflow("describe", input=doubled, app_id="js")
    return {"doubled": doubled, "said": said}


def worker() -> None:
    """Serve until SIGTERM."""
    runtime.start()
    print("READY", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    runtime.shutdown()


class Client:
    """The SDK's client, the blocking one in threads, behind the face that the scenarios know."""

    def __init__(self) -> None:
        self._blocking = "--aio" not in sys.argv
        self._client: Any = wf.DaprWorkflowClient() if self._blocking else aio.DaprWorkflowClient()

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        method = getattr(self._client, name)
        return await (asyncio.to_thread(method, *args, **options) if self._blocking else method(*args, **options))

    async def start(self, workflow: str, id: str, input: Any = None, at: datetime | None = None) -> str:
        return await self._call("schedule_new_workflow", workflow, input=input, instance_id=id, start_at=at)

    async def state(self, id: str) -> State | None:
        return _state(await self._call("get_workflow_state", id))

    async def wait(self, id: str, seconds: float) -> State | None:
        return _state(await self._call("wait_for_workflow_completion", id, timeout_in_seconds=int(seconds) + 1))

    async def raise_event(self, id: str, name: str, data: Any) -> None:
        await self._call("raise_workflow_event", id, name, data=data)

    async def suspend(self, id: str) -> None:
        await self._call("pause_workflow", id)

    async def resume(self, id: str) -> None:
        await self._call("resume_workflow", id)

    async def terminate(self, id: str, output: Any) -> None:
        await self._call("terminate_workflow", id, output=output)

    async def purge(self, id: str) -> None:
        try:
            await self._call("purge_workflow", id)
        except grpc.RpcError as error:
            if "no such instance exists" not in str(error):
                raise  # because a Dapr sidecar answers so for an unknown id, where others count none

    async def history(self, id: str) -> list[tuple[str, int]]:
        events = await self._call("get_workflow_history", id)
        return [(_kind(event.event_type.name), event.event_id) for event in events]

    async def rerun(self, id: str, event: int, new_id: str) -> None:
        await self._call("rerun_workflow_from_event", id, event, new_instance_id=new_id)

    async def ids(self, prefix: str, page: int) -> list[str]:
        if not hasattr(self._client, "list_workflow_instance_ids"):
            raise Unsupported("the client has no call that lists instances")
        found: list[str] = []
        token = None
        while True:
            answer = await self._call("list_workflow_instance_ids", page_size=page, continuation_token=token)
            assert len(answer.instance_ids) <= page, f"{len(answer.instance_ids)} ids in a page of {page}"
            found += answer.instance_ids
            token = answer.continuation_token
            if not token:
                return found


def _state(state: wf.WorkflowState | None) -> State | None:
    if state is None:
        return None
    failure = state.failure_details
    return State(
        status=state.runtime_status.name.lower(),
        output=_decoded(state.serialized_output),
        custom_status=_decoded(state.serialized_custom_status),
        failure=failure and Failure(failure.error_type, failure.message),
    )


def _kind(name: str) -> str:
    return {"WORKFLOW_STARTED": "turn started"}.get(name, name.lower().replace("_", " "))


def _decoded(text: str | None) -> Any:
    """JSON, or the text itself: this SDK sends a custom status as it is."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(program(worker, Client))
