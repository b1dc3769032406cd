"""A failed run taken back to before its failure, and its failed children with it."""

from __future__ import annotations

import asyncio
from typing import Any

from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.codec import Payload
from perdure.engine.node import Node
from perdure.engine.post import Post
from perdure.errors import EventNotRerunnable, InstanceFinished, InstanceNotFinished, InstanceNotFound, StoreOwned
from perdure.history.events import (
    ChildCompleted,
    ChildCreated,
    RunCompleted,
    RunRewound,
    decode_segment,
    encode_event,
)
from perdure.history.fork import has_locks
from perdure.history.rewind import Rewound, rewound
from perdure.stores.contract import Head, Mail, Status

PAGE = 1_000
"""Turns of a history that are read at once."""
ANEW = (Status.TERMINATED, Status.CANCELED)
"""A child that was ended from outside begins anew."""


async def rewind(node: Node, post: Post, id: str, reason: Payload | None) -> None:
    """Take a failed run back, durably. Children that failed are taken back too, those that are gone begin anew.

    Raises InstanceNotFound, InstanceNotFinished, InstanceFinished if it did not fail, EventNotRerunnable, and
    StoreOwned where another process has the run.
    """
    head = await _failed(node, id)
    found = rewound(await _events(node, head))
    _check(head, found)
    absent = [child.instance for child in found.children if await _is_gone(node, child)]
    await _take_back(node, head, RunRewound(at=node.clock.now(), reason=reason, absent=absent))
    for child in found.children:
        if child.instance not in absent:
            await _take_along(node, post, head, child, reason)


async def _failed(node: Node, id: str) -> Head:
    head = await node.store.head(node.shard_of(id), id)
    if head is None:
        raise InstanceNotFound(f"no instance {id[:200]!r}; `perdure list` shows those there are", id)
    if head.status == Status.FAILED:
        return head
    if head.finished is None:
        raise InstanceNotFinished(f"instance {id!r} is {head.status}; only one that failed is rewound", id)
    raise InstanceFinished(f"instance {id!r} is {head.status}; only one that failed is rewound", id)


async def _events(node: Node, head: Head) -> list[Any]:
    events: list[Any] = []
    after = 0
    while segments := await node.store.history(node.shard_of(head.id), head.id, after, PAGE):
        events += [event for segment in segments for event in decode_segment(segment.events)]
        after = segments[-1].sequence
    return events


def _check(head: Head, found: Rewound) -> None:
    if has_locks(found.history):
        raise EventNotRerunnable(
            f"before its failure {head.id!r} had locked entities, which it cannot take again; start it anew", head.id
        )
    for child in found.children:
        if child.app not in (None, head.app):
            raise EventNotRerunnable(
                f"{head.id!r} waited for {child.instance!r} of app {child.app!r}, which is rewound there alone; "
                "start it anew",
                head.id,
            )


async def _is_gone(node: Node, child: ChildCreated) -> bool:
    head = await node.store.head(node.shard_of(child.instance), child.instance)
    return head is None or head.status in ANEW


async def _take_back(node: Node, head: Head, event: RunRewound) -> None:
    shard = node.owner_of(head.id)
    if shard is None:
        raise StoreOwned(f"another process executes app {node.app!r}, and rewinds {head.id!r}; ask there")
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    message = Message(event, None, head.execution, head.generation, answer=done)

    def hand_over(actor: Actor | None) -> None:
        if actor is None:
            done.set_exception(InstanceNotFound(f"instance {head.id[:200]!r} was purged meanwhile", head.id))
        else:
            actor.tell(message)

    shard.host.visit(head.id, hand_over)
    await done


async def _take_along(node: Node, post: Post, parent: Head, child: ChildCreated, reason: Payload | None) -> None:
    """Have the child answer: it may have ended while nobody waited for it."""
    shard = node.shard_of(child.instance)
    head = await node.store.head(shard, child.instance)
    if head is None:
        return
    if head.status == Status.FAILED:
        await rewind(node, post, head.id, reason)
    elif head.status == Status.COMPLETED:
        last = await node.store.last_segment(shard, head.id)
        events = decode_segment(last.events) if last is not None else []
        completed = next((event for event in events if isinstance(event, RunCompleted)), None)
        answer = ChildCompleted(
            at=node.clock.now(), number=child.number, result=completed.output if completed is not None else None
        )
        key = f"{head.execution}.{head.sequence}.rewound"
        await post.deliver(Mail(parent.id, key, encode_event(answer), answer.at, parent.execution, parent.generation))
