"""Pure decisions that every store makes alike: conditions, cursors, words for a lease that does not hold."""

from __future__ import annotations

import json

from perdure.errors import AppReserved, Fenced, InstanceExists, InvalidArgument, StoreOwned, StoreRolledBack
from perdure.stores.contract import (
    CLAIMED,
    FINISHED,
    IN_FLIGHT,
    Append,
    Claim,
    Creation,
    Head,
    Holder,
    Lease,
    Query,
    Report,
    Reservation,
    Side,
    Status,
    Touch,
    Turn,
    Wait,
    WaitKind,
)

PENDING, TOLD, GIVEN_UP = range(3)
"""States of a notice."""


def is_current(head: Head, turn: Turn) -> bool:
    """Whether the condition of a turn that is no start holds."""
    there = (head.execution, head.generation, head.sequence)
    return there == (turn.execution, turn.generation, turn.expected)


def is_appendable(head: Head, wait: Wait, length: int, append: Append) -> bool:
    """Whether the condition of an append holds; `wait` has its number, `length` is that of the stream."""
    there = (head.execution, head.generation, wait.kind, wait.attempt, length)
    meant = (append.execution, append.generation, WaitKind.ACTIVITY, append.attempt, append.after)
    return there == meant and head.status not in FINISHED


def is_reportable(head: Head, wait: Wait, told: Report) -> bool:
    """Whether the condition of a report holds; `wait` has its number."""
    if (head.execution, head.generation) != (told.mail.execution, told.mail.generation) or head.status in FINISHED:
        return False
    if wait.kind != WaitKind.ACTIVITY or told.attempt not in (None, wait.attempt):
        return False
    return wait.state in IN_FLIGHT if told.token is None else is_claimed(wait, told.token)


def is_claimed(wait: Wait, token: str) -> bool:
    """Whether the call is claimed under this token, though the claim may have run out."""
    return (wait.state, wait.token) == (CLAIMED, token)


def is_touchable(head: Head, wait: Wait, touch: Touch) -> bool:
    """Whether the attempt that gives this sign of life is still the call's; `wait` has its number."""
    is_the_run = (head.execution, head.generation) == (touch.execution, touch.generation)
    return is_the_run and head.status not in FINISHED and is_claimed(wait, touch.token)


def is_repetition(execution: str, parent_call: str | None, creation: Creation) -> bool:
    """Whether the instance that is there, of this execution or call of a parent, is the one to be created."""
    if execution == creation.head.execution:
        return True
    return parent_call is not None and parent_call == creation.parent_call


def holds(claim: Claim, execution: str, status: str, until: int, creation: Creation) -> bool:
    """Whether the instance of this execution and status, that took the claim up to `until`, holds it against another
    creation."""
    if execution == creation.head.execution:
        return False  # because it is the same creation again
    return status == Status.PENDING if claim.while_pending else creation.mail.at < until


def is_renewable(head: Head, holder: Holder) -> bool:
    """Whether nothing has happened to the instance since it was found to hold the claim, and it has not begun."""
    return head.status == Status.PENDING and (head.execution, head.sequence) == (holder.execution, holder.sequence)


def matches(head: Head, query: Query) -> bool:
    """Whether all conditions of the query hold."""
    return (
        (query.kind is None or head.kind == query.kind)
        and (not query.by_end or head.finished is not None)
        and (query.app is None or head.app == query.app)
        and (query.name is None or head.name == query.name)
        and (not query.status or head.status in query.status)
        and is_between(head.created, query.created_after, query.created_before)
        and is_between(head.finished, query.finished_after, query.finished_before)
        and (not query.tags or query.tags.items() <= (head.tags or {}).items())
        and (query.parent is None or head.parent == query.parent)
        and (query.text is None or is_within(query.text.casefold(), head))
        and (query.suspended is None or (head.suspended is not None) == query.suspended)
        and (query.stalled is None or (head.stalled is not None) == query.stalled)
    )


def is_within(text: str, head: Head) -> bool:
    return text in head.id.casefold() or text in head.name.casefold()


