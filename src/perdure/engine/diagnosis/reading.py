"""What an explanation reads of a store: each thing once, in few round trips, and of everything a bounded part."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from perdure.engine.diagnosis.findings import USUAL_COUNT_MIN
from perdure.engine.diagnosis.sight import Reference, Scene, Sight, Usual
from perdure.engine.entity import Entity
from perdure.engine.node import Node
from perdure.engine.queues import queued_calls
from perdure.engine.shard import Shard
from perdure.history.audit_log import Entry
from perdure.history.creation import parent_of
from perdure.history.events import EventRaised, RunResumed, decode_event, decode_segment
from perdure.history.nodes import owning
from perdure.stores.contract import (
    ENTITY,
    HELD,
    QUEUED,
    Head,
    Inspected,
    Ledger,
    Mail,
    Member,
    OpenCall,
    Query,
    Segment,
    ShardState,
    Status,
    Suspect,
    Wait,
    WaitKind,
    shard_number,
)

TURNS_LOADED_MAX = 2_000
"""Up to how many turns an instance is read as a whole; of a longer one the newest turns alone."""
TAIL_TURNS_MAX = 500
"""Those of a longer one, of which events are looked at that came."""
USUAL_INSTANCES_MAX = 100
"""With how many finished instances of its workflow one is compared, the newest."""
QUEUED_READ_MAX = 20_000
"""Waits of an app in queues that are read; places in longer lines are told as if they ended there."""
ENTRIES_READ_MAX = 500
"""Entries of the audit log in which it is looked who suspended an instance, the newest."""
_RAISED = b"EventRaised"


class Reader:
    """Reads for one explanation, or one survey."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store
        self._shards: dict[str, list[int]] = {}
        self._apps: list[str] | None = None
        self._members: dict[str, tuple[Member, ...]] = {}
        self._keepers: dict[str, str] = {}
        self._states: dict[str, dict[int, ShardState]] = {}
        self._suspects: dict[int, dict[str, Suspect]] = {}
        self._calls: dict[str, list[OpenCall]] = {}
        self._usual: dict[tuple[str, str], Usual | None] = {}

    async def knows(self, app: str) -> bool:
        """Whether the store holds anything of an app. Asked before its shards are, which would make them."""
        if app == self._node.app:
            return True
        if self._apps is None:
            self._apps = await self._store.apps()
        return app in self._apps

    async def heads(self, references: Sequence[Reference], app: str) -> dict[Reference, Head]:
        """The heads of those that exist."""
        places: dict[tuple[int, str], Reference] = {}
        for reference in references:
            there = reference.app or app
            if await self.knows(there):
                places[await self._shard_of(there, reference.id), reference.id] = reference
        found = await self._store.heads(list(places))
        by_id = {(await self._shard_of(head.app, head.id), head.id): head for head in found}
        return {reference: by_id[place] for place, reference in places.items() if place in by_id}

    async def sight(self, head: Head) -> Sight:
        """One instance with all that may tell why it is not finished."""
        shard = await self._shard_of(head.app, head.id)
        (waits, mail, segments), scene = await asyncio.gather(self._rows(shard, head), self._scene(shard, head))
        sight = Sight(head=head, scene=scene, waits=waits, mail=mail, resumes=_resumes(mail))
        return await self._beside(sight, segments)

    async def sights(self, heads: Sequence[Head], mail: dict[str, list[Mail]]) -> list[Sight]:
        """Instances of the node's app, as a survey sees them: with their waits alone, and mail that was read before."""
        every = await asyncio.gather(*(self._waits(head) for head in heads))
        found = []
        for head, waits in zip(heads, every, strict=True):
            scene = await self._scene(await self._shard_of(head.app, head.id), head)
            letters = mail.get(head.id, [])
            calls = await self._queued(head.app) if _is_queued(waits) else []
            usual = await self._usually(head) if _may_be_long(waits) else None
            found.append(
                Sight(
                    head=head,
                    scene=scene,
                    waits=waits,
                    mail=letters,
                    resumes=_resumes(letters),
                    calls=calls,
                    usual=usual,
                )
            )
        return found

    # -- parts ----------------------------------------------------------------------------------------------------

    async def _waits(self, head: Head) -> list[Wait]:
        return await self._store.waits(await self._shard_of(head.app, head.id), head.id)

    async def _rows(self, shard: int, head: Head) -> tuple[list[Wait], list[Mail], list[Segment]]:
        if head.sequence <= TURNS_LOADED_MAX or head.kind == ENTITY:  # because an entity has no history
            for loaded in await self._store.load(shard, [head.id]):
                return loaded.waits, loaded.mail, loaded.segments
            return [], [], []
        tail = self._store.history(shard, head.id, head.sequence - TAIL_TURNS_MAX, TAIL_TURNS_MAX)
        waits, segments = await asyncio.gather(self._store.waits(shard, head.id), tail)
        return waits, [], segments

    async def _beside(self, sight: Sight, segments: Sequence[Segment]) -> Sight:
        """What only some waits make worth reading."""
        head, waits = sight.head, sight.waits
        beside: dict[str, Any] = {}
        if any(wait.kind == WaitKind.EVENT for wait in waits):
            beside["raised"] = raised(segments, sight.mail)
        if _is_queued(waits):
            beside["calls"] = await self._queued(head.app)
        if _may_be_long(waits):
            beside["usual"] = await self._usually(head)
        if head.suspended is not None:
            beside["suspended_by"] = await self._suspender(head)
        if head.parent is not None:
            beside["parent"] = await self._parent(head)
        return msgspec.structs.replace(sight, **beside) if beside else sight

    async def _suspender(self, head: Head) -> str | None:
        """Who suspended it last, by the newest entries of the audit log."""
        store: object = self._store
        if not isinstance(store, Ledger):
            return None
        last, _ = await store.audit_head(head.app)
        for _, data in reversed(await store.audited(head.app, max(last - ENTRIES_READ_MAX, 0), ENTRIES_READ_MAX)):
            entry = _entry(data)
            if entry is not None and (entry.action, entry.instance, entry.of) == ("suspend", head.id, None):
                return f"{entry.actor.name} ({entry.actor.kind} on {entry.actor.place})"
        return None

    async def _parent(self, head: Head) -> Head | None:
        try:
            parent = parent_of(head)
        except msgspec.ValidationError:
            parent = None  # because a newer version may write more than this one can read
        reference = Reference(head.parent or "", parent.app if parent is not None else None)
        return (await self.heads([reference], head.app)).get(reference)

    async def _usually(self, head: Head) -> Usual | None:
        key = head.app, head.name
        if key not in self._usual:
            query = Query(app=head.app, name=head.name, status=(Status.COMPLETED,))
            page = await self._store.find(query, None, USUAL_INSTANCES_MAX)
            self._usual[key] = usual(page.heads)
        return self._usual[key]

    async def _queued(self, app: str) -> list[OpenCall]:
        if app not in self._calls:
            found: list[OpenCall] = []
            for shard in await self._shards_of(app):
                found += await queued_calls(self._store, shard, QUEUED_READ_MAX - len(found))
            self._calls[app] = found
        return self._calls[app]

    # -- surroundings ---------------------------------------------------------------------------------------------

    async def _scene(self, shard: int, head: Head) -> Scene:
        app = head.app
        nodes = await self._nodes(app)
        suspects = await self._suspected(shard)
        scene = Scene(
            now=self._node.clock.now(),
            app=app,
            nodes=nodes,
            keeper=self._keepers.get(app),
            owner=(await self._owners(app)).get(shard),
            suspect=suspects.get(head.id),
            is_home=app == self._node.app,
        )
        owner = self._node.owner_of(head.id) if scene.is_home else None
        if owner is None and scene.is_home and self._store.lease_seconds is None:
            # where leases run out, another node takes what this one is refused
            return msgspec.structs.replace(scene, refusal=self._node.refusal)
        return _owned(scene, owner, head) if owner is not None and not owner.commands_only else scene

    async def _nodes(self, app: str) -> tuple[Member, ...]:
        if app not in self._members:
            members = await self._store.members(app)
            if self._store.lease_seconds is None:
                # because a lock tells who owns the store, and not of which of its apps
                owners = [state.owner for state in (await self._owners(app)).values()]
                of_app = owning(members, owners)
                if members and not of_app:
                    self._keepers[app] = members[0].owner
                members = of_app
            self._members[app] = tuple(members)
        return self._members[app]

    async def _owners(self, app: str) -> dict[int, ShardState]:
        """Who owns which shard, or did last."""
        if app not in self._states:
            store: object = self._store
            states = await store.shard_states(app) if isinstance(store, Inspected) else []
            self._states[app] = {state.shard: state for state in states}
        return self._states[app]

    async def _suspected(self, shard: int) -> dict[str, Suspect]:
        if shard not in self._suspects:
            self._suspects[shard] = {suspect.instance: suspect for suspect in await self._store.suspects(shard)}
        return self._suspects[shard]

    async def _shards_of(self, app: str) -> list[int]:
        if app not in self._shards:
            self._shards[app] = await self._store.shards(app)
        return self._shards[app]

    async def _shard_of(self, app: str, id: str) -> int:
        if app == self._node.app:
            return self._node.shard_of(id)
        shards = await self._shards_of(app)
        return shards[shard_number(id, len(shards))]


