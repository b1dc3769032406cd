"""A worker and client of the public protocol that a test drives by hand, over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from perdure.codec import Payload
from perdure.remote.requests import (
    AboutInstance,
    ActivityItem,
    ActivityResult,
    InstanceView,
    OpenStream,
    Pause,
    RaiseEvent,
    StartInstance,
    Terminate,
    TurnItem,
    TurnResult,
)
from perdure.remote.wire.codec import DAPR, Codec
from perdure.remote.wire.framing import unframed
from perdure.remote.wire.payloads import payload_of, text_of

SERVICE = "/TaskHubSidecarService/"
PATIENCE_SECONDS = 30.0


def json(text: str) -> Payload:
    return payload_of(text)


def text(payload: Payload | None) -> str | None:
    return None if payload is None else text_of(payload).decode()


class Peer:
    """One connection. `async with Peer(port) as peer:`"""

    def __init__(self, port: int, codec: Codec = DAPR, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.codec = codec
        self.port = port
        self._metadata = metadata
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def call(self, name: str, data: bytes = b"", timeout: float | None = PATIENCE_SECONDS) -> bytes:
        path = name if name.startswith("/") else SERVICE + name
        answer: bytes = await self._channel.unary_unary(path)(data, timeout=timeout, metadata=self._metadata)
        return answer

    def work(self, **opened: Any) -> Stream:
        """Open a stream of work."""
        request = self.codec.peer.write_open_stream(OpenStream(**opened))
        return Stream(self, self._channel.unary_stream(SERVICE + "GetWorkItems")(request, metadata=self._metadata))

    # -- as a client ----------------------------------------------------------------------------------------------

    async def start(self, name: str, id: str = "", input: str | None = None, **more: Any) -> str:
        asked = StartInstance(name=name, instance=id, input=json(input) if input is not None else None, **more)
        return self.codec.peer.read_started(await self.call("StartInstance", self.codec.peer.write_start(asked)))

    async def view(self, id: str, call: str = "GetInstance") -> InstanceView | None:
        asked = AboutInstance(instance=id, with_payloads=True)
        return self.codec.peer.read_view(await self.call(call, self.codec.peer.write_about(asked)))

    async def ended(self, id: str) -> InstanceView:
        view = await self.view(id, "WaitForInstanceCompletion")
        assert view is not None
        return view

    async def raised(self, id: str, name: str, data: str = "null") -> None:
        await self.call("RaiseEvent", self.codec.peer.write_raise(RaiseEvent(instance=id, name=name, data=json(data))))

    async def terminate(self, id: str, output: str = "null", recursive: bool = True) -> None:
        asked = Terminate(instance=id, output=json(output), recursive=recursive)
        await self.call("TerminateInstance", self.codec.peer.write_terminate(asked))

    async def suspend(self, id: str) -> None:
        await self.call("SuspendInstance", self.codec.peer.write_pause(Pause(instance=id)))

    async def resume(self, id: str) -> None:
        await self.call("ResumeInstance", self.codec.peer.write_pause(Pause(instance=id)))

    # -- as a worker ----------------------------------------------------------------------------------------------

    async def answer(self, item: TurnItem, *actions: Any, **more: Any) -> None:
        """What the code of a turn asked for."""
        result = TurnResult(instance=item.instance, token=item.token, actions=actions, **more)
        await self.call("CompleteOrchestratorTask", self.codec.peer.write_turn_result(result))

    async def finish(self, item: ActivityItem, result: str | None = None, **more: Any) -> None:
        """How an attempt ended."""
        told = ActivityResult(
            instance=item.instance,
            number=item.number,
            token=item.token,
            result=json(result) if result is not None else None,
            **more,
        )
        await self.call("CompleteActivityTask", self.codec.peer.write_activity_result(told))


class Stream:
    """The items that a worker gets."""

    def __init__(self, peer: Peer, call: Any) -> None:
        self._peer = peer
        self._call = call

    async def next(self, seconds: float = PATIENCE_SECONDS) -> TurnItem | ActivityItem:
        """The next piece of work; signs of life are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                data = await self._call.read()
                assert data is not grpc.aio.EOF, "the stream has ended"
                item = self._peer.codec.read_item(data)
                if item is not None:
                    return item  # type: ignore[return-value]

    async def turn(self, seconds: float = PATIENCE_SECONDS) -> TurnItem:
        item = await self.next(seconds)
        assert isinstance(item, TurnItem), item
        return item

    async def activity(self, seconds: float = PATIENCE_SECONDS) -> ActivityItem:
        item = await self.next(seconds)
        assert isinstance(item, ActivityItem), item
        return item

    async def is_silent(self, seconds: float = 0.5) -> bool:
        """Whether nothing comes for a while; the stream is of no use afterwards."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False

    async def status(self) -> grpc.StatusCode:
        """How the stream ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            code: grpc.StatusCode = await self._call.code()
            return code

    async def words(self) -> str:
        """What the server said at its end."""
        return str(await self._call.details())

    def leave(self) -> None:
        self._call.cancel()


def events(peer: Peer, item: TurnItem, which: str = "new") -> list[Any]:
    """The events of a turn, read back."""
    frames = item.new if which == "new" else item.past
    return [peer.codec.read_event(unframed(frame)) for frame in frames]


def names(peer: Peer, item: TurnItem, which: str = "new") -> list[str]:
    return [type(event).__name__ for event in events(peer, item, which)]


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What `condition` gives once that is true; it may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)
