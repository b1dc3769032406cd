"""Pure decisions that every store makes alike: conditions, cursors, words for a lease that does not hold."""

from __future__ import annotations

import json

from perdure.errors import Fenced, InstanceExists, InvalidArgument, StoreRolledBack
from perdure.stores.contract import FINISHED, Append, Claim, Creation, Head, Holder, Lease, Status, Turn, Wait, WaitKind


def is_current(head: Head, turn: Turn) -> bool:
    """Whether the condition of a turn that is no start holds."""
    there = (head.execution, head.generation, head.sequence)
    return there == (turn.execution, turn.generation, turn.expected)


def is_appendable(head: Head, wait: Wait, length: int, append: Append) -> bool:
    """Whether the condition of an append holds; `wait` has its number, `length` is that of the stream."""
    there = (head.execution, head.generation, wait.kind, wait.attempt, length)
    meant = (append.execution, append.generation, WaitKind.ACTIVITY, append.attempt, append.after)
    return there == meant and head.status not in FINISHED


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


def taken(id: str) -> InstanceExists:
    return InstanceExists(f"instance {id!r} exists; choose another id, or purge it when it is finished", id)


def lost(lease: Lease) -> Fenced:
    return Fenced(f"shard {lease.shard} of app {lease.app!r} is no longer held by {lease.owner!r}")


def rolled_back(shard: int, app: str, epoch: int, known: int) -> StoreRolledBack:
    return StoreRolledBack(
        f"shard {shard} of app {app!r} is at epoch {epoch}, and epoch {known} had more: the store is an older copy of "
        "itself; bring the newest back, or stop every process and remove the file .owner beside it to go on from the "
        "older, which does again what it does not know of"
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