def _owned(scene: Scene, owner: Shard, head: Head) -> Scene:
    """What the owner knows beside the store."""

    def attempt(wait: Wait) -> Any:
        return owner.attempts.state((head.id, head.execution, head.generation, wait.number))

    actor = owner.host.get(head.id)
    return msgspec.structs.replace(
        scene,
        is_owned=True,
        standing=partial(owner.executor.standing, head),
        attempt=attempt,
        slots=owner.workflow_slots,
        queue=actor.queue if isinstance(actor, Entity) else None,
        full_since=owner.committer.full_since,
        committing_since=owner.committer.committing_since,
    )


def usual(heads: Iterable[Head]) -> Usual | None:
    """What the instances took from their creation to their end. None: they are too few to tell."""
    took = sorted(head.finished - head.created for head in heads if head.finished is not None)
    if len(took) < USUAL_COUNT_MIN:
        return None
    return Usual(len(took), took[len(took) // 2], took[min(len(took) * 95 // 100, len(took) - 1)])


def raised(segments: Sequence[Segment], mail: Sequence[Mail]) -> list[tuple[int, str]]:
    """The external events that came to a run, oldest first, as (time, name)."""
    found = []
    for segment in segments:
        if _RAISED in segment.events:
            found += [(event.at, event.name) for event in _events(segment) if isinstance(event, EventRaised)]
    events = [_event(letter) for letter in mail if _RAISED in letter.event]
    return found + [(event.at, event.name) for event in events if isinstance(event, EventRaised)]


def _events(segment: Segment) -> list[Any]:
    try:
        return decode_segment(segment.events)
    except ValueError:
        return []  # because a segment that cannot be read tells nothing, and the turn that reads it tells of it


def _event(mail: Mail) -> object:
    try:
        return decode_event(mail.event)
    except ValueError:
        return None  # because mail that cannot be read asks for nothing, and the turn that takes it tells of it


def _entry(data: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(data, type=Entry)
    except msgspec.MsgspecError:
        return None  # because the audit itself tells of entries that cannot be read


def _resumes(mail: Sequence[Mail]) -> bool:
    return any(isinstance(_event(letter), RunResumed) for letter in mail if b"RunResumed" in letter.event)


def _is_queued(waits: Sequence[Wait]) -> bool:
    return any(wait.state == QUEUED for wait in waits)


def _may_be_long(waits: Sequence[Wait]) -> bool:
    return any(wait.kind == WaitKind.ACTIVITY and wait.state == HELD and wait.failure is None for wait in waits)
