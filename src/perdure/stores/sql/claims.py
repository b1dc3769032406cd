"""Who holds which name: instances that are created under a claim, and begun anew while they wait."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import InstanceExists
from perdure.stores.contract import Claim, Creation, Holder, Mail, Wait
from perdure.stores.rules import holds, taken
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, TransactionConflict, by_length, in_transaction
from perdure.stores.sql.instances import create, creation_steps


def create_claiming(connection: Connection, shard: int, creation: Creation) -> Holder | None:
    """Insert the instance and what it claims; its holder, and nothing written, if another instance holds that.

    Raises InstanceExists if the id is taken.
    """
    claim = creation.claim
    holder = None if claim is None else _holder(connection, shard, claim, creation)
    if holder is not None:
        return holder
    if not create(connection, shard, creation):
        raise taken(creation.head.id)
    if claim is not None:
        connection.change(statements.TAKE_CLAIM, (shard, claim.name, creation.head.id, claim.until))
    return None


def create_all(
    connection: Connection, asked: Sequence[tuple[int, Creation]]
) -> Sequence[Holder | InstanceExists | None]:
    """Likewise for some instances: all of them together if every id is free and nothing is claimed."""
    if all(creation.claim is None for _, creation in asked):
        try:
            connection.run(creation_steps(asked))
        except TransactionConflict:
            return in_transaction(connection, True, create_each, asked)
        return [None] * len(asked)
    return in_transaction(connection, True, create_each, asked)


def create_each(connection: Connection, asked: Sequence[tuple[int, Creation]]) -> list[Holder | InstanceExists | None]:
    """Likewise for each of some instances, by shard and creation; what would be raised stands in the place of one."""
    return [_created(connection, shard, creation) for shard, creation in asked]


def _created(connection: Connection, shard: int, creation: Creation) -> Holder | InstanceExists | None:
    try:
        return create_claiming(connection, shard, creation)
    except InstanceExists as refusal:
        return refusal


def _holder(connection: Connection, shard: int, claim: Claim, creation: Creation) -> Holder | None:
    found = connection.row(statements.SELECT_HOLDER, (shard, claim.name))
    if found is None:
        return None
    until, id, execution, sequence, created, status = found
    if not holds(claim, execution, status, until, creation):
        return None
    return Holder(id, execution, sequence, created)


def renew(connection: Connection, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
    """Whether the instance was still as it was found, and begins with this mail and wait now."""
    values = (holder.sequence + 1, at, shard, holder.id, holder.execution, holder.sequence)
    if not connection.change(statements.RENEW_HEAD, values):
        return False
    connection.change(statements.RENEW_MAIL, rows.mail_row(shard, mail))
    connection.run(by_length(statements.REPLACE_WAIT, [rows.wait_row(shard, holder.id, wait)]))
    return True
