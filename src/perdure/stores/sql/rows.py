"""Records to rows and back, without a database: which field stands in which column, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.stores.contract import (
    Append,
    Creation,
    End,
    Halt,
    Head,
    Item,
    Letter,
    Mail,
    OpenCall,
    Published,
    Segment,
    Stream,
    Turn,
    Wait,
)
from perdure.stores.sql.connection import Row

_encode = msgspec.json.Encoder().encode
_payload: Callable[[str], Payload] = msgspec.json.Decoder(Payload).decode
_halt: Callable[[str], Halt] = msgspec.json.Decoder(Halt).decode
_tags: Callable[[str], dict[str, str]] = msgspec.json.Decoder(dict[str, str]).decode
_facts: Callable[[str], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode

PlainWait = tuple[int, str, str, int, int | None, str | None, str | None, int, str, str | None, str | None, int | None]
"""The first columns of a wait. They are checked, because SQLite keeps text in a column of integers."""


def _text(value: Any) -> str | None:
    """A value as JSON text, because people read the tables with SQL."""
    return None if value is None else _encode(value).decode()


def _optional(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def payload_text(payload: Payload | None) -> str | None:
    return _text(payload)


def head_row(shard: int, head: Head, parent_call: str | None = None) -> Row:
    """Of a new instance. It ends before the columns that are seldom used if all of them are null."""
    common = (
        shard,
        head.id,
        head.sequence,
        head.updated,
        head.execution,
        head.generation,
        head.app,
        head.name,
        head.kind,
        head.status,
        head.created,
    )
    changing = _changing(head)
    rare = (head.finished, head.parent, parent_call, changing[0], _text(head.tags), *changing[1:])
    return common if rare == _NOTHING[:9] else common + rare


def head_update_row(turn: Turn, head: Head) -> Row:
    """What of a head may change around the turn's condition. It ends as `head_row` does."""
    common = (
        head.sequence,
        head.updated,
        head.execution,
        head.generation,
        head.status,
        head.finished,
        turn.shard,
        turn.id,
        turn.execution,
        turn.generation,
        turn.expected,
    )
    rare = _changing(head)
    return common if rare == _NOTHING[:5] else common + rare


def _changing(head: Head) -> Row:
    """The columns that are seldom used and that may change."""
    return (
        head.version,
        _text(head.custom_status),
        _text(head.suspended),
        _text(head.stalled),
        _text(head.more or None),
    )


_NOTHING = (None,) * 9
"""What stands in columns that are seldom used."""


def head_of(row: Row) -> Head:
    (
        _,
        id,
        sequence,
        updated,
        execution,
        generation,
        app,
        name,
        kind,
        status,
        created,
        finished,
        parent,
        _,
        version,
        tags,
        custom_status,
        suspended,
        stalled,
        more,
    ) = row
    return Head(
        id,
        app,
        name,
        status,
        execution,
        generation,
        sequence,
        created,
        updated,
        finished,
        parent,
        None if tags is None else _tags(tags),
        None if custom_status is None else _payload(custom_status),
        None if suspended is None else _halt(suspended),
        None if stalled is None else _halt(stalled),
        version,
        kind,
        {} if more is None else _facts(more),
    )


def tag_rows(shard: int, head: Head) -> list[Row]:
    tags = head.tags or {}
    return [(shard, head.id, key, value, head.app, head.created) for key, value in tags.items()]


def wait_row(shard: int, instance: str, wait: Wait) -> Row:
    """It ends before the columns that are seldom used if all of them are null."""
    common = (
        shard,
        instance,
        wait.number,
        wait.kind,
        wait.name,
        wait.since,
        wait.line,
        wait.attempt,
        wait.state,
        _text(wait.input),
    )
    rare = (
        wait.due,
        wait.on,
        wait.token,
        wait.claimed_by,
        wait.claimed_until,
        _text(wait.details),
        _optional(wait.options),
        _optional(wait.failure),
        wait.lapses or None,
    )
    return common if rare == _NOTHING[:9] else common + rare


def wait_of(row: Row) -> Wait:
    plain: tuple[Any, ...] = msgspec.convert(row[:12], PlainWait)
    details, input, options, failure, lapses = row[12:]
    rest = (
        None if details is None else _payload(details),
        None if input is None else _payload(input),
        None if options is None else options.encode(),
        None if failure is None else failure.encode(),
        int(lapses or 0),
    )
    return Wait(*(plain + rest))


def open_call_of(shard: int, row: Row) -> OpenCall:
    instance, execution, generation, *wait = row
    return OpenCall(shard, instance, execution, generation, wait_of(tuple(wait)))


def mail_row(shard: int, mail: Mail) -> Row:
    return (shard, mail.instance, mail.key, mail.event.decode(), mail.at, mail.execution, mail.generation)


def mail_of(row: Row) -> Mail:
    instance, key, event, at, execution, generation = row
    return Mail(instance, key, event.encode(), at, execution, generation)


def published_row(shard: int, instance: str, published: Published) -> Row:
    return (shard, instance, published.name, published.value.decode(), published.answer)


def item_rows(append: Append) -> list[Row]:
    """A row for each item, which begins with the condition of the append."""
    condition = stream_row(append)
    return [
        (*condition, position, _encode(value).decode(), append.at)
        for position, value in enumerate(append.values, append.after + 1)
    ]


def letter_of(shard: int, row: Row) -> Letter:
    return Letter(shard, mail_of(row[:6]), None if row[7] is None else head_of(row[6:]))


def end_of(row: Row) -> End:
    """Of a row that says what has become of a run."""
    *head, first, last = row
    if head[1] is None:
        return End()
    return End(head_of(tuple(head)), None if first is None else first.encode(), None if last is None else last.encode())


def placed_item(item: Item) -> Row:
    return (item.offset, _encode(item.value).decode(), item.attempt, item.at)


def stream_row(append: Append) -> Row:
    return (append.shard, append.id, append.execution, append.generation, append.number, append.attempt)


def item_of(row: Row) -> Item:
    position, value, attempt, at = row
    return Item(position, _payload(value), attempt, at)


def stream_of(row: Row) -> Stream:
    generation, number, name, length, is_open = row
    return Stream(generation, number, name, length, bool(is_open))


def segment_of(row: Row) -> Segment:
    return Segment(row[0], row[1].encode())


def sizes(turn: Turn) -> Iterator[int]:
    """About how many bytes each row of the turn takes, at most."""
    if turn.head is not None:
        yield _size(head_row(turn.shard, turn.head))
    if turn.segment is not None:
        yield len(turn.segment)
    for wait in (*turn.opened, *turn.changed):
        yield _size(wait_row(turn.shard, turn.id, wait))
    for mail in turn.mail:
        yield _size(mail_row(turn.shard, mail))
    for published in turn.published:
        yield len(published.value)
    for creation in turn.created:
        yield from _creation_sizes(turn.shard, creation)


def _creation_sizes(shard: int, creation: Creation) -> Iterator[int]:
    yield _size(head_row(shard, creation.head))
    yield _size(mail_row(shard, creation.mail))
    for wait in creation.waits:
        yield _size(wait_row(shard, creation.head.id, wait))


def _size(row: Row) -> int:
    return sum(len(value.encode()) if isinstance(value, str) else 9 for value in row)
