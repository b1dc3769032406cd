"""How turns become statements: all of a commit together, and one by one where a condition does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from perdure.stores.contract import ANSWERS_MAX, MAILBOX_MESSAGES_MAX, SEEN_MAX, Append, Mail, Outcome, Turn
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row, TransactionConflict
from perdure.stores.sql.instances import create, insert_instances, vacate

Home = Callable[[str, str], int]
"""Which shard holds an instance, by app and id."""


class OwnRows:
    """The rows that turns write of their own instances, by statement."""

    __slots__ = (
        "advanced",
        "changed",
        "closed",
        "consumed",
        "erased",
        "inserted",
        "opened",
        "permits",
        "permits_forgotten",
        "published",
        "replaced",
        "seen",
        "segments",
        "tags",
    )

    def __init__(self, turns: Sequence[Turn]) -> None:
        self.advanced: list[Row] = []
        self.replaced: list[Row] = []
        self.inserted: list[Row] = []
        self.tags: list[Row] = []
        self.erased: list[Row] = []
        self.segments: list[Row] = []
        self.closed: list[Row] = []
        self.changed: list[Row] = []
        self.opened: list[Row] = []
        self.consumed: list[Row] = []
        self.seen: list[Row] = []
        self.published: list[Row] = []
        self.permits: list[Row] = []
        self.permits_forgotten: set[Row] = set()
        for turn in turns:
            self._add(turn)

    def _add(self, turn: Turn) -> None:
        shard = turn.shard
        id = turn.id
        sequence = self._add_head(turn)
        if turn.segment is not None:
            self.segments.append((shard, id, sequence, turn.segment.decode()))
        if turn.closed:
            self.closed += [(shard, id, number) for number in turn.closed]
        if turn.opened:
            self.opened += [rows.wait_row(shard, id, wait) for wait in turn.opened]
        if turn.changed:
            self.changed += [rows.wait_row(shard, id, wait) for wait in turn.changed]
        if turn.consumed:
            self.consumed += [(shard, id, key) for key in turn.consumed]
        if turn.seen:
            self.seen += [(shard, id, key) for key in turn.seen]
        if turn.published:
            self.published += [rows.published_row(shard, id, published) for published in turn.published]
        if turn.permits:
            self.permits += [(shard, permit.queue, permit.at, permit.until) for permit in turn.permits]
            self.permits_forgotten |= {(shard, permit.queue, turn.at) for permit in turn.permits}
        if turn.erase:
            self.erased.append((shard, id, turn.generation))

    def _add_head(self, turn: Turn) -> int:
        """Returns the new head's sequence."""
        head = turn.head
        expected = turn.expected
        if head is None:
            assert expected is not None, "a start brings a head"
            self.advanced.append(
                (expected + 1, turn.at, turn.shard, turn.id, turn.execution, turn.generation, expected)
            )
            return expected + 1
        if expected is not None:
            self.replaced.append(rows.head_update_row(turn, head))
        else:
            self.inserted.append(rows.head_row(turn.shard, head))
            self.tags += rows.tag_rows(turn.shard, head)
        return head.sequence

    def write(self, connection: Connection) -> None:
        """Statement by statement over all turns, because that is several times cheaper than turn by turn.

        Raises TransactionConflict if any turn's condition does not hold.
        """
        many = connection.change_many
        if self.advanced:
            expect(many(statements.ADVANCE_HEAD, self.advanced), self.advanced)
        if self.replaced:
            expect(many(statements.REPLACE_HEAD, self.replaced), self.replaced)
        if self.inserted:
            many(statements.INSERT_HEAD, self.inserted)
            if self.tags:
                many(statements.INSERT_TAG, self.tags)
        if self.erased:
            for statement in statements.ERASE_RUN:
                many(statement, [(shard, id) for shard, id, _ in self.erased])
            for statement in statements.ERASE_STREAMS:
                many(statement, self.erased)
        if self.segments:
            many(statements.INSERT_SEGMENT, self.segments)
        if self.closed:
            many(statements.DELETE_WAIT, self.closed)
        if self.changed:
            many(statements.REPLACE_WAIT, self.changed)
        if self.opened:
            many(statements.INSERT_WAIT, self.opened)
        if self.consumed:
            many(statements.DELETE_MAIL, self.consumed)
        self._write_bounded(many)

    def _write_bounded(self, many: Callable[[str, Iterable[Row]], int]) -> None:
        """What is kept up to a number of rows for each instance."""
        if self.seen:
            many(statements.INSERT_SEEN, self.seen)
            many(statements.FORGET_SEEN, {(shard, id, SEEN_MAX) for shard, id, _ in self.seen})
        if self.published:
            many(statements.PUBLISH, self.published)
            many(statements.FORGET_ANSWERS, {(shard, id, ANSWERS_MAX) for shard, id, *_ in self.published})
        if self.permits:
            many(statements.FORGET_PERMITS, self.permits_forgotten)
            many(statements.INSERT_PERMIT, self.permits)


