"""What clients ask: start, command, wait, look. Direct on the owner of a shard, through the store elsewhere."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.clock import ordered_id
from perdure.codec import Payload
from perdure.engine.answers import Answers
from perdure.engine.auditing import Audit, action_of, is_entered
from perdure.engine.entities import Entities
from perdure.engine.failing import failures
from perdure.engine.gazette import Gazette
from perdure.engine.instance import Instance
from perdure.engine.measuring import measured
from perdure.engine.node import Node
from perdure.engine.post import Post
from perdure.engine.queues import queued_calls
from perdure.engine.readers import Readers
from perdure.engine.references import unreferenced
from perdure.engine.repeats import Repeats
from perdure.engine.rewinding import rewind
from perdure.engine.shard import Shard
from perdure.engine.starts import Starts, vacate
from perdure.engine.topics import Topics
from perdure.engine.waiters import Waiters, events_of, first_of, not_found, replaced
from perdure.errors import (
    InstanceNotFinished,
    InvalidArgument,
    MailboxFull,
    PerdureError,
    StoreUnavailable,
)
from perdure.history.alike import FailureGroup, FailureQuery
from perdure.history.audit_log import LogPage, Principal
from perdure.history.entities import is_entity
from perdure.history.events import (
    MessagePublished,
    RunCompleted,
    RunResumed,
    RunStarted,
    UpdateAnswered,
    UpdateRequested,
    decode_event,
    encode_event,
)
from perdure.history.fork import Reissue
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState, node_states
from perdure.history.published import decode_payload, state_name
from perdure.history.queued import QueueState, queue_states
from perdure.history.state import Explanation, InstanceState, Survey, state_of
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import TopicState
from perdure.history.waiting import WaitState, wait_states
from perdure.history.work import StartOptions
from perdure.paging import each_found
from perdure.stores.contract import FINISHED, Delivery, Head, Inspected, Mail, OpenCall, Query, Stream

PURGE_BATCH = 200


class Operations:
    """Fulfils the client's port for the instances of one engine's app."""

    offloads = False

    def __init__(self, engine: Node, principal: Principal | None = None) -> None:
        self.engine = engine
        self.gazette = Gazette(engine)
        self.audit = Audit(engine.app, engine.store, engine.clock, engine.shard_of, principal)
        self._store = engine.store
        self.waiters = Waiters(engine, self.head_of, self._full)
        self.answers = Answers(engine)
        self.readers = Readers(engine, self.head_of)
        self.post = Post(engine)
        self.entities = Entities(engine, self.post, self.answers)
        self._topics = Topics(engine, self.post)
        self.starts = Starts(engine, self.audit)
        self.repeats = Repeats(engine, self)

    def start_polling(self) -> None:
        self.waiters.start()
        self.answers.start()

    async def stop(self) -> None:
        await self.waiters.stop()
        await self.answers.stop()
        await self.audit.stop()

    # -- start and again ------------------------------------------------------------------------------------------

    def start(self, name: str, input: Payload | None, options: StartOptions) -> Coroutine[Any, Any, tuple[str, str]]:
        return self.starts.start(name, input, options)

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        new = new_id or ordered_id(self.engine.clock)
        async with self.audit.action("rerun", id, from_event=from_event, new=new, replaces_input=replace_input):
            _check_instance(id)
            return await self.repeats.rerun(id, from_event, new, input, replace_input)

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        new = new_id or ordered_id(self.engine.clock)
        async with self.audit.action("rerun", id, from_event=number, new=new, replaces_result=True):
            _check_instance(id)
            return await self.repeats.revise(id, number, new, result)

    async def reissue(self, asked: Reissue) -> str:
        """The id of a new instance that goes on from an action of a finished one; see `perdure.history.fork.reissue`.

        Raises InstanceNotFound, InstanceExists, EventNotRerunnable and InvalidArgument.
        """
        new = asked.instance or ordered_id(self.engine.clock)
        async with self.audit.action("rerun", asked.source, from_event=asked.number, new=new):
            _check_instance(asked.source)
            return await self.repeats.reissue(asked, new)

    async def rewind(self, id: str, reason: Payload | None) -> None:
        """Take a failed run back to before its failure; see `perdure.engine.rewinding`."""
        async with self.audit.action("rewind", id, reason=reason):
            _check_instance(id)
            await rewind(self.engine, self.post, id, reason)

    # -- commands -------------------------------------------------------------------------------------------------

    @measured()
    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        name, details = action_of(event)
        async with self.audit.action(name if is_entered(name, id) else None, id, **details):
            await self._command(id, execution, event, key)

    async def _command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        if type(event) is RunResumed and await self._is_stalled_entity(id):
            await self._mail(id, None, event, key)  # because an entity takes what is no call from its mail
            return
        _check_instance(id)
        shard = self.engine.owner_of(id)
        if shard is None or self.engine.is_remote:
            await self._mail(id, execution, event, key)
            return
        try:
            await self._tell_owner(shard, id, execution, event, key)
        except StoreUnavailable:
            if self.engine.owner_of(id) is shard:
                raise
            await self._mail(id, execution, event, key)  # because the shard has moved; the key makes this harmless

    async def _is_stalled_entity(self, entity: str) -> bool:
        """Whether it is an entity that stands still, which is all that can be resumed of one."""
        head = await self._store.head(self.engine.shard_of(entity), entity) if is_entity(entity) else None
        return head is not None and head.stalled is not None

    async def _tell_owner(self, shard: Shard, id: str, execution: str | None, event: Any, key: str) -> None:
        done = shard.host.promise()
        message = Message(event, key, answer=done)

        def hand_over(actor: Actor | None) -> None:
            if done.done():
                return
            if actor is None:
                done.set_exception(not_found(id))
            elif execution is not None and actor.head.execution != execution:
                done.set_result(None)  # because the run it was meant for is over, and finished runs ignore commands
            else:
                actor.tell(message)

        shard.host.visit(id, hand_over)
        await done

    async def _mail(self, id: str, execution: str | None, event: Any, key: str) -> None:
        shard_id = self.engine.shard_of(id)
        if execution is not None:
            head = await self._store.head(shard_id, id)
            if head is not None and head.execution != execution:
                return
        mail = Mail(id, key, encode_event(event), self.engine.clock.now())
        delivery = await self.post.deliver(mail)
        if delivery == Delivery.NO_INSTANCE:
            raise not_found(id)
        if delivery == Delivery.FULL:
            raise MailboxFull(
                f"the mailbox of {id!r} is full: see why it does not run with explain, then send again", id
            )

    # -- talking ---------------------------------------------------------------------------------------------------

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        async def send() -> None:
            await self._command(id, execution, event, event.key)

        return await self.answers.ask(id, execution, event.key, send, is_repeatable=is_repeatable)

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        return await self.entities.call(id, operation, request, input, chain, is_repeatable=is_repeatable)

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        await self.entities.signal(id, operation, request, input, scheduled)

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        place = state_name(name)
        shard = self.engine.shard_of(id)
        found = (await self._store.published(shard, id, [place])).get(place)
        if found is None or execution is not None:
            await self.head_of(id, execution)
        return None if found is None else decode_payload(found)

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        await self.head_of(id, execution)
        return await self._store.streams(self.engine.shard_of(id), id)

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        return await self.readers.read(id, execution, selection, after, limit, wait)

    # -- topics ---------------------------------------------------------------------------------------------------

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        await self._topics.publish(messages)

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        await self._topics.join(topic, group, options)

    async def leave(self, topic: str, group: str) -> None:
        async with self.audit.action("topic.forget", topic, group=group):
            await self._topics.leave(topic, group)

    async def topics(self) -> list[TopicState]:
        return await self._topics.states()

    # -- waiting --------------------------------------------------------------------------------------------------

    def outcome(self, id: str, execution: str | None, timeout: float | None) -> Coroutine[Any, Any, InstanceState]:
        _check_instance(id)
        return self.waiters.wait(id, execution, timeout)

    def on_finished(self, instance: Instance, completed: RunCompleted) -> None:
        """A run of this node has ended."""
        self.answers.ended(instance.id)
        self.waiters.ended(instance.head, instance.begun, completed)

    def give_up(self, error: PerdureError) -> None:
        """What is waited for may never come, or not here: tell everybody who waits."""
        self.answers.give_up(error)
        self.waiters.give_up(error)

    def taken_over(self) -> None:
        """This node owns more shards now: the last owner may have finished something between two looks."""
        self.waiters.taken_over()
        self.answers.taken_over()

    # -- looking --------------------------------------------------------------------------------------------------

    @measured("get_workflow")
    async def state(self, id: str, execution: str | None) -> InstanceState:
        return await self._full(await self.head_of(id, execution))

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        head = await self.head_of(id, None)
        segments = await self._store.history(self.engine.shard_of(id), id, after, limit)
        events = [event for segment in segments for event in events_of(head.id, segment.events, segment.sequence)]
        return events, segments[-1].sequence if len(segments) == limit else None

    async def all_events(self, id: str) -> list[Any]:
        """The whole history. Raises InstanceNotFound."""
        events: list[Any] = []
        after: int | None = 0
        while after is not None:
            page, after = await self.events(id, after, 1_000)
            events.extend(page)
        if not events:
            raise not_found(id)  # because it was purged meanwhile
        return events

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        page = await self._store.find(msgspec.structs.replace(query, app=self.engine.app), cursor, limit)
        return [state_of(head) for head in page.heads], page.cursor

    async def queues(self) -> list[QueueState]:
        found: list[OpenCall] = []
        for shard in await self._store.shards(self.engine.app):
            found += await queued_calls(self._store, shard)
        return queue_states(found)

    async def nodes(self) -> list[NodeState]:
        store, app = self._store, self.engine.app
        inspected: object = store
        shards = await inspected.shard_states(app) if isinstance(inspected, Inspected) else []
        return node_states(app, await store.members(app), shards, store.lease_seconds)

    async def counts(self) -> dict[str, int]:
        store: object = self._store
        if not isinstance(store, Inspected):
            raise InvalidArgument(f"{store!r} does not count its rows")
        return await store.counts(self.engine.app)

    async def waits(self, id: str) -> list[WaitState]:
        head = await self.head_of(id, None)
        return wait_states(await self._store.waits(self.engine.shard_of(id), id)) if head.status not in FINISHED else []

    async def audited(self, after: int, limit: int) -> LogPage:
        return await self.audit.page(after, limit)

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        return await self.gazette.page(after, limit)

    async def feed(self) -> FeedState:
        return await self.gazette.state()

    async def tell_again(self) -> int:
        async with self.audit.action("feed.retry", ""):
            return await self.gazette.tell_again()

    async def holder(self) -> str | None:
        return await self._store.holder(self.engine.app)

    async def unreferenced(self, names: set[str]) -> set[str]:
        return await unreferenced(self._store, names)

    async def sweep(self, days: int) -> int:
        raise InvalidArgument("nothing is offloaded here; a sweep needs an app or client with Codec(offload=...)")

    async def explain(self, id: str) -> Explanation:
        from perdure.engine.diagnosis.walk import explain  # because who asks why is seldom there at the start

        return await explain(self.engine, await self.head_of(id, None))

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        return await failures(self.engine, asked)

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        from perdure.engine.diagnosis.survey import survey

        return await survey(self.engine, query, cursor, limit)

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        from perdure.engine.diagnosis.topics import explain_topics

        return await explain_topics(self.engine, topic)

    async def head_of(self, id: str, execution: str | None) -> Head:
        head = await self._store.head(self.engine.shard_of(id), id)
        if head is None:
            raise not_found(id)
        if execution is not None and head.execution != execution:
            raise replaced(id)
        return head

    async def _full(self, head: Head) -> InstanceState:
        """The state of an instance with its input, output and failure."""
        shard_id = self.engine.shard_of(head.id)
        started = completed = None
        first = await self._store.history(shard_id, head.id, 0, 1)
        if first:
            started = first_of(RunStarted, events_of(head.id, first[0].events))
        if started is None:
            started = await self._unstarted(shard_id, head)
        if head.status in FINISHED:
            last = await self._store.last_segment(shard_id, head.id)
            if last is not None:
                completed = first_of(RunCompleted, reversed(events_of(head.id, last.events)))
        return state_of(head, started, completed)

    async def _unstarted(self, shard_id: int, head: Head) -> RunStarted | None:
        for loaded in await self._store.load(shard_id, [head.id]):
            for mail in loaded.mail:
                event = decode_event(mail.event)
                if isinstance(event, RunStarted):
                    return event
        return None

    # -- ending ---------------------------------------------------------------------------------------------------

    @measured("purge_workflow")
    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        async with self.audit.action("purge", id, recursive=recursive):
            return await self._purge(id, execution, recursive)

    async def _purge(self, id: str, execution: str | None, recursive: bool) -> int:
        _check_instance(id)
        head = await self.head_of(id, execution)
        if head.status not in FINISHED:
            raise InstanceNotFinished(f"instance {id!r} is {head.status}; terminate or cancel it before the purge", id)
        count = 0
        if recursive:
            for child in await self._children(id):
                if child.status in FINISHED:
                    count += await self._purge(child.id, child.execution, recursive)
        shard = self.engine.owner_of(id)
        if shard is not None:
            vacate(shard, id)
        tells = self.engine.announces
        return count + await self.gazette.purge(self.engine.shard_of(id), [head], tells=tells)

    async def _children(self, id: str) -> list[Head]:
        query = Query(app=self.engine.app, parent=id)
        return [head async for head in each_found(partial(self._store.find, query), PURGE_BATCH)]

    def __repr__(self) -> str:
        return f"<Operations of {self.engine!r}: {len(self.waiters)} instances waited for>"


def _check_instance(id: str) -> None:
    """Raises InvalidArgument for an entity, which has no run that one could steer, wait for or repeat."""
    if is_entity(id):
        raise InvalidArgument(f"{id[:200]!r} is an actor, or another entity, and no workflow; call it, or signal it")
