"""Runs that are run again as new instances, which keep a part of their history."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from perdure.codec import Payload
from perdure.engine.node import Node
from perdure.engine.reissuing import check_failed, check_reissue, forked_creation
from perdure.engine.starts import Starts
from perdure.errors import (
    EventNotRerunnable,
    InstanceFinished,
    InstanceNotFinished,
    InvalidArgument,
)
from perdure.history.entities import is_entity
from perdure.history.events import RunForked
from perdure.history.fork import Reissue, fork, has_locks, reissue, revise
from perdure.history.rewind import fork_before_failure
from perdure.stores.contract import FINISHED, Head


class Kept(Protocol):
    """What is asked of whoever knows the instances: fulfilled by the operations of the node."""

    starts: Starts

    async def head_of(self, id: str, execution: str | None) -> Head:
        """Raises InstanceNotFound."""

    async def all_events(self, id: str) -> list[Any]:
        """The whole history. Raises InstanceNotFound."""


class Repeats:
    """Begins what has run again."""

    def __init__(self, engine: Node, kept: Kept) -> None:
        self._engine = engine
        self._kept = kept

    async def rerun(
        self, id: str, from_event: int | None, new: str, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        head, events = await self._source(id, new)
        engine = self._engine
        now, execution = engine.clock.now(), engine.clock.token()
        if from_event is None:
            check_failed(head)
            forked = fork_before_failure(id, events, execution, now, input, replace_input)
        else:
            forked = fork(id, events, from_event, execution, now, input, replace_input)
        if forked is None:
            raise _not_rerunnable(id, from_event)
        _check_locks(id, forked, "its failure" if from_event is None else f"its event {from_event}")
        await self._kept.starts.create(forked_creation(engine.app, new, forked))
        return new, execution

    async def revise(self, id: str, number: int, new: str, result: Payload | None) -> tuple[str, str]:
        """A new instance that goes on from the answer to call `number` of a finished one, with another result."""
        _, events = await self._source(id, new)
        engine = self._engine
        execution = engine.clock.token()
        forked = revise(id, events, number, execution, engine.clock.now(), result)
        if forked is None:
            raise EventNotRerunnable(f"history of {id!r} has no answer to a call numbered {number}", id)
        _check_locks(id, forked, f"the answer to its call {number}")
        await self._kept.starts.create(forked_creation(engine.app, new, forked))
        return new, execution

    async def _source(self, id: str, new: str) -> tuple[Head, list[Any]]:
        """The finished instance that another begins from, and its history."""
        head = await self._kept.head_of(id, None)
        if head.status not in FINISHED:
            raise InstanceNotFinished(f"instance {id!r} is {head.status}; only a finished one can be rerun", id)
        if is_entity(new):
            raise InvalidArgument(f"id {new[:200]!r} is an entity's; give the instance one without @ in front")
        if new == id:
            raise InstanceFinished("a rerun is a new instance; give it an id of its own", id)
        return head, await self._kept.all_events(id)

    async def reissue(self, asked: Reissue, new: str) -> str:
        head = await self._kept.head_of(asked.source, None)
        engine = self._engine
        events = await self._kept.all_events(asked.source) if head.status in FINISHED else []
        check_reissue(head, new, asked, events)
        forked = reissue(msgspec.structs.replace(asked, instance=new), events, engine.clock.token(), engine.clock.now())
        if forked is None:
            raise _not_rerunnable(asked.source, asked.number)
        await self._kept.starts.create(forked_creation(engine.app, new, forked, unique=True))
        return new


def _check_locks(id: str, forked: RunForked, where: str) -> None:
    if has_locks(forked.history):
        raise EventNotRerunnable(
            f"before {where}, {id!r} has locked entities, which a rerun cannot take over; rerun from an event "
            "before the lock, or after it",
            id,
        )


def _not_rerunnable(id: str, number: int | None) -> EventNotRerunnable:
    if number is None:
        return EventNotRerunnable(f"history of {id!r} has nothing before its failure; start it anew", id)
    return EventNotRerunnable(
        f"history of {id!r} has no activity, timer or child numbered {number}; `perdure history` shows them", id
    )
