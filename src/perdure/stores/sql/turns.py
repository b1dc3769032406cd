"""How turns become statements: all of a commit together, and one by one where a condition does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.stores.contract import (
    ANSWERS_MAX,
    SEEN_MAX,
    Append,
    Batch,
    Creation,
    Mail,
    Outcome,
    Turn,
)
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, RecordTooLarge, Row, Step, TransactionConflict, by_length
from perdure.stores.sql.instances import create, creation_steps, delivery_row, join, joining_steps, vacate

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
        "notices",
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
        self.notices: list[Row] = []
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
        if turn.notices:
            self.notices += [(shard, notice.instance, notice.event.decode()) for notice in turn.notices]
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
            if head.tags:
                self.tags += rows.tag_rows(turn.shard, head)
        return head.sequence

    def steps(self) -> list[Step]:
        """Statement by statement over all turns, because that is several times cheaper than turn by turn."""
        steps: list[Step] = []
        if self.advanced:
            steps.append(Step(statements.ADVANCE_HEAD, self.advanced, True))
        if self.replaced:
            steps += by_length(statements.REPLACE_HEAD, self.replaced, is_condition=True)
        if self.inserted:
            steps += by_length(statements.INSERT_HEAD, self.inserted)
        if self.tags:
            steps.append(Step(statements.INSERT_TAG, self.tags))
        if self.erased:
            runs = [(shard, id) for shard, id, _ in self.erased]
            steps += [Step(statement, runs) for statement in statements.ERASE_RUN]
            steps += [Step(statement, self.erased) for statement in statements.ERASE_STREAMS]
        if self.segments:
            steps.append(Step(statements.INSERT_SEGMENT, self.segments))
        if self.closed:
            steps.append(Step(statements.DELETE_WAIT, self.closed))
        if self.changed:
            steps += by_length(statements.REPLACE_WAIT, self.changed)
        if self.opened:
            steps += by_length(statements.INSERT_WAIT, self.opened)
        if self.consumed:
            steps.append(Step(statements.DELETE_MAIL, self.consumed))
        return steps + self._bounded()

    def _bounded(self) -> list[Step]:
        """What is kept up to a number of rows for each instance."""
        steps: list[Step] = []
        if self.seen:
            steps.append(Step(statements.INSERT_SEEN, self.seen))
            steps.append(Step(statements.FORGET_SEEN, {(shard, id, SEEN_MAX) for shard, id, _ in self.seen}))
        if self.published:
            steps.append(Step(statements.PUBLISH, self.published))
            bounds = {(shard, id, ANSWERS_MAX) for shard, id, *_ in self.published}
            steps.append(Step(statements.FORGET_ANSWERS, bounds))
        if self.permits:
            steps.append(Step(statements.FORGET_PERMITS, self.permits_forgotten))
            steps.append(Step(statements.INSERT_PERMIT, self.permits))
        if self.notices:
            steps.append(Step(statements.INSERT_NOTICE, self.notices))
        return steps


def steps_together(batches: Sequence[Batch], token: str, app: str, home: Home) -> list[Step]:
    """What writes all appends and turns if all leases hold, all conditions hold and nothing is refused."""
    turns = [turn for batch in batches for turn in batch.turns]
    steps = [Step(statements.FENCE, sorted((b.lease.shard, b.lease.epoch, token) for b in batches), True)]
    steps += append_steps([append for batch in batches for append in batch.appends])
    steps += OwnRows(turns).steps()
    created = [(home(c.head.app, c.head.id), c) for turn in turns for c in turn.created]
    if alone := [(shard, creation) for shard, creation in created if not creation.joins]:
        steps += creation_steps(alone)
    if joining := [(shard, creation) for shard, creation in created if creation.joins]:
        if any(creation.waits or creation.head.tags for _, creation in joining):
            raise TransactionConflict
        steps += joining_steps(joining)
    if sent := [mail for turn in turns for mail in turn.mail]:
        steps.append(_sending(sent, app, home))
    return steps


def write_singly(
    connection: Connection, batches: Sequence[Batch], app: str, home: Home, row_bytes_max: int
) -> list[Outcome]:
    """Write the turns and appends whose condition holds, and find out what became of each."""
    outcomes: list[Outcome] = []
    committed: list[Turn] = []
    for batch in batches:
        appended = [write_append(connection, append, row_bytes_max) for append in batch.appends]
        written = [write_own(connection, turn, row_bytes_max) for turn in batch.turns]
        decided = zip(batch.turns, written, strict=True)
        committed += [turn for turn, outcome in decided if outcome is Outcome.COMMITTED]
        outcomes += written + appended
    for turn in committed:
        for creation in turn.created:
            _create_sent(connection, creation, app, home)
    for turn in committed:
        send(connection, turn.mail, app, home)
    return outcomes


def _create_sent(connection: Connection, creation: Creation, app: str, home: Home) -> None:
    there = home(creation.head.app, creation.head.id)
    if creation.joins:
        join(connection, there, creation)
    elif not create(connection, there, creation) and creation.refusal is not None:
        send(connection, [creation.refusal], app, home)


def append_steps(appends: Sequence[Append]) -> list[Step]:
    """What writes all items if the condition of each append holds."""
    if not appends:
        return []
    begun = [rows.stream_row(append) for append in appends if not append.after]
    items = [row for append in appends for row in rows.item_rows(append)]
    return [*([Step(statements.INSERT_STREAM, begun)] if begun else ()), Step(statements.INSERT_ITEM, items, True)]


def write_append(connection: Connection, append: Append, row_bytes_max: int) -> Outcome:
    """Write the items of one append, or nothing."""
    if max(len(value.data) for value in append.values) > row_bytes_max:
        return Outcome.TOO_LARGE
    return _attempted(connection, append_steps([append]))


def write_own(connection: Connection, turn: Turn, row_bytes_max: int) -> Outcome:
    """Write the rows of the turn's own instance, or nothing."""
    if max(rows.sizes(turn), default=0) > row_bytes_max:
        return Outcome.TOO_LARGE
    if turn.expected is None and not vacate(connection, turn.shard, turn.id, turn.execution):
        return Outcome.EXISTS
    return _attempted(connection, OwnRows([turn]).steps())


def _attempted(connection: Connection, steps: Sequence[Step]) -> Outcome:
    """Whether the conditions of steps held; if not, nothing of them is left."""
    connection.savepoint()
    try:
        connection.run(steps)
    except TransactionConflict as conflict:
        connection.rollback_to_savepoint()
        return Outcome.TOO_LARGE if isinstance(conflict, RecordTooLarge) else Outcome.CONFLICT
    connection.release_savepoint()
    return Outcome.COMMITTED


def send(connection: Connection, sent: Sequence[Mail], app: str, home: Home) -> None:
    """Deliver what can be delivered of a turn's mail."""
    if sent:
        connection.run([_sending(sent, app, home)])


def _sending(sent: Sequence[Mail], app: str, home: Home) -> Step:
    return Step(
        statements.DELIVER_MAIL,
        [delivery_row(home(mail.app or app, mail.instance), mail) for mail in sent],
    )
