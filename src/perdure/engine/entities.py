"""What clients ask about entities: signal, call, remind, get, find, delete, clean up."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.codec import Payload
from perdure.engine.answers import Answers
from perdure.engine.entity import Entity
from perdure.engine.node import Node
from perdure.engine.post import Post
from perdure.engine.shard import Shard
from perdure.errors import InstanceExists, InvalidArgument, MailboxFull, StoreUnavailable
from perdure.history.delayed import LOCK
from perdure.history.entities import EntityState, entity_head, fault_of, modified_of
from perdure.history.entity_queue import OPERATIONS_MAX
from perdure.history.events import (
    EntityCalled,
    EntitySignaled,
    EntityUnlocked,
    ReminderCleared,
    ReminderSet,
    RunTerminated,
    UpdateAnswered,
    encode_event,
)
from perdure.history.own_entities import is_own
from perdure.stores.contract import ENTITY, FINISHED, NOBODY, Creation, Delivery, Head, Loaded, Mail, Query, Wait

Asked = EntitySignaled | EntityCalled | ReminderSet | ReminderCleared
SIGNAL_TRIES_MAX = 20
"""How often a signal is delivered to an entity that others create and remove meanwhile."""
CLEAN_PAGE = 1_000
"""Entities that one call of a clean-up looks at."""


class Entities:
    """Entities of one engine's app. Any node may ask; who owns them hears by mail."""

    def __init__(self, node: Node, post: Post, answers: Answers) -> None:
        self._node = node
        self._store = node.store
        self._post = post
        self._answers = answers

    async def signal(
        self,
        id: str,
        operation: str,
        request: str,
        input: Payload | None = None,
        scheduled: int | None = None,
        scheduled_nanos: int = 0,
    ) -> None:
        """Have an entity do something, now or from `scheduled` on; durable when this returns. A `request` counts once.

        Raises InvalidArgument for an id that is no entity's, MailboxFull, StoreError.
        """
        if not operation:
            raise InvalidArgument("the signal names no operation; say what the entity is to do")
        request = request or self._node.clock.token()
        event = EntitySignaled(
            at=self._node.clock.now(),
            number=0,
            request=request,
            operation=operation,
            target=id,
            input=input,
            scheduled=scheduled,
            scheduled_nanos=scheduled_nanos,
        )
        await self._send(id, event, f"signal.{request}")

    async def call(
        self,
        id: str,
        operation: str,
        request: str,
        input: Payload | None = None,
        chain: Sequence[str] = (),
        *,
        is_repeatable: bool = True,
    ) -> UpdateAnswered:
        """Have an entity do something; its answer, once that is durable. A `request` is done once and answered alike
        for as long as the entity remembers it: over its next `ANSWERS_MAX` messages.

        `chain`: the entities whose operations wait for this one. `is_repeatable`: the request may have been sent
        before. Raises InvalidArgument for an id that is no entity's, MailboxFull, StoreError.
        """
        if not operation or not request:
            raise InvalidArgument("a call names its operation and its request; say what the entity is to do")
        fault = fault_of(id)
        if fault is not None:
            raise InvalidArgument(fault)
        event = EntityCalled(
            at=self._node.clock.now(),
            number=0,
            request=request,
            operation=operation,
            target=id,
            input=input,
            chain=list(chain),
        )
        key = f"call.{request}"

        async def send() -> None:
            if not await self._tell_owner(id, event, key):
                await self._send(id, event, key)

        return await self._answers.ask(id, None, request, send, is_repeatable=is_repeatable)

    async def _tell_owner(self, id: str, event: EntityCalled, key: str) -> bool:
        """Hand a call to an entity of this node without writing it first; whether it was taken, and is durable now."""
        shard = self._node.owner_of(id)
        if shard is None or self._node.is_remote or shard.lacks_code:
            return False
        done = shard.host.promise()

        def hand_over(actor: Actor | None) -> None:
            if done.done():
                return
            if actor is None and not shard.host.detains(id):
                actor = self._new(shard, id, event.at)
            if isinstance(actor, Entity):
                actor.tell(Message(event, key, answer=done))
            else:
                done.set_exception(StoreUnavailable(f"{id!r} cannot be told yet"))

        shard.host.visit(id, hand_over)
        try:
            await done
        except StoreUnavailable:
            return False  # because mail makes it, or finds it where it is now; the key makes a repetition harmless
        return True

    def _new(self, shard: Shard, id: str, at: int) -> Entity:
        """One that begins with this call, unless the store has another by then."""
        head = entity_head(self._node.app, id, self._node.clock.token(), at)
        entity = Entity(shard, Loaded(head, [], [], [], []), is_new=True)
        shard.host.add(entity)
        return entity

    async def set_reminder(self, id: str, reminder: ReminderSet) -> None:
        """Have an entity run an operation at a time, and again each period; durable when this returns.

        Raises InvalidArgument for an id that is no entity's, MailboxFull, StoreError.
        """
        await self._send(id, reminder, f"remind.{self._node.clock.token()}")

    async def clear_reminder(self, id: str, name: str) -> None:
        """Have a reminder come no more; nothing if the entity has none of that name. Raises as `set_reminder`."""
        event = ReminderCleared(at=self._node.clock.now(), name=name)
        await self._send(id, event, f"forget.{self._node.clock.token()}")

    async def _send(self, id: str, event: Asked, key: str) -> None:
        fault = fault_of(id)
        if fault is not None:
            raise InvalidArgument(fault)
        mail = Mail(id, key, encode_event(event), event.at)
        for _ in range(SIGNAL_TRIES_MAX):
            delivery = await self._post.deliver(mail)
            if delivery == Delivery.FULL:
                raise MailboxFull(f"{OPERATIONS_MAX:,} messages wait for the entity {id!r}; signal it again later", id)
            if delivery not in NOBODY or await self._create(mail):
                return
        raise StoreUnavailable(f"the entity {id!r} comes and goes all the time; signal it again")

    async def _create(self, mail: Mail) -> bool:
        """Whether the mail has made the entity; else somebody else has."""
        node, id = self._node, mail.instance
        head = entity_head(node.app, id, node.clock.token(), mail.at)
        try:
            await self._store.create(node.shard_of(id), Creation(head, mail))
        except InstanceExists:
            return False
        owner = node.owner_of(id)
        if owner is not None:
            owner.host.receive(mail)
        return True

    # -- looking --------------------------------------------------------------------------------------------------

    async def get(self, id: str) -> EntityState | None:
        """None if there is no such entity, or nothing to tell of it."""
        if fault_of(id) is not None:
            return None
        for loaded in await self._store.load(self._node.shard_of(id), [id]):
            if loaded.head.kind == ENTITY and loaded.head.status not in FINISHED:
                delayed = sum(wait.due is not None for wait in loaded.waits)
                found = _state(loaded.head, loaded.waits, len(loaded.mail) + delayed)
                return found if found.exists else None
        return None

    async def find(
        self, prefix: str = "", cursor: str | None = None, limit: int = 100
    ) -> tuple[list[EntityState], str | None]:
        """A page of entities whose id begins with a prefix, newest first; it may have fewer than there are.

        Those that have nothing to tell are among them: see `EntityState.exists`.
        """
        query = Query(app=self._node.app, kind=ENTITY, text=prefix or None)
        page = await self._store.find(query, cursor, limit)
        found = [await self._look(head) for head in page.heads if _is_shown(head.id, prefix)]
        return found, page.cursor

    async def _look(self, head: Head) -> EntityState:
        """What this node has in memory tells more than the head, and costs less than a load."""
        owner = self._node.owner_of(head.id)
        actor = owner.host.get(head.id) if owner is not None else None
        if isinstance(actor, Entity):
            return _state(actor.head, list(actor.waits.values()), actor.backlog)
        return _state(head, await self._store.waits(self._node.shard_of(head.id), head.id), 0)

    # -- ending ---------------------------------------------------------------------------------------------------

    async def delete(self, id: str) -> bool:
        """Take the state of an entity away, and the entity too if nobody waits for it; whether it had any."""
        found = await self.get(id)
        if found is None:
            return await self._remove(id)
        event = RunTerminated(at=self._node.clock.now())
        mail = Mail(id, f"delete.{self._node.clock.token()}", encode_event(event), event.at)
        return await self._post.deliver(mail) == Delivery.DELIVERED

    async def clean(
        self, removes_empty: bool, releases_orphaned: bool, cursor: str | None = None
    ) -> tuple[int, int, str | None]:
        """Remove entities without state, lock and messages; release locks whose run is over.

        How many of each, and where the next call goes on; None at the end.
        """
        removed = released = 0
        found, cursor = await self.find(cursor=cursor, limit=CLEAN_PAGE)
        for entity in found:
            if removes_empty and not entity.exists:
                removed += await self._remove(entity.id)
            elif releases_orphaned and entity.locked_by is not None:
                released += await self._release(entity.id)
        return removed, released, cursor

    async def _remove(self, id: str) -> bool:
        """Whether it was there, and nobody has sent it anything meanwhile."""
        node = self._node
        owner = node.owner_of(id)
        actor = owner.host.get(id) if owner is not None else None
        if owner is not None and isinstance(actor, Entity):
            if not actor.is_idle:
                return False
            owner.host.drop(actor)  # because it would go on from what is removed
        head = await self._store.head(node.shard_of(id), id)
        if head is None or head.kind != ENTITY:
            return False
        return bool(await self._store.purge(node.shard_of(id), [id]))

    async def _release(self, id: str) -> bool:
        node = self._node
        waits = await self._store.waits(node.shard_of(id), id)
        lock = next((wait for wait in waits if wait.number == LOCK), None)
        if lock is None or lock.token is None or not await self._is_over(lock):
            return False
        event = EntityUnlocked(at=node.clock.now(), number=0, section=lock.token, target=id)
        mail = Mail(id, f"release.{lock.token}", encode_event(event), event.at, lock.claimed_by, 1)
        return await self._post.deliver(mail) == Delivery.DELIVERED

    async def _is_over(self, lock: Wait) -> bool:
        """Whether the run that has the lock is gone: ended, purged, or followed by another under its id."""
        if lock.on is None:
            return True
        head = await self._store.head(self._node.shard_of(lock.on), lock.on)
        return head is None or head.status in FINISHED or head.execution != lock.claimed_by

    def __repr__(self) -> str:
        return f"<Entities of {self._node!r}>"


def _is_shown(id: str, prefix: str) -> bool:
    """The engine's own are nobody's affair."""
    return id.startswith(prefix) and not is_own(id)


def _state(head: Head, waits: list[Wait], backlog: int) -> EntityState:
    lock = next((wait for wait in waits if wait.number == LOCK), None)
    return EntityState(
        id=head.id,
        modified=modified_of(head),
        state=head.custom_status,
        backlog=backlog,
        locked_by=lock.on if lock is not None else None,
    )
