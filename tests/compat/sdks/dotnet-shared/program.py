"""What the .NET SDKs do on the wire: `worker`, or `client SCENARIO PREFIX`, after `--dapr` or `--microsoft`."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from flows import ACTIVITIES, FLOWS
from messages import MESSAGES, make, text_of
from replay import Flavour, Replay, failure_of
from scenarios import Failure, State, program

SERVICE = "/TaskHubSidecarService/"
STATUSES = ["running", "completed", "continued", "failed", "canceled", "terminated", "pending", "suspended"]
HELLO_SECONDS = 30.0
DAPR_RECONNECT_SECONDS = 5.0
MICROSOFT_RECONNECT_SECONDS = 1.0
HISTORY_STREAMING = 1
PARALLEL = 100
"""What a worker works on at once."""

is_dapr = "--dapr" in sys.argv
flavour = Flavour(is_dapr)
agent = "dapr-sdk-dotnet/v1.16.0 grpc-dotnet/2.71.0" if is_dapr else "grpc-dotnet/2.71.0 (.NET 8.0)"


class Wire:
    """A channel, and the calls by name."""

    def __init__(self) -> None:
        address = f"{os.environ['COMPAT_HOST']}:{os.environ['COMPAT_PORT']}"
        options = [("grpc.primary_user_agent", agent), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)

    def call(self, method: str, request: Any, answer: str, seconds: float | None = None) -> Any:
        ask = self.channel.unary_unary(
            SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[answer].FromString,
        )
        return ask(request, timeout=seconds, metadata=self._metadata)

    def stream(self, method: str, request: Any, answer: str) -> Any:
        ask = self.channel.unary_stream(
            SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[answer].FromString,
        )
        return ask(request, metadata=self._metadata)

    @property
    def _metadata(self) -> list[tuple[str, str]]:
        return [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")] if is_dapr else []


class Worker:
    """The stream of items, and the pool that works on them."""

    def __init__(self) -> None:
        self._wire = Wire()
        self._pool = ThreadPoolExecutor(PARALLEL)

    def run(self) -> None:
        """Serve for ever, and come back when the stream ends."""
        while True:
            try:
                self._serve()
            except grpc.RpcError as error:
                print(f"stream ended: {error.code()}", file=sys.stderr, flush=True)
            time.sleep(DAPR_RECONNECT_SECONDS if is_dapr else MICROSOFT_RECONNECT_SECONDS)

    def _serve(self) -> None:
        if is_dapr:
            opened = make("Open")  # because that SDK says nothing of itself, and does not say Hello either
        else:
            self._wire.call("Hello", make("Empty"), "Empty", HELLO_SECONDS)
            opened = make(
                "Open", turns=PARALLEL, activities=PARALLEL, entities=PARALLEL, capabilities=[HISTORY_STREAMING]
            )
        for item in self._wire.stream("GetWorkItems", opened, "Item"):
            if item.HasField("turn"):
                self._pool.submit(self._guarded, self._turn, item)
            elif item.HasField("activity"):
                self._pool.submit(self._guarded, self._activity, item)

    def _guarded(self, work: Any, item: Any) -> None:
        try:
            work(item)
        except Exception as error:  # noqa: BLE001 the item goes to whoever comes next
            print(f"item failed: {error!r}", file=sys.stderr, flush=True)

    def _turn(self, item: Any) -> None:
        turn = item.turn
        past = list(turn.past)
        if turn.streamed:
            past = [*self._history(turn), *past]
        actions, status = Replay(flavour, FLOWS, turn).run(past, list(turn.new))
        done = make("TurnDone", instance=turn.instance, actions=actions, status=status, token=item.token)
        self._wire.call("CompleteOrchestratorTask", done, "Empty")

    def _history(self, turn: Any) -> list[Any]:
        if is_dapr:
            return list(
                self._wire.call("GetInstanceHistory", make("HistoryOf", instance=turn.instance), "Events").events
            )
        asked = make("HistoryOf", instance=turn.instance, execution=text_of(turn, "execution"), for_item=True)
        return [
            event for chunk in self._wire.stream("StreamInstanceHistory", asked, "Events") for event in chunk.events
        ]

    def _activity(self, item: Any) -> None:
        activity = item.activity
        ended = {"instance": activity.instance.id, "number": activity.number, "token": item.token}
        try:
            result = ACTIVITIES[activity.name](json.loads(text_of(activity, "input") or "null"))
        except Exception as error:  # noqa: BLE001 whatever an activity raises is its failure
            done = make("ActivityDone", **ended, failure=failure_of(error))
        else:
            done = make("ActivityDone", **ended, result=json.dumps(result))
        self._wire.call("CompleteActivityTask", done, "Empty")


def worker() -> None:
    """Serve until SIGTERM."""
    serving = Worker()
    threading.Thread(target=serving.run, daemon=True).start()
    print("READY", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # because items may be at a gate


class Client:
    """The client's calls, behind the face that the scenarios know."""

    def __init__(self) -> None:
        self._wire = Wire()

    async def start(self, workflow: str, id: str, input: Any = None) -> str:
        created = make("Create", instance=id, name=workflow, version="", input=json.dumps(input))
        return self._wire.call("StartInstance", created, "Created").instance

    async def state(self, id: str) -> State | None:
        return _state(self._wire.call("GetInstance", make("Get", instance=id, payloads=True), "Got"))

    async def wait(self, id: str, seconds: float) -> State | None:
        asked = make("Get", instance=id, payloads=True)
        return _state(self._wire.call("WaitForInstanceCompletion", asked, "Got", seconds))

    async def raise_event(self, id: str, name: str, data: Any) -> None:
        self._wire.call("RaiseEvent", make("Raise", instance=id, name=name, input=json.dumps(data)), "Empty")

    async def suspend(self, id: str) -> None:
        self._wire.call("SuspendInstance", make("Steer", instance=id, reason="for now"), "Empty")

    async def resume(self, id: str) -> None:
        self._wire.call("ResumeInstance", make("Steer", instance=id, reason="go on"), "Empty")

    async def terminate(self, id: str, output: Any) -> None:
        asked = make("Terminate", instance=id, output=json.dumps(output), recursive=True)
        self._wire.call("TerminateInstance", asked, "Empty")

    async def purge(self, id: str) -> None:
        count = self._wire.call("PurgeInstances", make("Purge", instance=id, recursive=True), "Purged").count
        assert count == (0 if id.endswith("unknown") else 1), f"{count} instances were purged"

    async def ids(self, prefix: str, page: int) -> list[str]:
        return self._listed(page) if is_dapr else self._queried(prefix, page)

    def _listed(self, page: int) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            answer = self._wire.call("ListInstanceIDs", make("ListIds", token=token, page=page), "Ids")
            found += answer.ids
            token = answer.token
            if not token:
                return found

    def _queried(self, prefix: str, page: int) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            asked = make("Query", query=make("Filter", page=page, token=token, prefix=prefix))
            answer = self._wire.call("QueryInstances", asked, "Queried")
            found += [state.instance for state in answer.states]
            token = text_of(answer, "token")
            if not token:
                return found


def _state(got: Any) -> State | None:
    if not got.exists:
        return None
    state = got.state
    details = state.failure if state.HasField("failure") else None
    return State(
        status=STATUSES[state.status],
        output=json.loads(text_of(state, "output") or "null"),
        custom_status=json.loads(text_of(state, "custom") or "null"),
        failure=details and Failure(details.type, details.message, tuple(_causes(details))),
    )


def _causes(details: Any) -> list[str]:
    if not details.HasField("inner"):
        return []
    return [f"{details.inner.type}: {details.inner.message}", *_causes(details.inner)]


if __name__ == "__main__":
    sys.exit(program(worker, Client))
