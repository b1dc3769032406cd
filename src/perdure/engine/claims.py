"""Starts that may be none: under a key that an earlier instance holds, or put off until a key has been quiet."""

from __future__ import annotations

import msgspec

from perdure.clock import LATEST, ordered_id
from perdure.codec import Payload
from perdure.engine.instance import Instance
from perdure.engine.node import Node
from perdure.errors import StoreUnavailable
from perdure.history.creation import asked_creation, asked_start, start_wait
from perdure.history.events import RunStarted, encode_event
from perdure.history.work import StartOptions
from perdure.stores.contract import Claim, Creation, Holder, Mail

RENEWALS_MAX = 100
"""How often a start that found its key's instance changing looks again."""


async def start_claiming(node: Node, name: str, input: Payload | None, options: StartOptions) -> tuple[str, str]:
    """(id, execution) of the instance that this start made, or of the one that holds its key.

    Raises StoreUnavailable if others start under the key so fast that this start never comes between.
    """
    started = asked_start(name, input, options, node.clock.token(), node.clock.now())
    for _ in range(RENEWALS_MAX):
        holder = await _create(node, started, options)
        if isinstance(holder, tuple):
            return holder
        if options.debounce is None or await _renew(node, holder, started, options):
            return holder.id, holder.execution
    raise StoreUnavailable(f"starts of {started.name} under {options.dedup_key!r} came between; start it again")


async def _create(node: Node, started: RunStarted, options: StartOptions) -> Holder | tuple[str, str]:
    now = started.at
    name = f"{'dedup' if options.debounce is None else 'debounce'}/{started.name}/{options.dedup_key}"
    shard_id = node.shard_of(name)
    id = ordered_id(node.clock)
    while node.shard_of(id) != shard_id:
        id = ordered_id(node.clock)  # because a name and those that claim it lie in one shard
    if options.debounce is not None:
        started = msgspec.structs.replace(started, scheduled=min(now + options.debounce, LATEST))
    new = asked_creation(node.app, id, started, options)
    claim = Claim(name, min(now + options.dedup_window, LATEST), options.debounce is not None)
    holder = await node.store.create(shard_id, msgspec.structs.replace(new, claim=claim))
    if holder is not None:
        return holder
    take_in(node, new)
    return id, started.execution


async def _renew(node: Node, holder: Holder, started: RunStarted, options: StartOptions) -> bool:
    """Put off the instance that waits for quiet, and give it this input; False if it has begun or changed meanwhile."""
    assert options.debounce is not None
    due = min(started.at + options.debounce, holder.created + options.debounce_max, LATEST)
    latest = msgspec.structs.replace(started, execution=holder.execution, scheduled=due)
    key = f"{holder.execution}.start"
    mail = Mail(holder.id, key, encode_event(latest), started.at, holder.execution, 1)
    wait = start_wait(holder.created, due, options.place)
    if not await node.store.renew(node.shard_of(holder.id), holder, mail, wait, started.at):
        return False
    shard = node.owner_of(holder.id)
    if shard is not None:
        actor = shard.host.get(holder.id)
        if isinstance(actor, Instance) and actor.is_idle:
            shard.host.drop(actor)  # because it knows the input and the time from before
        shard.schedule(due, holder.id, wait.number)
    return True


def take_in(node: Node, new: Creation) -> None:
    """Let the owner know of an instance that was written, if this node is that."""
    shard = node.owner_of(new.head.id)
    if shard is not None:
        if not new.waits:
            shard.take_in(new)  # because all that a load would find is known
        shard.host.receive(new.mail)
        for wait in new.waits:
            shard.schedule(wait.due or new.head.created, new.head.id, wait.number)
