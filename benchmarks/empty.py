"""A server without an engine: the calls and items of one-activity workflows over grpc.aio, answered with canned bytes.

What it costs is the transport's share. It knows one workflow, which every start begins anew, and finds out which turn
an answer is for by looking for its token. `python -m benchmarks.empty PORT` says `ready` and serves until it is killed.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from benchmarks.load import ORDER, receipt
from perdure.codec import Payload
from perdure.history.events import ActivityCompleted, ActivityScheduled, RunStarted, TurnStarted
from perdure.remote.requests import ActivityItem, InstanceView, TurnItem
from perdure.remote.wire.codec import MICROSOFT
from perdure.remote.wire.instance_answers import write_id
from perdure.remote.wire.payloads import payload_of
from perdure.stores.contract import Status

ID, EXECUTION, AT = "one-1234", "0123456789abcdef0123456789abcdef", 1_760_000_000_000_000
FIRST, SECOND = "token-of-the-first-turn", "token-of-the-second-turn"
Call = Callable[[bytes, Any], Awaitable[bytes]]


class Empty:
    """The calls by their names. A turn's answer brings the activity or the end, an activity's answer the next turn."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[bytes] = asyncio.Queue()
        self._ends = asyncio.Semaphore(0)
        self._view = _view()
        self._first, self._activity, self._second = _items()
        self._started = write_id(ID)
        self.unary: dict[str, Call] = {
            "Hello": self.hello,
            "StartInstance": self.start,
            "CompleteOrchestratorTask": self.complete_turn,
            "CompleteActivityTask": self.complete_activity,
            "WaitForInstanceCompletion": self.wait,
        }

    async def hello(self, data: bytes, context: Any) -> bytes:
        return b""

    async def start(self, data: bytes, context: Any) -> bytes:
        self._items.put_nowait(self._first)
        return self._started

    async def complete_turn(self, data: bytes, context: Any) -> bytes:
        if SECOND.encode() in data:
            self._ends.release()
        else:
            self._items.put_nowait(self._activity)
        return b""

    async def complete_activity(self, data: bytes, context: Any) -> bytes:
        self._items.put_nowait(self._second)
        return b""

    async def wait(self, data: bytes, context: Any) -> bytes:
        await self._ends.acquire()
        return self._view

    async def work_items(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            yield await self._items.get()


def _items() -> tuple[bytes, bytes, bytes]:
    argument, result = _payload(ORDER), _payload(receipt(ORDER))
    began = [TurnStarted(at=AT), RunStarted(at=AT, name="one", input=argument, execution=EXECUTION)]
    asked = ActivityScheduled(at=AT, number=1, name="activity", input=argument)
    told = [TurnStarted(at=AT), ActivityCompleted(at=AT, number=1, result=result)]

    def events(some: list[Any]) -> list[bytes]:
        return MICROSOFT.history_for_work(some, ID, EXECUTION)

    def turn(token: str, past: list[Any], new: list[Any]) -> bytes:
        return MICROSOFT.turn_item(
            TurnItem(instance=ID, execution=EXECUTION, past=events(past), new=events(new), token=token)
        )

    attempt = ActivityItem(
        instance=ID, execution=EXECUTION, number=1, name="activity", token="attempt", input=argument, app="bench"
    )
    return turn(FIRST, [], began), MICROSOFT.activity_item(attempt), turn(SECOND, [*began, asked], told)


def _view() -> bytes:
    view = InstanceView(
        instance=ID,
        name="one",
        status=Status.COMPLETED,
        created=AT,
        updated=AT,
        finished=AT,
        input=_payload(ORDER),
        output=_payload(receipt(ORDER)),
        execution=EXECUTION,
    )
    return MICROSOFT.write_view(view, True)


def _payload(value: Any) -> Payload:
    return payload_of(json.dumps(value))


async def serve(port: int) -> None:
    empty = Empty()
    handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in empty.unary.items()}
    handlers["GetWorkItems"] = grpc.unary_stream_rpc_method_handler(empty.work_items)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("TaskHubSidecarService", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
