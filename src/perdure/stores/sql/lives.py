"""How the owners of a shard ended: the life of each, and who could have been running when it died."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Lease, Suspect
from perdure.stores.sql import reads, statements
from perdure.stores.sql.connection import Connection, Step


def begin(connection: Connection, shard: int, epoch: int, at: int) -> None:
    """Begin a life; if the one before has not ended in good order, count the death."""
    found = connection.row(statements.SELECT_LIFE, (shard,))
    if found is not None and found[0] is not None:
        connection.run(death_steps([(shard, epoch)], at))
    connection.change(statements.BEGIN_LIFE, (shard,))


def death_steps(taken: Sequence[tuple[int, int]], at: int) -> list[Step]:
    """Every run of these shards, each with its new epoch, that could have been running has died once more."""
    return [
        Step(statements.REMEMBER_ACCUSED, [(shard,) for shard, _ in taken]),
        Step(statements.COUNT_DEATHS, [(shard, epoch, at) for shard, epoch in taken]),
        Step(statements.FORGET_SUSPECTS, taken),
    ]


def end(connection: Connection, lease: Lease) -> None:
    """End the life of the lease in good order, if there is one."""
    if connection.change(statements.END_LIFE, (lease.shard, lease.epoch)):
        connection.change(statements.FORGET_ALL_SUSPECTS, (lease.shard,))


def suspects(connection: Connection, shard: int) -> list[Suspect]:
    found = connection.rows(statements.SELECT_SUSPECTS, (shard,))
    return [Suspect(*row) for row in found]


def accuse(connection: Connection, lease: Lease, instance: str, place: int) -> bool:
    """False if the lease was lost."""
    if not _holds(connection, lease):
        return False
    connection.change(statements.ACCUSE, (lease.shard, instance, place))
    return True


def acquit(connection: Connection, lease: Lease, instances: Sequence[str]) -> bool:
    """False if the lease was lost."""
    if not _holds(connection, lease):
        return False
    connection.change_many(statements.ACQUIT, [(lease.shard, id) for id in instances])
    return True


def _holds(connection: Connection, lease: Lease) -> bool:
    epoch, owned, _ = reads.lease(connection, lease.shard)
    return owned and epoch == lease.epoch
