"""How an app's instances go from one store to another, each active in one of them at any time, whenever the mover dies.

The app is *kept* in both stores, so that nobody runs it and nobody writes to it. Then everything is copied. The *seal*
on the source is the one moment at which the instances change hands: until then they are the source's, and the move can
be taken back; from then on they are the target's, which is freed. Whoever repeats the move goes on where the last one
died. Several movers at once do no harm: what each of them finds changed under its hands is refused by the stores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from perdure.errors import AppReserved, InvalidArgument, StoreCorrupt
from perdure.stores.contract import (
    HELD,
    OUT,
    EngineStore,
    Movable,
    Place,
    Reservation,
    Side,
    Wait,
    Whole,
    shard_number,
)
from perdure.stores.rules import owned, reserved_for

PAGE_INSTANCES = 50
"""Instances that are read and written at once; each with all that it has."""
CONFLICTS_MAX = 10
"""Ids that an error names."""


class MovableStore(EngineStore, Movable, Protocol):
    """A store whose apps can be moved."""


class End(msgspec.Struct, frozen=True):
    """One end of a move: a store that is open, and what people call it. Two names mean two stores."""

    store: MovableStore
    name: str


class Moved(msgspec.Struct, frozen=True):
    """What a move has done, or would do: instances that are moved, of them those that are finished, those that stay
    because they are finished, ids that another instance has in the target, and claims that the target cannot keep.

    `was_sealed`: the instances had changed hands before, and only the target was still kept.
    """

    instances: int = 0
    finished: int = 0
    left: int = 0
    conflicts: tuple[str, ...] = ()
    claims_dropped: int = 0
    was_sealed: bool = False


Tell = Callable[[str], None]
"""Hears what is being done, in words."""


async def move(
    source: End, target: End, app: str, *, finished: bool, token: str, now: int, tell: Tell = lambda _: None
) -> Moved:
    """Move the app's instances that are not finished, or with `finished` all of them. `token` names a new move.

    Raises StoreOwned while somebody runs the app, AppReserved if another move has it, and InvalidArgument, after which
    the app is still kept, if instances of the target have the ids of some of these.
    """
    await check_app(source, app)
    there = await source.store.reserved(app)
    if there is not None and there.is_sealed:
        return await _free_sealed(target, app, there)
    by = await _kept(source, target, app, there, token, now)
    tell(f"app {app!r} is kept in both stores")
    done = Moved()
    async for shard, places in _pages(source, app):
        done = await _copy(source, target, app, by, shard, places, done, finished=finished)
        tell(f"{done.instances} instances copied")
    if done.conflicts:
        raise _conflict(target, app, done.conflicts)
    await _recount(source, target, app, by, now)
    await _check_copied(source, target, app, finished=finished)
    await source.store.reserve(app, Reservation(by, Side.SOURCE, target.name, now, is_sealed=True))
    tell(f"app {app!r} is {target.name}'s now")
    await target.store.free(app, by)
    return done


async def plan(source: End, target: End | None, app: str, *, finished: bool) -> Moved:
    """What a move would do; nothing is written. `target` None: a store that is not there yet."""
    await check_app(source, app)
    there = await source.store.reserved(app)
    if there is not None and there.is_sealed:
        raise reserved_for(app, there)
    holder = next((one.owner for one in await source.store.members(app)), None)
    if holder is not None:
        raise owned(app, holder)
    is_new = target is None or app not in await target.store.apps()
    done = Moved()
    async for _, places in _pages(source, app):
        wanted = [place for place in places if finished or not place.is_finished]
        done = _counted(done, wanted, len(places))
        if target is not None and not is_new:
            taken = await _there(target, app, wanted)
            others = [one.id for one in wanted if one.id in taken and taken[one.id].execution != one.execution]
            done = replace(done, conflicts=(*done.conflicts, *others))
    return done


async def abort(source: End, target: End, app: str) -> int:
    """Take a move back that is not sealed: the target forgets what it got, and the source goes on.

    How many instances the target had got. Raises AppReserved if they have changed hands, InvalidArgument if there is no
    such move.
    """
    there, kept = await source.store.reserved(app), await target.store.reserved(app)
    if there is None:
        if kept is None or (kept.side, kept.peer) != (Side.TARGET, source.name):
            raise InvalidArgument(f"app {app!r} of {source.name} is not being moved; there is nothing to abort")
        return await _forget(source, target, app, kept)
    if (there.side, there.peer) != (Side.SOURCE, target.name):
        raise reserved_for(app, there)
    # first of all, because from then on no other mover can seal
    await source.store.reserve(app, replace(there, is_aborted=True))
    count = await _forget(source, target, app, kept) if kept is not None and kept.by == there.by else 0
    await source.store.free(app, there.by)
    return count


async def _forget(source: End, target: End, app: str, kept: Reservation) -> int:
    await target.store.reserve(app, replace(kept, is_aborted=True))
    count = 0
    async for _, places in _pages(source, app):
        got = await _there(target, app, places)
        mine = [one for one in places if one.id in got and got[one.id].execution == one.execution]
        await target.store.discard(app, kept.by, mine)
        count += len(mine)
    await target.store.free(app, kept.by)
    return count


async def check_app(source: End, app: str) -> None:
    """Raises InvalidArgument if the store holds no such app."""
    if app not in (apps := await source.store.apps()):
        raise InvalidArgument(f"{source.name} holds no app {app!r}; there are: {', '.join(apps) or 'none'}")


async def _free_sealed(target: End, app: str, there: Reservation) -> Moved:
    """The last step of a move whose mover died right before it."""
    kept = await target.store.reserved(app)
    if there.peer != target.name or kept is None or kept.by != there.by:
        raise reserved_for(app, there)
    await target.store.free(app, there.by)
    return Moved(was_sealed=True)


async def _kept(source: End, target: End, app: str, there: Reservation | None, token: str, now: int) -> str:
    """Keep the app in both stores; the name of the move, which an earlier mover may have begun."""
    if there is not None and (there.side, there.peer) != (Side.SOURCE, target.name):
        raise reserved_for(app, there)
    by = token if there is None else there.by
    other = await target.store.reserved(app)
    if other is not None and other.by != by:
        raise reserved_for(app, other)
    await source.store.reserve(app, Reservation(by, Side.SOURCE, target.name, now))
    try:
        await _keep_target(source, target, app, by, now)
    except Exception:
        if there is None:  # because nothing is copied yet, and the app may go on
            await source.store.free(app, by)
        raise
    return by


async def _keep_target(source: End, target: End, app: str, by: str, now: int) -> None:
    other = await target.store.reserved(app)
    if other is not None and other.side is Side.SOURCE:
        raise InvalidArgument(f"{source.name} and {target.name} are one store; name two")
    await target.store.reserve(app, Reservation(by, Side.TARGET, source.name, now))
    there = await source.store.reserved(app)
    if there is None or there.by != by or there.is_sealed or there.is_aborted:
        # because another mover has ended the move, or taken it back, before the target was kept again
        await target.store.free(app, by)
        raise AppReserved(f"another `perdure move` of app {app!r} has ended meanwhile; run it again to see how")


async def _copy(
    source: End, target: End, app: str, by: str, shard: int, places: Sequence[Place], done: Moved, *, finished: bool
) -> Moved:
    """Bring a page of instances over, without those that an earlier mover has brought."""
    wanted = [place for place in places if finished or not place.is_finished]
    got = await _there(target, app, wanted)
    missing = [place.id for place in wanted if got.get(place.id) != place]
    count = len(await target.store.shards(app))
    wholes = [as_moved(whole, count) for whole in await source.store.export(shard, missing)] if missing else []
    refused = await target.store.take_in(app, by, [whole for whole, _ in wholes]) if wholes else []
    done = _counted(done, wanted, len(places))
    dropped = done.claims_dropped + sum(claims for _, claims in wholes)
    return replace(done, conflicts=(*done.conflicts, *refused), claims_dropped=dropped)


def as_moved(whole: Whole, shards: int) -> tuple[Whole, int]:
    """An instance as a store of so many shards takes it, and how many of its claims that cannot keep.

    A call that some node had claimed is held again, because no node of the source lives. A claim can be kept only where
    its name and the instance lie in one shard.
    """
    home = shard_number(whole.head.id, shards)
    claims = [claim for claim in whole.claims if shard_number(claim.name, shards) == home]
    waits = [_held(wait) for wait in whole.waits]
    return replace(whole, waits=waits, claims=claims), len(whole.claims) - len(claims)


def _held(wait: Wait) -> Wait:
    if wait.state not in OUT:
        return wait
    return replace(wait, state=HELD, token=None, claimed_by=None, claimed_until=None)


async def _recount(source: End, target: End, app: str, by: str, now: int) -> None:
    """Let the rates of queues go on. Where the numbers of shards differ, each counts all starts."""
    shards, others = await source.store.shards(app), await target.store.shards(app)
    found = [await source.store.permits(shard, now) for shard in shards]
    everything = [permit for permits in found for permit in permits]
    if everything:
        for number, shard in enumerate(others):
            counted = found[number] if len(shards) == len(others) else everything
            await target.store.recount(app, by, shard, counted)


async def _check_copied(source: End, target: End, app: str, *, finished: bool) -> None:
    """Assert that nothing is missing, because from here on there is no way back."""
    async for _, places in _pages(source, app):
        wanted = [place for place in places if finished or not place.is_finished]
        got = await _there(target, app, wanted)
        lost = [place.id for place in wanted if got.get(place.id) != place]
        if lost:
            raise StoreCorrupt(
                f"{target.name} does not hold {_few(lost)} as {source.name} does; nothing has changed hands: take the "
                "move back with --abort"
            )


async def _there(end: End, app: str, places: Sequence[Place]) -> dict[str, Place]:
    """Which instances of these ids the store has, and how far each is."""
    shards = await end.store.shards(app)
    asked = [(shards[shard_number(place.id, len(shards))], place.id) for place in places]
    finished = {place.id: place.is_finished for place in places}
    return {
        head.id: Place(head.id, head.execution, head.generation, head.sequence, finished[head.id])
        for head in (await end.store.heads(asked) if asked else [])
    }


async def _pages(source: End, app: str) -> AsyncIterator[tuple[int, list[Place]]]:
    """All instances of the app, by shard and in pages of one shard each."""
    after = (0, "")
    while found := await source.store.roll(app, after, PAGE_INSTANCES):
        shard = found[0][0]
        page = [place for there, place in found if there == shard]
        yield shard, page
        after = (shard, page[-1].id)


def _counted(done: Moved, wanted: Sequence[Place], seen: int) -> Moved:
    return replace(
        done,
        instances=done.instances + len(wanted),
        finished=done.finished + sum(place.is_finished for place in wanted),
        left=done.left + seen - len(wanted),
    )


def _conflict(target: End, app: str, ids: Sequence[str]) -> InvalidArgument:
    return InvalidArgument(
        f"{target.name} has other instances of app {app!r} under the ids {_few(ids)}; take the move back with --abort, "
        "purge those there, and move again"
    )


def _few(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - CONFLICTS_MAX} more" if len(ids) > CONFLICTS_MAX else ""
    return ", ".join(map(repr, ids[:CONFLICTS_MAX])) + more
