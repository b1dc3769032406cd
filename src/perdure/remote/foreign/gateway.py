"""The port to clients at a server that is no Perdure, by the public protocol; what that has no call for is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from perdure.clock import SystemClock, ordered_id
from perdure.codec import Payload
from perdure.errors import (
    InstanceExists,
    InstanceNotFinished,
    InstanceNotFound,
    NotSupportedByServer,
    ServerUnavailable,
)
from perdure.history.alike import FailureGroup, FailureQuery
from perdure.history.audit_log import LogPage
from perdure.history.events import (
    EventRaised,
    MessagePublished,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, InstanceState, Survey
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import TopicState
from perdure.history.waiting import WaitState
from perdure.history.work import StartOptions
from perdure.remote.foreign.arguments import inward, outward
from perdure.remote.native.channel import Channel
from perdure.remote.requests import (
    AboutInstance,
    Flavour,
    InstanceView,
    Pause,
    Purge,
    RaiseEvent,
    StartInstance,
    Terminate,
)
from perdure.remote.wire.codec import Codec
from perdure.stores.contract import FINISHED, Halt, Query, Stream

_SERVICE = "/TaskHubSidecarService"
WAIT_SECONDS = 60.0
"""One wait for an end, after which another begins: servers there are that cannot wait without a bound."""
TRY_SECONDS = 30.0
"""How long a wait is begun again while the server gives no answer."""
PAUSE_SECONDS = 0.2


class ForeignGateway:
    """Fulfils what the public protocol has calls for."""

    offloads = False

    def __init__(self, channel: Channel, codec: Codec, app: str) -> None:
        self._channel = channel
        self._codec = codec
        self._app = app
        self._clock = SystemClock()

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        """The execution id is "", because the protocol has no word for pinning one."""
        unknown = {
            "queues": options.place,
            "deduplication of starts": options.dedup_key,
            "run timeouts": options.run_timeout,
            "schedules": None if options.kind == "workflow" else options.kind,
        }
        for what, value in unknown.items():
            if value is not None:
                self._lacks(what)
        asked = StartInstance(
            name=name,
            instance=options.id or ordered_id(self._clock),
            input=outward(input),
            version=options.version,
            scheduled=options.at,
            tags=options.tags,
            must_be_new=options.unique,
            trace=options.trace,
        )
        try:
            data = await self._send("StartInstance", self._codec.peer.write_start(asked))
        except InstanceExists as error:
            if options.if_exists == "return":
                return asked.instance, ""
            raise InstanceExists(
                f"instance {asked.instance!r} exists already: {error.args[0]}", asked.instance
            ) from None
        return self._codec.peer.read_started(data) or asked.instance, ""

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        peer = self._codec.peer
        match event:
            case EventRaised():
                data = peer.write_raise(RaiseEvent(instance=id, name=event.name, data=event.data))
                await self._about(id, "RaiseEvent", data)
            case RunTerminated():
                data = peer.write_terminate(Terminate(instance=id, output=event.output, recursive=event.recursive))
                await self._about(id, "TerminateInstance", data)
            case RunSuspended():
                await self._about(id, "SuspendInstance", peer.write_pause(Pause(instance=id, reason=event.reason)))
            case RunResumed():
                await self._about(id, "ResumeInstance", peer.write_pause(Pause(instance=id, reason=event.reason)))
            case _:
                self._lacks("cancellation; terminate the instance, or send it an event")

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        ends = None if timeout is None else time.monotonic() + timeout
        asked = self._codec.peer.write_about(AboutInstance(instance=id, with_payloads=True))
        silent_since = None
        while True:
            left = WAIT_SECONDS if ends is None else min(max(ends - time.monotonic(), 0.001), WAIT_SECONDS)
            try:
                data = await self._send("WaitForInstanceCompletion", asked, left)
                state = self._state(id, self._codec.peer.read_view(data))
                if state.status in FINISHED:
                    return state
                silent_since = None
            except TimeoutError:
                if ends is not None and time.monotonic() >= ends:
                    raise
            except ServerUnavailable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > TRY_SECONDS:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def state(self, id: str, execution: str | None) -> InstanceState:
        asked = self._codec.peer.write_about(AboutInstance(instance=id, with_payloads=True))
        return self._state(id, self._codec.peer.read_view(await self._send("GetInstance", asked)))

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        """All there is, in one page."""
        asked = self._codec.peer.write_about(AboutInstance(instance=id))
        if self._codec.flavour is Flavour.DAPR:
            frames = self._codec.peer.read_history(await self._about(id, "GetInstanceHistory", asked))
        else:
            frames = []
            async for chunk in self._channel.stream(f"{_SERVICE}/StreamInstanceHistory", asked):
                frames += self._codec.peer.read_history(chunk)
        return [self._codec.read_event(frame) for frame in frames], None

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        state = await self.state(id, execution)
        if state.status not in FINISHED:
            raise InstanceNotFinished(f"instance {id!r} is {state.status}; terminate it before the purge", id)
        asked = self._codec.peer.write_purge(Purge(instances=(id,), recursive=recursive))
        return self._codec.peer.read_purged(await self._send("PurgeInstances", asked))

    async def holder(self) -> str | None:
        return f"the server at {self._channel.target.address}"

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        self._lacks("updates; send an event")

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        self._lacks("published state; use the custom status")

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        self._lacks("streams")

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        self._lacks("streams")

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        self._lacks("search for Perdure's clients")

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        self._lacks("reruns that Perdure can ask for")

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        self._lacks("reruns with another result")

    async def explain(self, id: str) -> Explanation:
        self._lacks("explanations")

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        self._lacks("groups of failures")

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        self._lacks("explanations")

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        self._lacks("topics")

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        self._lacks("topics")

    async def leave(self, topic: str, group: str) -> None:
        self._lacks("topics")

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        self._lacks("topics")

    async def topics(self) -> list[TopicState]:
        self._lacks("topics")

    async def queues(self) -> list[QueueState]:
        self._lacks("queues")

    async def nodes(self) -> list[NodeState]:
        self._lacks("a list of its nodes")

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        self._lacks("actors of Perdure's kind")

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        self._lacks("actors of Perdure's kind")

    async def counts(self) -> dict[str, int]:
        self._lacks("counts of instances")

    async def waits(self, id: str) -> list[WaitState]:
        self._lacks("a list of what an instance waits for")

    async def audited(self, after: int, limit: int) -> LogPage:
        self._lacks("an audit log that Perdure can read")

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        self._lacks("a lifecycle feed")

    async def feed(self) -> FeedState:
        self._lacks("a lifecycle feed")

    async def tell_again(self) -> int:
        self._lacks("a lifecycle feed")

    async def unreferenced(self, names: set[str]) -> set[str]:
        self._lacks("a look through its store")

    async def sweep(self, days: int) -> int:
        self._lacks("offloaded payloads")

    def _lacks(self, what: str) -> NoReturn:
        address = self._channel.target.address
        raise NotSupportedByServer(f"the server at {address} is no Perdure and has no {what}; or use `perdure serve`")

    async def _about(self, id: str, name: str, data: bytes) -> bytes:
        try:
            return await self._send(name, data)
        except InstanceNotFound as error:
            raise InstanceNotFound(f"no instance {id!r}: {error.args[0]}", id) from None

    async def _send(self, name: str, data: bytes, timeout: float | None = None) -> bytes:
        return await self._channel.send(f"{_SERVICE}/{name}", data, timeout)

    def _state(self, id: str, view: InstanceView | None) -> InstanceState:
        if view is None:
            raise InstanceNotFound(f"no instance {id!r}", id)
        halted = Halt(reason="", since=view.updated)
        return InstanceState(
            id=view.instance,
            app=self._app,
            name=view.name,
            status=view.status,
            execution=view.execution or "",
            generation=1,
            created=view.created,
            updated=view.updated,
            finished=view.finished or (view.updated if view.status in FINISHED else None),
            input=inward(view.input) if view.input is not None else None,
            output=view.output,
            custom_status=view.custom_status,
            failure=view.failure,
            tags=dict(view.tags) if view.tags else None,
            parent=view.parent,
            suspended=halted if view.is_suspended else None,
            stalled=halted if view.is_stalled else None,
            version=view.version,
        )

    def __repr__(self) -> str:
        return f"<ForeignGateway {self._channel!r} ({self._codec.flavour})>"
