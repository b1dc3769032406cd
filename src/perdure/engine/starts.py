"""Instances that begin: in the memory of the node that owns them, or through the store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from perdure.actors.message import Message
from perdure.clock import ordered_id
from perdure.codec import Payload
from perdure.engine.auditing import SCHEDULE, Audit
from perdure.engine.claims import start_claiming, take_in
from perdure.engine.instance import Instance
from perdure.engine.node import Node
from perdure.engine.refusals import already_exists
from perdure.engine.shard import Shard
from perdure.errors import InstanceExists, InvalidArgument, StoreUnavailable
from perdure.history.creation import asked_creation, asked_start, pending_head
from perdure.history.entities import is_entity
from perdure.history.events import RunStarted
from perdure.history.work import StartOptions
from perdure.stores.contract import FINISHED, Creation, Head
from perdure.telemetry.metrics import CREATE

START_TRIES_MAX = 20
"""How often `start` tries an id that is taken when it creates and not there when it looks."""
START_PAUSE_SECONDS = 0.002
"""By how much its pauses between tries grow."""


class Starts:
    """Begins instances for the clients of one node."""

    def __init__(self, engine: Node, audit: Audit) -> None:
        self._engine = engine
        self._store = engine.store
        self._audit = audit

    def start(self, name: str, input: Payload | None, options: StartOptions) -> Coroutine[Any, Any, tuple[str, str]]:
        """Not itself a coroutine, because every layer of them costs at each step."""
        engine = self._engine
        if options.app_id not in (None, engine.app):
            raise InvalidArgument(
                f"this client drives app {engine.app!r}, not {options.app_id!r}; open a client for that app"
            )
        if options.id is not None and is_entity(options.id):
            raise InvalidArgument(f"id {options.id[:200]!r} is an entity's; give the instance one without @ in front")
        if options.dedup_key is not None:
            return start_claiming(engine, name, input, options)
        id = options.id or ordered_id(engine.clock)
        if options.kind == SCHEDULE:
            return self._create_schedule(id, name, input, options)
        return self._start(id, name, input, options)

    async def _create_schedule(
        self, id: str, name: str, input: Payload | None, options: StartOptions
    ) -> tuple[str, str]:
        head = await self._store.head(self._engine.shard_of(id), id)
        if head is not None and head.status not in FINISHED:
            raise already_exists(id)  # before it is entered, because apps ask for theirs whenever they open
        async with self._audit.action("schedule.create", id):
            return await self._start(id, name, input, options)

    async def _start(self, id: str, name: str, input: Payload | None, options: StartOptions) -> tuple[str, str]:
        engine = self._engine
        started = asked_start(name, input, options, engine.clock.token(), engine.clock.now())
        try:
            if options.id is None or options.if_exists != "return":
                await self._begin(id, started, options)
                return id, started.execution
            return await self._begin_or_find(id, started, options)
        except Exception:
            if engine.metrics is not None:
                engine.metrics.operation(CREATE, "failed", engine.clock.now() - started.at)
            raise

    async def _begin_or_find(self, id: str, started: RunStarted, options: StartOptions) -> tuple[str, str]:
        for tried in range(START_TRIES_MAX):
            head = await self._store.head(self._engine.shard_of(id), id)
            if head is not None:
                return id, head.execution
            try:
                await self._begin(id, started, options)
                return id, started.execution
            except InstanceExists:
                await asyncio.sleep(START_PAUSE_SECONDS * tried)  # because another start of it may be under way
        raise InstanceExists(f"instance {id!r} is purged and started by others all the time; try again", id)

    async def _begin(self, id: str, started: RunStarted, options: StartOptions) -> None:
        """Begin an instance; it is durable."""
        engine = self._engine
        shard = engine.owner_of(id)
        is_later = options.place is not None or (options.at is not None and options.at > started.at)
        if shard is None or engine.is_remote or is_later:
            await self.create(asked_creation(engine.app, id, started, options))
            return
        try:
            await _begun(shard, pending_head(engine.app, id, started, started.at, kind=options.kind), started)
        except StoreUnavailable:
            if engine.owner_of(id) is shard:
                raise
            # because the shard has moved; a start that was written after all is known by its execution
            await self.create(asked_creation(engine.app, id, started, options))

    async def create(self, new: Creation) -> None:
        """Write a new instance, whose first turn is taken once its mail is found."""
        id, metrics, clock = new.head.id, self._engine.metrics, self._engine.clock
        await self._store.create(self._engine.shard_of(id), new)
        if metrics is not None:
            metrics.created.observe(clock.now() - new.mail.at)
        shard = self._engine.owner_of(id)
        if shard is not None:
            vacate(shard, id)
            take_in(self._engine, new)


def _begun(shard: Shard, head: Head, started: RunStarted) -> asyncio.Future[None]:
    """Take in a new instance on the node that owns it; the future is done once its first turn is durable."""
    if shard.host.detains(head.id) or not vacate(shard, head.id):
        raise already_exists(head.id)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    message = Message(started, None, head.execution, head.generation, answer=done)
    shard.start(Instance(shard, head, is_new=True), message)
    return done


def vacate(shard: Shard, id: str) -> bool:
    """Put a finished instance away; whether nothing with this id is in memory now."""
    actor = shard.host.get(id)
    if actor is None:
        return True
    if not isinstance(actor, Instance) or actor.head.status not in FINISHED or not actor.is_idle:
        return False
    shard.host.drop(actor)
    return True
