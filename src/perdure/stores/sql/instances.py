"""What happens to whole instances: created, written to by anybody, erased."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import MAILBOX_MESSAGES_MAX, NOBODY, Creation, Delivery, Mail, Outcome, Report
from perdure.stores.rules import is_repetition
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row, Step, TransactionConflict, by_length, in_transaction


def vacate(connection: Connection, shard: int, id: str, execution: str) -> bool:
    """Erase the instance if it is finished and not this execution itself; whether the id is free for that now."""
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
    if occupant is None:
        return True
    return occupant[0] != execution and _erase_finished(connection, shard, id, occupant)


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


def join(connection: Connection, shard: int, creation: Creation) -> None:
    """Deliver the creation's mail to the instance that is there; else create it."""
    if _deliver(connection, shard, creation.mail) in NOBODY:
        create(connection, shard, creation)


def insert_instances(connection: Connection, created: Sequence[tuple[int, Creation]]) -> None:
    """Insert instances whose ids are free. Raises TransactionConflict if one is not."""
    connection.run(creation_steps(created))


def creation_steps(created: Sequence[tuple[int, Creation]]) -> list[Step]:
    """What inserts instances whose ids are free."""
    steps = by_length(
        statements.INSERT_HEAD, [rows.head_row(shard, c.head, c.parent_call) for shard, c in created], is_condition=True
    )
    steps.append(Step(statements.INSERT_FIRST_MAIL, [rows.mail_row(shard, c.mail) for shard, c in created]))
    if tags := [row for shard, c in created if c.head.tags for row in rows.tag_rows(shard, c.head)]:
        steps.append(Step(statements.INSERT_TAG, tags))
    if waits := [rows.wait_row(shard, c.head.id, wait) for shard, c in created for wait in c.waits]:
        steps += by_length(statements.INSERT_WAIT, waits)
    return steps


def joining_steps(created: Sequence[tuple[int, Creation]]) -> list[Step]:
    """What creates those that are not there, without waits and tags, and delivers the mail of all."""
    first: dict[tuple[int, str], Row] = {}
    for shard, creation in created:
        first.setdefault((shard, creation.head.id), rows.head_row(shard, creation.head, creation.parent_call))
    mail = [delivery_row(shard, creation.mail) for shard, creation in created]
    return [
        *by_length(statements.JOIN_HEAD, list(first.values()), is_condition=True),
        Step(statements.DELIVER_MAIL, mail),
    ]


def delivery_row(shard: int, mail: Mail) -> Row:
    return (*rows.mail_row(shard, mail), MAILBOX_MESSAGES_MAX)


def deliver(connection: Connection, letters: Sequence[tuple[int, Mail]]) -> list[Delivery]:
    """Append mail, by shard and message: all of it together if everything can be taken, else message by message."""
    try:
        connection.run([Step(statements.DELIVER_MAIL, [delivery_row(shard, mail) for shard, mail in letters], True)])
    except TransactionConflict:
        return in_transaction(connection, True, deliver_each, letters)
    return [Delivery.DELIVERED] * len(letters)


def deliver_each(connection: Connection, letters: Sequence[tuple[int, Mail]]) -> list[Delivery]:
    """Append mail, message by message."""
    return [_deliver(connection, shard, mail) for shard, mail in letters]


def _deliver(connection: Connection, shard: int, mail: Mail) -> Delivery:
    if connection.change(statements.DELIVER_MAIL, delivery_row(shard, mail)):
        return Delivery.DELIVERED
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, mail.instance))
    if occupant is None:
        return Delivery.NO_INSTANCE
    if connection.row(statements.SELECT_DUPLICATE, (shard, mail.instance, mail.key)) is not None:
        return Delivery.DUPLICATE
    return Delivery.FINISHED if occupant[2] else Delivery.FULL


def report(connection: Connection, reports: Sequence[tuple[int, Report]]) -> list[Outcome]:
    """Take reports of attempts, by shard: all of them together if every condition holds, else one by one."""
    calls = [_report_row(shard, told) for shard, told in reports]
    mail = [delivery_row(shard, told.mail) for shard, told in reports]
    try:
        connection.run([Step(statements.REPORT_CALL, calls, True), Step(statements.DELIVER_MAIL, mail, True)])
    except TransactionConflict:
        return in_transaction(connection, True, report_each, reports)
    return [Outcome.COMMITTED] * len(reports)


def report_each(connection: Connection, reports: Sequence[tuple[int, Report]]) -> list[Outcome]:
    return [_report(connection, shard, told) for shard, told in reports]


def _report_row(shard: int, told: Report) -> Row:
    mail = told.mail
    return (shard, mail.instance, told.number, told.attempt, mail.execution, mail.generation, told.token)


def _report(connection: Connection, shard: int, told: Report) -> Outcome:
    mail = told.mail
    if not connection.change(statements.REPORT_CALL, _report_row(shard, told)):
        return Outcome.CONFLICT
    delivery = _deliver(connection, shard, mail)
    assert delivery == Delivery.DELIVERED, f"the report of call {told.number} of {mail.instance!r} is {delivery}"
    return Outcome.COMMITTED


def purge(connection: Connection, shard: int, ids: Sequence[str]) -> list[str]:
    """Erase those that are finished, or entities with nothing to keep; returns their ids."""
    return [id for id in dict.fromkeys(ids) if _purge(connection, shard, id)]


def _purge(connection: Connection, shard: int, id: str) -> bool:
    occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
    if occupant is None:
        return False
    if connection.row(statements.SELECT_UNUSED_ENTITY, (shard, id)) is not None:
        _erase(connection, shard, id)
        return True
    return _erase_finished(connection, shard, id, occupant)


def _erase_finished(connection: Connection, shard: int, id: str, occupant: Row) -> bool:
    """Delete all rows of an instance if it is finished."""
    _, _, finished = occupant
    if finished:
        _erase(connection, shard, id)
    return bool(finished)


def _erase(connection: Connection, shard: int, id: str) -> None:
    for statement in statements.ERASE_INSTANCE:
        connection.change(statement, (shard, id))
