"""Whole instances as records, read from one store and written into another; and what keeps an app for that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import msgspec

from perdure.stores.contract import Claim, Mail, Permit, Place, Published, Reservation, Track, Whole
from perdure.stores.rules import check_discarding, check_reservable, check_taking_in, reserved_for
from perdure.stores.sql import reads, rows, statements
from perdure.stores.sql.connection import Connection, GuardingConnection, Row

T = TypeVar("T")
Home = Callable[[str, str], int]
"""The shard of an app's instance, by its id."""
_reservation = msgspec.json.Decoder(Reservation).decode


def reserved(connection: Connection, app: str) -> Reservation | None:
    row = connection.row(statements.SELECT_RESERVED, (app,))
    return None if row is None else _reservation(row[0])


def check_free(connection: Connection, shard: int) -> None:
    """Raises AppReserved while the app of the shard is kept for a move."""
    row = connection.row(statements.SELECT_RESERVED_SHARD, (shard,))
    if row is not None:
        raise reserved_for(row[0], _reservation(row[1]))


def unless_reserved(connection: Connection, shards: Collection[int], work: Callable[..., T], *args: Any) -> T:
    """Do work that writes to instances of these shards. Raises AppReserved, and nothing is written."""
    if isinstance(connection, GuardingConnection):
        return connection.unless_reserved(shards, work, *args)
    for shard in shards:
        check_free(connection, shard)
    return work(connection, *args)


def check_app_free(connection: Connection, app: str) -> None:
    """Likewise, of an app."""
    there = reserved(connection, app)
    if there is not None:
        raise reserved_for(app, there)


def reserve(connection: Connection, app: str, reservation: Reservation) -> None:
    """Keep the app, whose shards are nobody's."""
    check_reservable(app, reserved(connection, app), reservation)
    connection.change(statements.RESERVE, (app, msgspec.json.encode(reservation).decode()))
    if reservation.is_sealed:
        connection.change(statements.RAISE_EPOCHS, (app,))


def free(connection: Connection, app: str, by: str) -> None:
    there = reserved(connection, app)
    if there is not None and there.by == by and not there.is_sealed:
        connection.change(statements.RESERVE, (app, None))


def roll(connection: Connection, app: str, after: tuple[int, str], limit: int) -> list[tuple[int, Place]]:
    found = connection.rows(statements.SELECT_PLACES, (app, *after, limit))
    return [(row[0], Place(row[1], row[2], row[3], row[4], bool(row[5]))) for row in found]


def export(connection: Connection, shard: int, ids: Sequence[str]) -> list[Whole]:
    found = [_whole(connection, shard, id) for id in dict.fromkeys(ids)]
    return [whole for whole in found if whole is not None]


def _whole(connection: Connection, shard: int, id: str) -> Whole | None:
    key = (shard, id)
    row = connection.row(statements.SELECT_HEAD, key)
    if row is None:
        return None
    (head,) = reads.records(connection, rows.head_of, statements.SELECT_HEAD, key)
    return Whole(
        head,
        row[_PARENT_CALL],
        reads.records(connection, rows.segment_of, statements.SELECT_ALL_SEGMENTS, key),
        reads.records(connection, rows.wait_of, statements.SELECT_WAITS, key),
        reads.records(connection, rows.mail_of, statements.SELECT_MAIL, key),
        [seen for (seen,) in connection.rows(statements.SELECT_SEEN, key)][::-1],
        reads.records(connection, _published_of, statements.SELECT_ALL_PUBLISHED, key),
        [_track(connection, key, row) for row in list(connection.rows(statements.SELECT_TRACKS, key))],
        reads.records(connection, _claim_of, statements.SELECT_CLAIMS, key),
    )


_PARENT_CALL = statements.HEAD_COLUMNS.split(", ").index("parent_call")


def _published_of(row: Row) -> Published:
    name, number, value = row
    return Published(name, value.encode(), number > 0)


def _claim_of(row: Row) -> Claim:
    return Claim(*row)


def _track(connection: Connection, key: tuple[int, str], row: Row) -> Track:
    generation, number, name = row
    values = (*key, generation, number)
    return Track(generation, number, name, reads.records(connection, rows.item_of, statements.SELECT_TRACK, values))


def take_in(connection: Connection, app: str, by: str, wholes: Sequence[Whole], home: Home) -> list[str]:
    """Insert those whose ids are free; returns those that another execution has."""
    check_taking_in(app, reserved(connection, app), by)
    refused = []
    for whole in wholes:
        id = whole.head.id
        shard = home(app, id)
        occupant = connection.row(statements.SELECT_OCCUPANT, (shard, id))
        if occupant is None:
            _insert(connection, shard, whole)
        elif occupant[0] != whole.head.execution:
            refused.append(id)
    return refused


def _insert(connection: Connection, shard: int, whole: Whole) -> None:
    id = whole.head.id
    head = rows.head_row(shard, whole.head, whole.parent_call)
    connection.change(statements.INSERT_HEAD[len(head)], head)
    for sql, found in (
        (statements.INSERT_TAG, rows.tag_rows(shard, whole.head)),
        (statements.INSERT_SEGMENT, [(shard, id, one.sequence, one.events.decode()) for one in whole.segments]),
        (statements.INSERT_PLACED_MAIL, [_mail_row(shard, *numbered) for numbered in enumerate(whole.mail, 1)]),
        (statements.INSERT_PLACED_SEEN, [(shard, id, number, key) for number, key in enumerate(whole.seen, 1)]),
        (statements.INSERT_PLACED_VALUE, _published_rows(shard, whole)),
        (statements.INSERT_TRACK, [(shard, id, each.generation, each.number, each.name) for each in whole.tracks]),
        (statements.INSERT_PLACED_ITEM, _item_rows(shard, whole)),
        (statements.TAKE_FREE_CLAIM, [(shard, claim.name, id, claim.until) for claim in whole.claims]),
    ):
        if found:
            connection.change_many(sql, found)
    for wait in whole.waits:
        row = rows.wait_row(shard, id, wait)
        connection.change(statements.INSERT_WAIT[len(row)], row)


def _mail_row(shard: int, number: int, mail: Mail) -> Row:
    first, id, *rest = rows.mail_row(shard, mail)
    return (first, id, number, *rest)


def _published_rows(shard: int, whole: Whole) -> list[Row]:
    plain = [(one, 0) for one in whole.published if not one.answer]
    answers = [(one, number) for number, one in enumerate((o for o in whole.published if o.answer), 1)]
    return [(shard, whole.head.id, one.name, number, one.value.decode()) for one, number in plain + answers]


def _item_rows(shard: int, whole: Whole) -> list[Row]:
    return [
        (shard, whole.head.id, track.generation, track.number, *rows.placed_item(item))
        for track in whole.tracks
        for item in track.items
    ]


def recount(connection: Connection, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
    check_taking_in(app, reserved(connection, app), by)
    for queue in sorted({permit.queue for permit in permits}):
        connection.change(statements.FORGET_QUEUE, (shard, queue))
    if permits:
        connection.change_many(
            statements.INSERT_PERMIT, [(shard, permit.queue, permit.at, permit.until) for permit in permits]
        )


def discard(connection: Connection, app: str, by: str, places: Sequence[Place], home: Home) -> None:
    check_discarding(app, reserved(connection, app), by)
    for place in places:
        key = (home(app, place.id), place.id)
        occupant = connection.row(statements.SELECT_OCCUPANT, key)
        if occupant is not None and occupant[0] == place.execution:
            for statement in statements.ERASE_INSTANCE:
                connection.change(statement, key)
