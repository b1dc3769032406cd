"""The client's port for a test: each request runs the virtual world until it is answered, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from perdure.clock import ordered_id
from perdure.codec import Payload
from perdure.errors import InstanceNotFound, NothingMoves, NotOpen
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
from perdure.sdk.client import Client
from perdure.sdk.gateway import Gateway
from perdure.sdk.loop import running_loop
from perdure.stores.contract import FINISHED, Query, Stream
from perdure.testing.lives import Lives
from perdure.testing.loop import Deadlock, Spin

T = TypeVar("T")
_ADVICE = "raise an event, now or with env.later, or let the workflow set a timer"


class BridgeClient(Client):
    """A client for any event loop, because the world's own runs inside its calls. Workflow code is refused as ever."""

    @property
    def gateway(self) -> Gateway:
        if running_loop() is None:
            self._loop = _get_running_loop()
        return super().gateway


class Bridge:
    """A `Gateway` that works from any event loop, and from none: it lets the world's own loop run inside the call.

    Asked from inside the world (by an activity, or a scenario under `Environment.run`) it answers as any gateway does.
    """

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._loop = lives.loop
        self._view = lives.view
        self._awaited: dict[str, None] = {}
        self.is_open = True

    def drive(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the world until `work` is done. Raises NothingMoves if it never will be, NotOpen after the end."""
        __tracebackhide__ = True
        self.check_open()
        self._awaited.clear()
        try:
            return self._loop.run(work())
        except Deadlock:
            raise NothingMoves(f"{self._told()}; nothing in this test moves it: {_ADVICE}") from None
        except Spin as error:
            raise NothingMoves(f"{self._told()}; {error}: does a workflow go on for ever?") from None

    def _told(self) -> str:
        """What the test waits for, as well as it is known."""
        if not self._awaited:
            return "the test awaits what never comes"
        told = [self._loop.run(self._view.explain(id)).sentence.rstrip(".") for id in self._awaited]
        return "the test awaits a result, and " + "; ".join(told)

    async def enter(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `drive`, from a coroutine of any loop."""
        __tracebackhide__ = True
        return await work() if self._loop.is_current else self.drive(work)

    def check_open(self) -> None:
        if not self.is_open:
            raise NotOpen("the environment of this test is closed; use it, and its handles, before the test ends")

    # -- the port ---------------------------------------------------------------------------------------------

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        id = options.id or ordered_id(self._lives.clock)
        named = msgspec.structs.replace(options, id=id)

        async def work() -> tuple[str, str]:
            before = await self._execution(id)
            return await self._lives.ask(lambda asked: self._start(asked, name, input, named, before))

        return await self.enter(work)

    async def _start(
        self, asked: Gateway, name: str, input: Payload, options: StartOptions, before: str | None
    ) -> tuple[str, str]:
        assert options.id is not None
        now = await self._execution(options.id)
        if now is not None and now != before:
            return options.id, now  # because an earlier try was written before its process died
        return await asked.start(name, input, options)

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        async def work() -> None:
            for _ in range(1 + self._lives.trial.happens("twice")):
                await self._lives.ask(lambda asked: asked.command(id, execution, event, key))

        await self.enter(work)

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        async def work() -> UpdateAnswered:
            # as one that may come twice, because the process that was asked may have died
            return await self._lives.ask(lambda asked: asked.update(id, execution, event, True))

        return await self.enter(work)

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        async def work() -> UpdateAnswered:
            return await self._lives.ask(lambda asked: asked.call_actor(id, operation, request, input, chain, True))

        return await self.enter(work)

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        async def work() -> None:
            await self._lives.ask(lambda asked: asked.signal_actor(id, operation, request, input, scheduled))

        await self.enter(work)

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        return await self.enter(lambda: self._view.published(id, execution, name))

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        return await self.enter(lambda: self._view.streams(id, execution))

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        __tracebackhide__ = True

        async def work() -> StreamPage:
            while True:
                page = await self._view.items(id, execution, selection, after, limit, wait=False)
                if page.items or page.ended or not wait:
                    return page
                await self._lives.changes.next()

        return await self.enter(work)

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        __tracebackhide__ = True

        async def work() -> InstanceState:
            self._awaited[id] = None
            try:
                async with asyncio.timeout(timeout):
                    state = await self._outcome(id, execution)
            except Exception:
                self._awaited.pop(id, None)
                raise
            self._awaited.pop(id, None)  # but not when it is given up, because that has to be told
            return state

        return await self.enter(work)

    async def _outcome(self, id: str, execution: str | None) -> InstanceState:
        while True:
            head = await self._lives.head(id)
            if head is None or head.status in FINISHED or execution not in (None, head.execution):
                return await self._view.state(id, execution)
            if head.stalled is not None:
                raise NothingMoves((await self._view.explain(id)).sentence)
            await self._lives.changes.next()

    async def state(self, id: str, execution: str | None) -> InstanceState:
        return await self.enter(lambda: self._view.state(id, execution))

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        return await self.enter(lambda: self._view.events(id, after, limit))

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        return await self.enter(lambda: self._view.find(query, cursor, limit))

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        async def work() -> int:
            await self._view.state(id, execution)  # because it must be there before the first try
            return await self._lives.ask(lambda asked: self._purge(asked, id, execution, recursive))

        return await self.enter(work)

    async def _purge(self, asked: Gateway, id: str, execution: str | None, recursive: bool) -> int:
        try:
            return await asked.purge(id, execution, recursive)
        except InstanceNotFound:
            return 1  # because an earlier try was written before its process died

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        new = new_id or ordered_id(self._lives.clock)
        return await self._begun(new, lambda asked: asked.rerun(id, from_event, new, input, replace_input))

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        new = new_id or ordered_id(self._lives.clock)
        return await self._begun(new, lambda asked: asked.revise(id, number, new, result))

    async def _begun(
        self, new: str, begin: Callable[[Gateway], Coroutine[Any, Any, tuple[str, str]]]
    ) -> tuple[str, str]:
        """Begin an instance, however many processes that takes."""

        async def again(asked: Gateway, before: str | None) -> tuple[str, str]:
            now = await self._execution(new)
            if now is not None and now != before:
                return new, now
            return await begin(asked)

        async def work() -> tuple[str, str]:
            before = await self._execution(new)
            return await self._lives.ask(lambda asked: again(asked, before))

        return await self.enter(work)

    async def explain(self, id: str) -> Explanation:
        return await self.enter(lambda: self._view.explain(id))

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        return await self.enter(lambda: self._view.failures(asked))

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        return await self.enter(lambda: self._view.explain_all(query, cursor, limit))

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        return await self.enter(lambda: self._view.explain_topics(topic))

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        await self.enter(lambda: self._view.publish(messages))

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        await self.enter(lambda: self._view.join(topic, group, options))

    async def leave(self, topic: str, group: str) -> None:
        await self.enter(lambda: self._view.leave(topic, group))

    async def topics(self) -> list[TopicState]:
        return await self.enter(self._view.topics)

    async def queues(self) -> list[QueueState]:
        return await self.enter(self._view.queues)

    async def nodes(self) -> list[NodeState]:
        return await self.enter(self._view.nodes)

    async def counts(self) -> dict[str, int]:
        return await self.enter(self._view.counts)

    async def waits(self, id: str) -> list[WaitState]:
        return await self.enter(lambda: self._view.waits(id))

    async def audited(self, after: int, limit: int) -> LogPage:
        return await self.enter(lambda: self._view.audited(after, limit))

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        return await self.enter(lambda: self._view.notices(after, limit))

    async def feed(self) -> FeedState:
        return await self.enter(self._view.feed)

    async def tell_again(self) -> int:
        return await self.enter(self._view.tell_again)

    async def holder(self) -> str | None:
        return await self.enter(self._view.holder)

    @property
    def offloads(self) -> bool:
        return self._view.offloads

    async def unreferenced(self, names: set[str]) -> set[str]:
        return await self.enter(lambda: self._view.unreferenced(names))

    async def sweep(self, days: int) -> int:
        return await self.enter(lambda: self._view.sweep(days))

    async def _execution(self, id: str) -> str | None:
        head = await self._lives.head(id)
        return head.execution if head is not None else None

    def __repr__(self) -> str:
        return f"<Bridge to app {self._lives.app}: {'open' if self.is_open else 'closed'}, {self._loop!r}>"
