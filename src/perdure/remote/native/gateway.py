"""The port to clients over a wire: what the engine of a server answers, as if it were in this process."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.clock import SystemClock, ordered_id
from perdure.codec import Payload
from perdure.errors import InstanceExists, ServerUnavailable
from perdure.history.alike import FailureGroup, FailureQuery
from perdure.history.audit_log import LogPage
from perdure.history.events import MessagePublished, UpdateAnswered, UpdateRequested
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, InstanceState, Survey
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import TopicState
from perdure.history.waiting import WaitState
from perdure.history.work import StartOptions
from perdure.remote.native.calls import CALLS
from perdure.remote.native.channel import Channel
from perdure.stores.contract import Query, Stream

TRY_SECONDS = 30.0
"""How long a call that may be repeated is tried while the server gives no answer: it may be started again meanwhile."""
PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 2.0
"""Between two tries: the first pause, and how far it grows. Each is shortened by chance, by up to half."""


class RemoteGateway:
    """Fulfils the clients' port by calls. What may be repeated is, while no answer comes; the rest says so."""

    offloads = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._clock = SystemClock()

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        """An id is made here if none is given, so that a start may be tried again and still be one."""
        if options.id is not None or options.dedup_key is not None:
            may_repeat = options.dedup_key is not None or options.if_exists == "return"
            started: tuple[str, str] = await self._ask("start", name, input, options, may_repeat=may_repeat)
            return started
        named = msgspec.structs.replace(options, id=ordered_id(self._clock))
        try:
            started = await self._ask("start", name, input, named)
        except InstanceExists as error:
            # because nobody else makes this id: an earlier try has begun it, and its answer was lost
            state = await self.state(error.instance_id, None)
            return state.id, state.execution
        return started

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        await self._ask("command", id, execution, event, key)

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        return await self._ask("update", id, execution, event, True)  # type: ignore[no-any-return]

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        return await self._ask("call_actor", id, operation, request, input, chain, True)  # type: ignore[no-any-return]

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        await self._ask("signal_actor", id, operation, request, input, scheduled)

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        return await self._ask("published", id, execution, name)  # type: ignore[no-any-return]

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        return await self._ask("streams", id, execution)  # type: ignore[no-any-return]

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        return await self._ask("items", id, execution, selection, after, limit, wait)  # type: ignore[no-any-return]

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        """The server is told what is left of `timeout` with each try."""
        ends = None if timeout is None else time.monotonic() + timeout

        def left() -> tuple[Any, ...]:
            return id, execution, None if ends is None else max(ends - time.monotonic(), 0.0)

        return await self._repeat("outcome", left)  # type: ignore[no-any-return]

    async def state(self, id: str, execution: str | None) -> InstanceState:
        return await self._ask("state", id, execution)  # type: ignore[no-any-return]

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        return await self._ask("events", id, after, limit)  # type: ignore[no-any-return]

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        return await self._ask("find", query, cursor, limit)  # type: ignore[no-any-return]

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        return await self._ask("purge", id, execution, recursive, may_repeat=False)  # type: ignore[no-any-return]

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        return await self._ask("rerun", id, from_event, new_id, input, replace_input, may_repeat=False)  # type: ignore[no-any-return]

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        return await self._ask("revise", id, number, new_id, result, may_repeat=False)  # type: ignore[no-any-return]

    async def explain(self, id: str) -> Explanation:
        return await self._ask("explain", id)  # type: ignore[no-any-return]

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        return await self._ask("failures", asked)  # type: ignore[no-any-return]

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        return await self._ask("explain_all", query, cursor, limit)  # type: ignore[no-any-return]

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        return await self._ask("explain_topics", topic)  # type: ignore[no-any-return]

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        await self._ask("publish", list(messages))

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        await self._ask("join", topic, group, options)

    async def leave(self, topic: str, group: str) -> None:
        await self._ask("leave", topic, group)

    async def topics(self) -> list[TopicState]:
        return await self._ask("topics")  # type: ignore[no-any-return]

    async def queues(self) -> list[QueueState]:
        return await self._ask("queues")  # type: ignore[no-any-return]

    async def nodes(self) -> list[NodeState]:
        return await self._ask("nodes")  # type: ignore[no-any-return]

    async def counts(self) -> dict[str, int]:
        return await self._ask("counts")  # type: ignore[no-any-return]

    async def waits(self, id: str) -> list[WaitState]:
        return await self._ask("waits", id)  # type: ignore[no-any-return]

    async def audited(self, after: int, limit: int) -> LogPage:
        return await self._ask("audited", after, limit)  # type: ignore[no-any-return]

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        return await self._ask("notices", after, limit)  # type: ignore[no-any-return]

    async def feed(self) -> FeedState:
        return await self._ask("feed")  # type: ignore[no-any-return]

    async def tell_again(self) -> int:
        return await self._ask("tell_again")  # type: ignore[no-any-return]

    async def holder(self) -> str | None:
        return await self._ask("holder")  # type: ignore[no-any-return]

    async def unreferenced(self, names: set[str]) -> set[str]:
        return await self._ask("unreferenced", names)  # type: ignore[no-any-return]

    async def sweep(self, days: int) -> int:
        return await self._ask("sweep", days)  # type: ignore[no-any-return]

    async def _ask(self, name: str, *arguments: Any, may_repeat: bool = True) -> Any:
        if not may_repeat:
            return await self._channel.ask(CALLS[name], *arguments)
        return await self._repeat(name, lambda: arguments)

    async def _repeat(self, name: str, arguments: Callable[[], tuple[Any, ...]]) -> Any:
        tries, silent_since = 0, None
        while True:
            begun = time.monotonic()
            try:
                return await self._channel.ask(CALLS[name], *arguments())
            except ServerUnavailable:
                now = time.monotonic()
                # because a wait that was heard for a while was not in vain
                silent_since = now if silent_since is None or now - begun > PAUSE_SECONDS_MAX else silent_since
                if now - silent_since > TRY_SECONDS:
                    raise
            await asyncio.sleep(min(PAUSE_SECONDS * 2.0**tries, PAUSE_SECONDS_MAX) * (1 - random.random() / 2))
            tries = min(tries + 1, 10)

    def __repr__(self) -> str:
        return f"<RemoteGateway {self._channel!r}>"
