"""What clients ask: start, command, wait, look. Direct on the owner of a shard, through the store elsewhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import msgspec

from perdure.actors.message import Message
from perdure.actors.rounds import Rounds
from perdure.clock import ordered_id
from perdure.codec import Payload
from perdure.engine.answers import Answers
from perdure.engine.claims import start_claiming, take_in
from perdure.engine.diagnosis import explain
from perdure.engine.instance import Instance, already_exists
from perdure.engine.node import Node
from perdure.engine.queues import queued_calls
from perdure.engine.readers import Readers
from perdure.engine.references import unreferenced
from perdure.engine.shard import Shard
from perdure.errors import (
    EventNotRerunnable,
    HistoryCorrupt,
    InstanceExists,
    InstanceFinished,
    InstanceNotFinished,
    InstanceNotFound,
    InvalidArgument,
    MailboxFull,
)
from perdure.history.creation import asked_creation, asked_start, pending_head
from perdure.history.events import (
    RunCompleted,
    RunStarted,
    UpdateAnswered,
    UpdateRequested,
    decode_event,
    decode_segment,
    encode_event,
)
from perdure.history.fork import fork
from perdure.history.published import decode_payload, state_name
from perdure.history.queued import QueueState, queue_states
from perdure.history.state import Explanation, InstanceState, state_of
from perdure.history.streams import Selection, StreamPage
from perdure.history.work import StartOptions
from perdure.stores.contract import FINISHED, Creation, Delivery, Head, Mail, OpenCall, Query, Segment, Stream

RESULT_POLL_SECONDS = 0.02
"""How soon a node that does not own an instance looks whether it has finished: one read for all who wait."""
RESULT_POLL_SECONDS_MAX = 0.25
"""How far that pause grows while nothing finishes."""
PURGE_BATCH = 200
START_TRIES_MAX = 20
"""How often `start` tries an id that is taken when it creates and not there when it looks."""
START_PAUSE_SECONDS = 0.002
"""By how much its pauses between tries grow."""


class Operations:
    """Fulfils the client's port for the instances of one engine's app."""

    offloads = False

    def __init__(self, engine: Node) -> None:
        self._engine = engine
        self._store = engine.store
        self._waiters: dict[str, list[tuple[str | None, asyncio.Future[InstanceState]]]] = defaultdict(list)
        self._poll = Rounds("results", self._poll_round)
        self._pause = RESULT_POLL_SECONDS
        self._unsure: set[str] = set()
        self.answers = Answers(engine)
        self.readers = Readers(engine, self._head)

    def start_polling(self) -> None:
        self._poll.start()
        self.answers.start()

    async def stop(self) -> None:
        await self._poll.stop()
        await self.answers.stop()
        for waiters in self._waiters.values():
            for _, future in waiters:
                future.cancel()
        self._waiters.clear()

    # -- start ----------------------------------------------------------------------------------------------------

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        engine = self._engine
        if options.app_id not in (None, engine.app):
            raise InvalidArgument(
                f"this client drives app {engine.app!r}, not {options.app_id!r}; open a client for that app"
            )
        if options.dedup_key is not None:
            return await start_claiming(engine, name, input, options)
        id = options.id or ordered_id(engine.clock)
        if options.id is None or options.if_exists != "return":
            return id, await self._start(id, name, input, options)
        for tried in range(START_TRIES_MAX):
            head = await self._store.head(engine.shard_of(id), id)
            if head is not None:
                return id, head.execution
            try:
                return id, await self._start(id, name, input, options)
            except InstanceExists:
                await asyncio.sleep(START_PAUSE_SECONDS * tried)  # because another start of it may be under way
        raise InstanceExists(f"instance {id!r} is purged and started by others all the time; try again", id)

    async def _start(self, id: str, name: str, input: Payload, options: StartOptions) -> str:
        """Begin an instance; its execution."""
        engine = self._engine
        now = engine.clock.now()
        started = asked_start(name, input, options, engine.clock.token(), now)
        shard = engine.owner_of(id)
        if shard is None or options.place is not None or (options.at is not None and options.at > now):
            await self._create(asked_creation(engine.app, id, started, options))
        else:
            await _begin(shard, pending_head(engine.app, id, started, now, kind=options.kind), started)
        return started.execution

    async def _create(self, new: Creation) -> None:
        """Write a new instance, whose first turn is taken once its mail is found."""
        id = new.head.id
        await self._store.create(self._engine.shard_of(id), new)
        shard = self._engine.owner_of(id)
        if shard is not None:
            _vacate(shard, id)
            take_in(self._engine, new)

    # -- commands -------------------------------------------------------------------------------------------------

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        shard = self._engine.owner_of(id)
        if shard is None:
            await self._mail(id, execution, event, key)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        message = Message(event, key, answer=_answering(done))

        def hand_over(actor: Any) -> None:
            if actor is None:
                done.set_exception(_not_found(id))
            elif execution is not None and actor.head.execution != execution:
                done.set_result(None)  # because the run it was meant for is over, and finished runs ignore commands
            else:
                actor.tell(message)

        shard.host.visit(id, hand_over)
        await done

    async def _mail(self, id: str, execution: str | None, event: Any, key: str) -> None:
        shard_id = self._engine.shard_of(id)
        if execution is not None:
            head = await self._store.head(shard_id, id)
            if head is not None and head.execution != execution:
                return
        mail = Mail(id, key, encode_event(event), self._engine.clock.now())
        (delivery,) = await self._store.deliver(shard_id, [mail])
        if delivery == Delivery.NO_INSTANCE:
            raise _not_found(id)
        if delivery == Delivery.FULL:
            raise MailboxFull(
                f"the mailbox of {id!r} is full: see why it does not run with explain, then send again", id
            )

    # -- talking ---------------------------------------------------------------------------------------------------

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        async def send() -> None:
            await self.command(id, execution, event, event.key)

        return await self.answers.ask(id, execution, event.key, send, is_repeatable=is_repeatable)

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        place = state_name(name)
        shard = self._engine.shard_of(id)
        found = (await self._store.published(shard, id, [place])).get(place)
        if found is None or execution is not None:
            await self._head(id, execution)
        return None if found is None else decode_payload(found)

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        await self._head(id, execution)
        return await self._store.streams(self._engine.shard_of(id), id)

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        return await self.readers.read(id, execution, selection, after, limit, wait)

    # -- waiting --------------------------------------------------------------------------------------------------

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        future: asyncio.Future[InstanceState] = asyncio.get_running_loop().create_future()
        waiters = self._waiters[id]
        entry = (execution, future)
        waiters.append(entry)
        try:
            if not self._engine.runs(id, execution):
                finished = await self._finished(id, execution)
                if finished is not None:
                    return finished
                self._pause = RESULT_POLL_SECONDS
                self._poll.wake()
            if timeout is None:
                return await future
            async with asyncio.timeout(timeout):
                return await future
        finally:
            if entry in waiters:
                waiters.remove(entry)
            if not waiters:
                self._waiters.pop(id, None)

    def on_finished(self, head: Head, completed: RunCompleted) -> None:
        """A run of this node has ended."""
        self.answers.ended(head.id)
        if head.id in self._waiters:
            self._tell(state_of(head, None, completed))

    def _tell(self, state: InstanceState) -> None:
        for execution, future in self._waiters.get(state.id, ()):
            if not future.done() and execution in (None, state.execution):
                future.set_result(state)

    async def _finished(self, id: str, execution: str | None) -> InstanceState | None:
        head = await self._head(id, execution)
        return await self._full(head) if head.status in FINISHED else None

    async def _poll_round(self) -> float | None:
        """One read for everybody who waits for an instance that this node does not own."""
        unsure, self._unsure = self._unsure, set()
        ids = [id for id in self._waiters if id in unsure or self._engine.owner_of(id) is None]
        if not ids:
            return None if not self._waiters else RESULT_POLL_SECONDS_MAX
        by_shard: dict[int, list[str]] = defaultdict(list)
        for id in ids:
            by_shard[self._engine.shard_of(id)].append(id)
        found = False
        for shard_id, members in by_shard.items():
            heads = await self._store.heads(shard_id, members)
            for id in set(members) - {head.id for head in heads}:
                self._dismiss(id, None)
            for head in heads:
                if head.status in FINISHED or self._replaced(head):
                    found = True
                    await self._resolve(head)
        self._pause = RESULT_POLL_SECONDS if found else min(self._pause * 1.5, RESULT_POLL_SECONDS_MAX)
        return self._pause

    def taken_over(self) -> None:
        """This node owns more shards now: the last owner may have finished something between two looks."""
        self._unsure.update(self._waiters)
        self._poll.wake()
        self.answers.taken_over()

    def _replaced(self, head: Head) -> bool:
        return any(execution not in (None, head.execution) for execution, _ in self._waiters.get(head.id, ()))

    async def _resolve(self, head: Head) -> None:
        if head.status in FINISHED:
            self._tell(await self._full(head))
        self._dismiss(head.id, head.execution)

    def _dismiss(self, id: str, execution: str | None) -> None:
        """Tell those who wait for another execution than this one (None: there is no instance) that it is gone."""
        for awaited, future in self._waiters.get(id, ()):
            if (execution is None or awaited not in (None, execution)) and not future.done():
                future.set_exception(_not_found(id))

    # -- looking --------------------------------------------------------------------------------------------------

    async def state(self, id: str, execution: str | None) -> InstanceState:
        return await self._full(await self._head(id, execution))

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        head = await self._head(id, None)
        segments = await self._store.history(self._engine.shard_of(id), id, after, limit)
        events = [event for segment in segments for event in _read(head.id, segment)]
        return events, segments[-1].sequence if len(segments) == limit else None

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        page = await self._store.find(msgspec.structs.replace(query, app=self._engine.app), cursor, limit)
        return [state_of(head) for head in page.heads], page.cursor

    async def queues(self) -> list[QueueState]:
        found: list[OpenCall] = []
        for shard in await self._store.shards(self._engine.app):
            found += await queued_calls(self._store, shard)
        return queue_states(found)

    async def holder(self) -> str | None:
        return await self._store.holder(self._engine.app)

    async def unreferenced(self, names: set[str]) -> set[str]:
        return await unreferenced(self._store, names)

    async def sweep(self, days: int) -> int:
        raise InvalidArgument("nothing is offloaded here; a sweep needs an app or client with Codec(offload=...)")

    async def explain(self, id: str) -> Explanation:
        return await explain(self._store, self._engine.app, self._engine.shard_of, await self._head(id, None))

    async def _head(self, id: str, execution: str | None) -> Head:
        head = await self._store.head(self._engine.shard_of(id), id)
        if head is None:
            raise _not_found(id)
        if execution is not None and head.execution != execution:
            raise InstanceNotFound(
                f"the execution of {id!r} that this handle is for is gone; client.get(id) means the newest", id
            )
        return head

    async def _full(self, head: Head) -> InstanceState:
        """The state of an instance with its input, output and failure."""
        shard_id = self._engine.shard_of(head.id)
        started = completed = None
        first = await self._store.history(shard_id, head.id, 0, 1)
        if first:
            started = next((e for e in _read(head.id, first[0]) if isinstance(e, RunStarted)), None)
        if started is None:
            started = await self._unstarted(shard_id, head)
        if head.status in FINISHED:
            last = await self._store.last_segment(shard_id, head.id)
            if last is not None:
                completed = next((e for e in reversed(_read(head.id, last)) if isinstance(e, RunCompleted)), None)
        return state_of(head, started, completed)

    async def _unstarted(self, shard_id: int, head: Head) -> RunStarted | None:
        for loaded in await self._store.load(shard_id, [head.id]):
            for mail in loaded.mail:
                event = decode_event(mail.event)
                if isinstance(event, RunStarted):
                    return event
        return None

    # -- ending ---------------------------------------------------------------------------------------------------

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        head = await self._head(id, execution)
        if head.status not in FINISHED:
            raise InstanceNotFinished(f"instance {id!r} is {head.status}; terminate or cancel it before the purge", id)
        count = 0
        if recursive:
            for child in await self._children(id):
                if child.status in FINISHED:
                    count += await self.purge(child.id, child.execution, recursive)
        shard = self._engine.owner_of(id)
        if shard is not None:
            _vacate(shard, id)
        return count + len(await self._store.purge(self._engine.shard_of(id), [id]))

    async def _children(self, id: str) -> list[Head]:
        found: list[Head] = []
        cursor: str | None = None
        while True:
            page = await self._store.find(Query(app=self._engine.app, parent=id), cursor, PURGE_BATCH)
            found.extend(page.heads)
            cursor = page.cursor
            if cursor is None:
                return found

    async def rerun(
        self, id: str, from_event: int, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        head = await self._head(id, None)
        if head.status not in FINISHED:
            raise InstanceNotFinished(f"instance {id!r} is {head.status}; only a finished one can be rerun", id)
        engine = self._engine
        now, execution = engine.clock.now(), engine.clock.token()
        new = new_id or ordered_id(engine.clock)
        if new == id:
            raise InstanceFinished("a rerun is a new instance; give it an id of its own", id)
        events: list[Any] = []
        after: int | None = 0
        while after is not None:
            page, after = await self.events(id, after, 1_000)
            events.extend(page)
        if not events:
            raise _not_found(id)  # because it was purged meanwhile
        forked = fork(id, events, from_event, execution, now, input, replace_input)
        if forked is None:
            raise EventNotRerunnable(
                f"history of {id!r} has no activity, timer or child numbered {from_event}; see `perdure history {id}`",
                id,
            )
        first = next((e for e in (*forked.history, *forked.arrivals) if isinstance(e, RunStarted)), None)
        if first is None:
            raise HistoryCorrupt(f"history of {id!r} does not begin with its start")
        head = pending_head(engine.app, new, first, now)
        mail = Mail(new, f"{head.execution}.start", encode_event(forked), now, head.execution, head.generation)
        await self._create(Creation(head, mail))
        return new, execution

    def __repr__(self) -> str:
        return f"<Operations of {self._engine!r}: {len(self._waiters)} instances waited for>"


def _begin(shard: Shard, head: Head, started: RunStarted) -> asyncio.Future[None]:
    """Take in a new instance on the node that owns it; the future is done once its first turn is durable."""
    if shard.host.detains(head.id) or not _vacate(shard, head.id):
        raise already_exists(head.id)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    message = Message(started, None, head.execution, head.generation, answer=_answering(done))
    shard.start(Instance(shard, head, is_new=True), message)
    return done


def _vacate(shard: Shard, id: str) -> bool:
    """Put a finished instance away; whether nothing with this id is in memory now."""
    actor = shard.host.get(id)
    if actor is None:
        return True
    if not isinstance(actor, Instance) or actor.head.status not in FINISHED or not actor.is_idle:
        return False
    shard.host.drop(actor)
    return True


def _answering(done: asyncio.Future[None]) -> Any:
    def answer(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    return answer


def _read(id: str, segment: Segment) -> list[Any]:
    try:
        return decode_segment(segment.events)
    except ValueError as error:
        raise HistoryCorrupt(f"segment {segment.sequence} of {id!r} cannot be read: {error}") from error


def _not_found(id: str) -> InstanceNotFound:
    return InstanceNotFound(f"no instance {id[:200]!r}; `perdure list` shows those there are", id)
