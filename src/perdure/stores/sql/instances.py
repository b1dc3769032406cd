"""What happens to whole instances: created, written to by anybody, erased."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import MAILBOX_MESSAGES_MAX, Creation, Delivery, Mail
from perdure.stores.rules import is_repetition
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row


def vacate(connection: Connection, shard: int, id: str) -> bool:
    """Erase the instance if it is finished; whether the id is free now."""
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
    return occupant is None or _erase_finished(connection, shard, id, occupant)


def create(connection: Connection, shard: int, creation: Creation) -> bool:
    """Insert the instance; False if its id is taken."""
    id = creation.head.id
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
    if occupant is not None:
        execution, parent_call, _ = occupant
        if is_repetition(execution, parent_call, creation):
            return True
        if creation.unique or not _erase_finished(connection, shard, id, occupant):
            return False
    insert_instances(connection, [(shard, creation)])
    return True


def insert_instances(connection: Connection, created: Sequence[tuple[int, Creation]]) -> None:
    """Insert instances whose ids are free. Raises TransactionConflict if one is not."""
    many = connection.change_many
    many(statements.INSERT_HEAD, [rows.head_row(shard, c.head, c.parent_call) for shard, c in created])
    many(statements.INSERT_FIRST_MAIL, [rows.mail_row(shard, c.mail) for shard, c in created])
    if tags := [row for shard, c in created if c.head.tags for row in rows.tag_rows(shard, c.head)]:
        many(statements.INSERT_TAG, tags)
    if waits := [rows.wait_row(shard, c.head.id, wait) for shard, c in created for wait in c.waits]:
        many(statements.INSERT_WAIT, waits)


def deliver(connection: Connection, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
    """Append mail, message by message."""
    return [_deliver(connection, shard, message) for message in mail]


def _deliver(connection: Connection, shard: int, mail: Mail) -> Delivery:
    values = rows.mail_row(shard, mail)
    if connection.change(statements.DELIVER_MAIL, (*values, MAILBOX_MESSAGES_MAX)):
        return Delivery.DELIVERED
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, mail.instance))
    if occupant is None:
        return Delivery.NO_INSTANCE
    if connection.row(statements.SELECT_DUPLICATE, (shard, mail.instance, mail.key)) is not None:
        return Delivery.DUPLICATE
    return Delivery.FINISHED if occupant[2] else Delivery.FULL


def purge(connection: Connection, shard: int, ids: Sequence[str]) -> list[str]:
    """Erase those that are finished; returns their ids."""
    return [id for id in dict.fromkeys(ids) if _purge(connection, shard, id)]


def _purge(connection: Connection, shard: int, id: str) -> bool:
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
    return occupant is not None and _erase_finished(connection, shard, id, occupant)


def _erase_finished(connection: Connection, shard: int, id: str, occupant: Row) -> bool:
    """Delete all rows of an instance if it is finished."""
    _, _, finished = occupant
    if finished:
        for statement in statements.ERASE_INSTANCE:
            connection.change(statement, (shard, id))
    return bool(finished)
