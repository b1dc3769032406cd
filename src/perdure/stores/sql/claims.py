"""Who holds which name: instances that are created under a claim, and begun anew while they wait."""

from __future__ import annotations

from perdure.stores.contract import Claim, Creation, Holder, Mail, Wait
from perdure.stores.rules import holds, taken
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.instances import create


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
    connection.change(statements.REPLACE_WAIT, rows.wait_row(shard, holder.id, wait))
    return True