def expect(changed: int, conditional: Sequence[Row]) -> None:
    """Each of these rows has a condition, so fewer changes mean that one did not hold."""
    if changed != len(conditional):
        raise TransactionConflict


def write_together(connection: Connection, turns: Sequence[Turn], app: str, home: Home) -> None:
    """Write all turns if all conditions hold and nothing is refused. Raises TransactionConflict if not."""
    OwnRows(turns).write(connection)
    created = [creation for turn in turns for creation in turn.created]
    if created:
        insert_instances(connection, [(home(c.head.app, c.head.id), c) for c in created])
    sent = [mail for turn in turns for mail in turn.mail]
    if sent:
        send(connection, sent, app, home)


def write_singly(
    connection: Connection, turns: Sequence[Turn], app: str, home: Home, row_bytes_max: int
) -> list[Outcome]:
    """Write the turns whose condition holds, and find out what became of each."""
    outcomes = [write_own(connection, turn, row_bytes_max) for turn in turns]
    decided = zip(turns, outcomes, strict=True)
    committed = [turn for turn, outcome in decided if outcome is Outcome.COMMITTED]
    for turn in committed:
        for creation in turn.created:
            created = create(connection, home(creation.head.app, creation.head.id), creation)
            if not created and creation.refusal is not None:
                send(connection, [creation.refusal], app, home)
    for turn in committed:
        send(connection, turn.mail, app, home)
    return outcomes


def write_appends(connection: Connection, appends: Sequence[Append]) -> None:
    """Write all items. Raises TransactionConflict if any append's condition does not hold."""
    begun = [rows.stream_row(append) for append in appends if not append.after]
    if begun:
        connection.change_many(statements.INSERT_STREAM, begun)
    items = [row for append in appends for row in rows.item_rows(append)]
    expect(connection.change_many(statements.INSERT_ITEM, items), items)


def write_append(connection: Connection, append: Append, row_bytes_max: int) -> Outcome:
    """Write the items of one append, or nothing."""
    if max(len(value.data) for value in append.values) > row_bytes_max:
        return Outcome.TOO_LARGE
    return _attempted(connection, lambda: write_appends(connection, [append]))


def write_own(connection: Connection, turn: Turn, row_bytes_max: int) -> Outcome:
    """Write the rows of the turn's own instance, or nothing."""
    if max(rows.sizes(turn), default=0) > row_bytes_max:
        return Outcome.TOO_LARGE
    if turn.expected is None and not vacate(connection, turn.shard, turn.id):
        return Outcome.EXISTS
    return _attempted(connection, lambda: OwnRows([turn]).write(connection))


def _attempted(connection: Connection, write: Callable[[], None]) -> Outcome:
    """Whether the condition of a write held; if not, nothing of it is left."""
    connection.savepoint()
    try:
        write()
    except TransactionConflict:
        connection.rollback_to_savepoint()
        return Outcome.CONFLICT
    connection.release_savepoint()
    return Outcome.COMMITTED


def send(connection: Connection, sent: Sequence[Mail], app: str, home: Home) -> None:
    """Deliver what can be delivered of a turn's mail."""
    connection.change_many(
        statements.DELIVER_MAIL,
        [(*rows.mail_row(home(mail.app or app, mail.instance), mail), MAILBOX_MESSAGES_MAX) for mail in sent],
    )