def is_between(at: int | None, after: int | None, before: int | None) -> bool:
    """Whether after <= at < before; a bound of None always holds, a time of None only without bounds."""
    if at is None:
        return after is None and before is None
    return (after is None or after <= at) and (before is None or at < before)


def taken(id: str) -> InstanceExists:
    return InstanceExists(f"instance {id!r} exists; choose another id, or purge it when it is finished", id)


def lost(lease: Lease) -> Fenced:
    return Fenced(f"shard {lease.shard} of app {lease.app!r} is no longer held by {lease.owner!r}")


def reserved_for(app: str, reservation: Reservation) -> AppReserved:
    """Why the app does not run here, and what to do about it."""
    peer = reservation.peer
    if reservation.is_sealed:
        return AppReserved(f"app {app!r} was moved to {peer}; open it there: what is left here never runs again")
    if reservation.is_aborted:
        return AppReserved(
            f"the move of app {app!r} is being taken back ({peer} is the other store); run the same `perdure move` "
            "with --abort again"
        )
    way = "away to" if reservation.side is Side.SOURCE else "here from"
    return AppReserved(
        f"app {app!r} is being moved {way} {peer}, so nothing of it runs and nothing is taken; run the same "
        "`perdure move` again to finish it, or with --abort to take it back"
    )


def owned(app: str, holder: str) -> StoreOwned:
    """Why an app cannot be moved now."""
    return StoreOwned(f"{holder} runs app {app!r}; stop every process that runs it, then move it")


def check_reservable(app: str, there: Reservation | None, wanted: Reservation) -> None:
    """Raises AppReserved if a reservation that is there must stay."""
    if there is None:
        if wanted.is_sealed or wanted.is_aborted:  # because another mover has taken the move back
            raise AppReserved(f"app {app!r} is not kept for this move any more; run `perdure move` again")
        return
    goes_on = (there.by, there.side) == (wanted.by, wanted.side) and there.is_aborted <= wanted.is_aborted
    if there.is_sealed or not goes_on:
        raise reserved_for(app, there)


def check_taking_in(app: str, there: Reservation | None, by: str) -> None:
    """Raises AppReserved unless the app is kept as the target of this move, which goes on."""
    check_discarding(app, there, by)
    if there is not None and there.is_aborted:
        raise reserved_for(app, there)


def check_discarding(app: str, there: Reservation | None, by: str) -> None:
    """Raises AppReserved unless the app is kept as the target of this move."""
    if there is None:
        raise AppReserved(f"app {app!r} is not kept for this move any more; run `perdure move` again")
    if (there.by, there.side) != (by, Side.TARGET):
        raise reserved_for(app, there)


def rolled_back(shard: int, app: str, epoch: int, known: int) -> StoreRolledBack:
    return StoreRolledBack(
        f"shard {shard} of app {app!r} is at epoch {epoch}, and epoch {known} had more: the store is an older copy of "
        "itself; bring the newest back, or stop every process, and remove .owner beside a file, to go on from this "
        "one, which does again what it does not know of"
    )


def failed_over(shard: int, app: str, epoch: int, known: int) -> StoreRolledBack:
    """The same of a server that may have lost what it acknowledged."""
    return StoreRolledBack(
        f"shard {shard} of app {app!r} is at epoch {epoch}, and epoch {known} had more: the store is an older copy of "
        "itself, as after a failover; bring the newest back, or restart every process to go on from the older, which "
        "does again what it does not know of"
    )


def write_cursor(created: int, id: str, shard: int) -> str:
    """The place of an instance in the order of `find`, for the next page to begin after."""
    return json.dumps([created, id, shard])


def read_cursor(cursor: str) -> tuple[int, str, int]:
    """The place that a cursor names. Raises InvalidArgument if no page gave it."""
    try:
        created, id, shard = json.loads(cursor)
        return int(created), str(id), int(shard)
    except (ValueError, TypeError):
        raise InvalidArgument(f"{cursor[:80]!r} is no cursor; pass one that a page gave, or None") from None
