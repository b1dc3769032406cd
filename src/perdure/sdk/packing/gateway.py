"""The port to clients with a codec in it: clients see plain payloads, the engine packed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from perdure.clock import SystemClock, to_datetime
from perdure.codec import NULL, Codec, Payload
from perdure.errors import InstanceNotFound
from perdure.history.alike import (
    FAILURES_LOOKED_MAX,
    UNKNOWN,
    Failed,
    FailureGroup,
    FailureQuery,
    groups,
    of_stalled,
    rerun_id,
)
from perdure.history.audit_log import LogPage
from perdure.history.events import EventRaised, MessagePublished, RunTerminated, UpdateAnswered, UpdateRequested
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, InstanceState, Survey
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import TopicState
from perdure.history.waiting import WaitState
from perdure.history.work import StartOptions
from perdure.paging import each_found
from perdure.sdk.gateway import Gateway
from perdure.sdk.packing.packer import Packer
from perdure.stores.contract import Query, Status, Stream

INPUT_LOOKS_MAX = 3
"""How often the input of an instance is looked for that shows none."""
PAGE = 200
"""Instances that are read together."""
READS_AT_ONCE = 16
"""Failed instances of which the failure is read at once."""
SWEEP_LOOKS = 2
"""How often the store is searched before a blob is deleted, because a reference may pass from an instance that a look
has not come to yet to one that it has left behind."""


class PackingGateway:
    """A gateway, and a codec between it and the client."""

    def __init__(self, inner: Gateway, codec: Codec) -> None:
        self._inner = inner
        self._codec = codec
        self._packer = Packer(codec)
        self.offloads = codec.blobs is not None

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        key = await self._key(options.tags, None)
        return await self._inner.start(name, await self._codec.packed(input, key), options)

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        if isinstance(event, (EventRaised, RunTerminated)) and not _brings_nothing(event):
            event = await self._packer.pack_slowly(event, await self._key_of(id, execution))
        await self._inner.command(id, execution, event, key)

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        packed = await self._packer.pack_slowly(event, await self._key_of(id, execution))
        answer = await self._inner.update(id, execution, packed, is_repeatable)
        return await self._packer.unpack_slowly(answer)  # type: ignore[no-any-return]

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        packed = await self._packed_input(input)
        answer = await self._inner.call_actor(id, operation, request, packed, chain, is_repeatable)
        return await self._packer.unpack_slowly(answer)  # type: ignore[no-any-return]

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        await self._inner.signal_actor(id, operation, request, await self._packed_input(input), scheduled)

    async def _packed_input(self, input: Payload | None) -> Payload | None:
        """Never offloaded, because a sweep does not look into what actors have delayed."""
        if input is None:
            return None
        return await self._codec.packed(input, await self._key(None, None), offloads=False)

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        key = await self._key(None, None)
        await self._inner.publish([await self._packer.pack_slowly(message, key) for message in messages])

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        await self._inner.join(topic, group, options)

    async def leave(self, topic: str, group: str) -> None:
        await self._inner.leave(topic, group)

    async def topics(self) -> list[TopicState]:
        return await self._inner.topics()

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        found = await self._inner.published(id, execution, name)
        return await self._codec.unpacked(found) if found is not None else None

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        return await self._inner.streams(id, execution)

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        page = await self._inner.items(id, execution, selection, after, limit, wait)
        items = [msgspec.structs.replace(item, value=await self._codec.unpacked(item.value)) for item in page.items]
        return msgspec.structs.replace(page, items=items)

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        state = await self._inner.outcome(id, execution, timeout)
        if state.output is not None:
            # because who waits for a result is to hear why it cannot be read
            state = msgspec.structs.replace(state, output=await self._codec.unpacked(state.output))
        return await self._packer.show(state)  # type: ignore[no-any-return]

    async def state(self, id: str, execution: str | None) -> InstanceState:
        return await self._packer.show(await self._inner.state(id, execution))  # type: ignore[no-any-return]

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        events, cursor = await self._inner.events(id, after, limit)
        return [await self._packer.show(event) for event in events], cursor

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        states, cursor = await self._inner.find(query, cursor, limit)
        return [await self._packer.show(state) for state in states], cursor

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        return await self._inner.purge(id, execution, recursive)

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        if input is not None:
            input = await self._codec.packed(input, await self._key_of(id, None))
        return await self._inner.rerun(id, from_event, new_id, input, replace_input)

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        packed = await self._codec.packed(result, await self._key_of(id, None)) if result is not None else None
        return await self._inner.revise(id, number, new_id, packed)

    async def explain(self, id: str) -> Explanation:
        return await self._inner.explain(id)

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        if self._codec.keys is None:
            return await self._inner.failures(asked)
        # here, because to the engine all that is encrypted is alike
        failed = await self._found(Query(name=asked.name, status=(Status.FAILED,), finished_after=asked.since), asked)
        stalled = await self._found(Query(name=asked.name, stalled=True), asked)
        gate = asyncio.Semaphore(READS_AT_ONCE)
        found = list(await asyncio.gather(*(self._failed(state, gate) for state in failed)))
        found += [each for each in map(of_stalled, stalled) if asked.since is None or each.at >= asked.since]
        return [group for group in groups(found) if asked.fingerprint in (None, group.fingerprint)]

    async def _found(self, query: Query, asked: FailureQuery) -> list[InstanceState]:
        """The newest that a query selects."""
        limit = min(asked.limit, FAILURES_LOOKED_MAX)
        return [state async for state in each_found(partial(self._inner.find, query), PAGE, limit)]

    async def _failed(self, state: InstanceState, gate: asyncio.Semaphore) -> Failed:
        async with gate:
            try:
                failure = (await self.state(state.id, state.execution)).failure
            except InstanceNotFound:
                failure = None  # because it may have been purged meanwhile
            try:
                rerun = await self._inner.state(rerun_id(state.id), None)
            except InstanceNotFound:
                rerun = None
        return Failed(state, failure or UNKNOWN, state.finished or 0, rerun)

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        return await self._inner.explain_all(query, cursor, limit)

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        return await self._inner.explain_topics(topic)

    async def queues(self) -> list[QueueState]:
        return await self._inner.queues()

    async def nodes(self) -> list[NodeState]:
        return await self._inner.nodes()

    async def counts(self) -> dict[str, int]:
        return await self._inner.counts()

    async def waits(self, id: str) -> list[WaitState]:
        return [await self._packer.show(wait) for wait in await self._inner.waits(id)]

    async def audited(self, after: int, limit: int) -> LogPage:
        return await self._inner.audited(after, limit)

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        return await self._inner.notices(after, limit)

    async def feed(self) -> FeedState:
        return await self._inner.feed()

    async def tell_again(self) -> int:
        return await self._inner.tell_again()

    async def holder(self) -> str | None:
        return await self._inner.holder()

    async def unreferenced(self, names: set[str]) -> set[str]:
        return await self._inner.unreferenced(names)

    async def sweep(self, days: int) -> int:
        """Delete blobs of earlier days that nothing in the store refers to; how many."""
        blobs = self._codec.blobs
        if blobs is None:
            return await self._inner.sweep(days)
        newest = (to_datetime(SystemClock().now()) - timedelta(days=days)).strftime("%Y%m%d")
        garbage = {name async for name in blobs.names() if name[:8].isdigit() and name[:8] <= newest}
        for _ in range(SWEEP_LOOKS):
            garbage = await self._inner.unreferenced(garbage) if garbage else garbage
        for name in garbage:
            await blobs.delete(name)
        return len(garbage)

    async def _key(self, tags: dict[str, str] | None, beside: str | None) -> str | None:
        keys = self._codec.keys
        if keys is None or not keys.is_personal:
            return self._codec.key_for(tags, beside)
        return await asyncio.to_thread(keys.choose, tags, beside)  # because a new person's key is written to a disk

    async def _key_of(self, id: str, execution: str | None) -> str | None:
        """The key for what goes to an instance that is there: that of its input."""
        keys = self._codec.keys
        if keys is None or not keys.is_personal:
            return self._codec.key_for(None, None)
        try:
            tags, input = await self._input(id, execution)
        except InstanceNotFound:
            if execution is None:
                raise  # because it may be there a moment later, and then the key has to be its person's
            return self._codec.key_for(None, None)  # because what is for an execution that is gone is never written
        return await self._key(tags, input.key if input is not None else None)

    async def _input(self, id: str, execution: str | None) -> tuple[dict[str, str] | None, Payload | None]:
        """Tags and input of an instance; looked for again while its start passes from its mail into its history."""
        for _ in range(INPUT_LOOKS_MAX - 1):
            state = await self._inner.state(id, execution)
            if state.input is not None:
                return state.tags, state.input
        state = await self._inner.state(id, execution)
        return state.tags, state.input

    def __repr__(self) -> str:
        return f"<PackingGateway {self._codec!r} to {self._inner!r}>"


def _brings_nothing(event: EventRaised | RunTerminated) -> bool:
    """Whether there is nothing to hide, so that one who was forgotten can still be terminated."""
    payload = event.data if isinstance(event, EventRaised) else event.output
    return payload is None or payload.data == NULL
