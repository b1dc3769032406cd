"""How MySQL and MariaDB say what `statements` says: words, one statement for many rows, and what is locked for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from perdure.stores.contract import FINISHED as ENDED
from perdure.stores.sql import search, statements
from perdure.stores.sql.connection import Row
from perdure.stores.sql.reads import ALL
from perdure.stores.sql.statements import FINISHED

KEY_CHARACTERS_MAX = 190
"""Keys up to this length stand in an index as they are."""
_PREFIX_CHARACTERS = 150
_DIGEST_CHARACTERS = 40
ROWS_MAX = 500
"""Rows of one statement; more make further statements."""
STATEMENT_CHARACTERS = 100_000
"""A statement takes no further row that would make it longer."""
BASE64_BYTES_MIN = 4096
"""Text of this size that is full of quotes is sent in base64, so that it grows by a third at most."""

CHECK = "select case when row_count() = {} then 1 else (select 1 union select 2) end"
"""Fails, and with it ends what is sent along, unless the statement before has changed that many rows."""


def key(text: str) -> str:
    """What stands in an index for an id or another key: itself, or of a long one the beginning and a digest.

    The latter have a length that no other has, so two different keys never become the same, unless SHA-256 collides.
    """
    if len(text) <= KEY_CHARACTERS_MAX:
        return text
    return f"{text[:_PREFIX_CHARACTERS]}~{sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


def literal(value: Any) -> str:
    """A value as SQL. The connection has NO_BACKSLASH_ESCAPES, so a quote is all that is special."""
    if type(value) is int:
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, str):
        if "'" not in value:
            return f"'{value}'"
        if len(value) > BASE64_BYTES_MIN and value.count("'") > len(value) // 4:
            return f"convert(from_base64('{_base64(value)}') using utf8mb4)"
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return "1" if value else "0"
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _base64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode()).decode()


def _key_literal(value: Any) -> str:
    return literal(key(value) if isinstance(value, str) else value)


def _long_literal(value: Any) -> str:
    return literal(value if isinstance(value, str) and len(value) > KEY_CHARACTERS_MAX else None)


def _folded_literal(value: str) -> str:
    return literal(value.casefold())


def _other_case_literal(value: str) -> str:
    folded = value.casefold()
    return literal(None if folded == value else folded)


_LITERALS: dict[str, Callable[[Any], str]] = {
    "": literal,
    "k": _key_literal,
    "l": _long_literal,
    "f": _folded_literal,
    "o": _other_case_literal,
}
_PLACE = re.compile(r"\?(\d+)([klfo]?)\b")


class Template:
    """SQL with places for values: ?2 for the second, ?2k for the key that it makes, ?2l for it only if it is long, ?2f
    for its folded case, and ?2o for that only if it differs."""

    __slots__ = ("_places", "_text")

    def __init__(self, sql: str) -> None:
        pieces = _PLACE.split(sql)
        places = zip(pieces[1::3], pieces[2::3], strict=True)
        self._places = [(int(number) - 1, _LITERALS[kind]) for number, kind in places]
        self._text: list[str] = [""] * (2 * len(self._places) + 1)
        self._text[::2] = pieces[::3]

    def fill(self, values: Sequence[Any]) -> str:
        text = self._text.copy()
        text[1::2] = [write(values[place]) for place, write in self._places]
        return "".join(text)


class Phrase:
    """One statement in the words of MySQL: for one row, and for many.

    With `many` they become one statement: `many`, filled from the first row, then `each` filled for each row, then
    `tail`. Without it there is a statement for each. `counts` is what a changed row counts: 0 if the statement fails
    unless it changes every row, 2 if it is an insertion that must find its row there. `before` is locked first, because
    a statement sees what was there when it began, and must not begin to wait after that. `locking` is said instead
    where the transaction decides by what it reads.
    """

    __slots__ = ("_before", "_counts", "_each", "_locking", "_many", "_one", "_tail")

    def __init__(
        self,
        one: str,
        *,
        many: str | None = None,
        each: str = "",
        tail: str = "",
        counts: int = 1,
        before: Collection[str] = (),
        locking: str | None = None,
    ) -> None:
        self._one = Template(one)
        self._many = None if many is None else Template(many)
        self._each = Template(each)
        self._tail = tail
        self._counts = counts
        self._before = [Template(sql) for sql in before]
        self._locking = None if locking is None else Template(locking)

    def one(self, values: Sequence[Any], *, decides: bool) -> tuple[list[str], str]:
        """What is locked first, and the statement."""
        if not decides:
            return [], self._one.fill(values)
        statement = self._one if self._locking is None else self._locking
        return [lock.fill(values) for lock in self._before], statement.fill(values)

    def steps(self, rows: Collection[Row], is_condition: bool) -> Iterator[str]:
        """The statements for many rows, with those that check them if each row must change."""
        if self._many is None:
            yield from self._singly(rows, is_condition)
            return
        for text, count in self._together(rows):
            yield text
            if is_condition and self._counts:
                yield CHECK.format(count * self._counts)

    def _singly(self, rows: Collection[Row], is_condition: bool) -> Iterator[str]:
        # in order, because two nodes that lock the same ones in different orders wait for each other
        for lock in self._before:
            yield from dict.fromkeys(lock.fill(row) for row in sorted(rows, key=lambda row: row[:2]))
        for row in rows:
            yield self._one.fill(row)
            if is_condition:
                yield CHECK.format(1)

    def _together(self, rows: Collection[Row]) -> Iterator[tuple[str, int]]:
        assert self._many is not None
        some: list[str] = []
        size = 0
        begin = ""
        for row in rows:
            begin = begin or self._many.fill(row)
            text = self._each.fill(row)
            if some and (len(some) == ROWS_MAX or size + len(text) > STATEMENT_CHARACTERS):
                yield f"{begin}{', '.join(some)}{self._tail}", len(some)
                some, size = [], 0
            some.append(text)
            size += len(text)
        if some:
            yield f"{begin}{', '.join(some)}{self._tail}", len(some)


def _marked(sql: str, keys: Collection[int]) -> str:
    """A statement whose places of these numbers are keys."""
    return _PLACE.sub(lambda found: f"?{found[1]}{'k' if int(found[1]) in keys else ''}", sql)


def _plainly(sql: str) -> str:
    """Words that MySQL has for the same: `key` is one of its own, and an index is forced by other words."""
    sql = re.sub(r"(?<![\w`])key(?![\w`])", "`key`", sql)
    return re.sub(r"indexed by (\w+)", r"force index (\1)", sql).replace("clock()", CLOCK)


def _same(sql: str, *keys: int, before: Collection[str] = (), locks: bool = False) -> Phrase:
    said = _marked(_plainly(sql), keys)
    return Phrase(said, before=before, locking=f"{said} for update" if locks else None)


def _insert(table: str, places: dict[str, str], tail: str = "", *, counts: int = 0) -> Phrase:
    """An insertion of whole rows, whose columns have these places."""
    many = f"insert into perdure_{table} ({', '.join(places)}) values "
    each = f"({', '.join(places.values())})"
    return Phrase(many + each + tail, many=many, each=each, tail=tail, counts=counts)


CLOCK = "cast(unix_timestamp(now(6)) * 1000000 as signed)"
"""The server's time in microseconds."""
LOCK_HEAD = "select 1 from perdure_head where shard = ?1 and id = ?2k for update"
LOCK_SHARD = "select 1 from perdure_shard where id = ?1 for update"
HEAD = "perdure_head as head force index (primary)"
"""Joined by its whole key, whatever the server thinks of the size of the table."""
GATE = "select 1 from perdure_gate where app in ({}) order by app "
"""Who writes to an app passes it with others; a move that keeps the app has it alone."""
UNRESERVED = """
select case when exists (select 1 from perdure_shard where id in ({}) and reserved is not null)
    then (select 1 union select 2) else 1 end
"""
"""Fails if the app of one of the shards is kept for a move."""
INSTANCE = "coalesce(head.long_id, head.id)"

# Heads.

_HEAD_OF_QUERY = ", ".join(
    f"coalesce({{0}}.long_{column}, {{0}}.{column})" if column in ("id", "name", "parent") else f"{{0}}.{column}"
    for column in statements.HEAD_COLUMNS.split(", ")
)
"""The columns of a head, of which a query has the name."""
HEAD_COLUMNS = (
    "shard, coalesce(long_id, id), sequence, updated, execution, generation, app, coalesce(long_name, name), kind, "
    "status, created, finished, coalesce(long_parent, parent), parent_call, version, tags, custom_status, suspended, "
    "stalled, more"
)
_HEAD = {
    **{"shard": "?1", "id": "?2k", "long_id": "?2l", "sequence": "?3", "updated": "?4", "execution": "?5"},
    **{"generation": "?6", "app": "?7", "name": "?8k", "long_name": "?8l", "kind": "?9", "status": "?10"},
    **{"created": "?11", "folded_id": "?2o", "folded_name": "?8o"},
}
_RARE_HEAD = {
    **{"finished": "?12", "parent": "?13k", "long_parent": "?13l", "parent_call": "?14", "version": "?15"},
    **{"tags": "?16", "custom_status": "?17", "suspended": "?18", "stalled": "?19", "more": "?20"},
}
_HEADS = {11: _HEAD, 20: _HEAD | _RARE_HEAD}
_RARE_CHANGES = ("version", "custom_status", "suspended", "stalled", "more")


def _replace_head(length: int) -> Phrase:
    """A change of heads as an insertion that finds its row there, because that is the cheapest way to change many.

    One that is not as expected would get null for `updated`, which is an error, and one that is inserted counts 1 and
    not 2. `parent_call`, which never changes, brings what is expected.
    """
    places = {
        **{"shard": "?7", "id": "?8k", "sequence": "?1", "updated": "?2", "execution": "?3", "generation": "?4"},
        **{"status": "?5", "finished": "?6", "parent_call": "concat(?9, '/', ?10, '/', ?11)"},
        **({column: f"?{place}" for place, column in enumerate(_RARE_CHANGES, 12)} if length > 11 else {}),
        **{"app": "''", "name": "''", "kind": "''", "created": "0"},
    }
    changes = ", ".join(
        f"{column} = values({column})"
        for column in ("sequence", "execution", "generation", "status", "finished", *_RARE_CHANGES)
    )
    expected = "concat(execution, '/', generation, '/', sequence) = values(parent_call)"
    tail = f" on duplicate key update updated = if({expected}, values(updated), null), {changes}"
    return _insert("head", places, tail, counts=2)


_ADVANCE = {
    **{"shard": "?3", "id": "?4k", "sequence": "?1", "updated": "?2", "execution": "?5", "generation": "?6"},
    **{"created": "?7", "app": "''", "name": "''", "kind": "''", "status": "''"},
}
_AS_EXPECTED = "execution = values(execution) and generation = values(generation) and sequence = values(created)"
_JOIN = f" on duplicate key update updated = if(status in {FINISHED}, null, updated)"

# Waits.

_WAIT_COLUMNS = (
    *("shard", "instance"),
    *("number", "kind", "name", "since", "line", "attempt", "state", "input"),
    *("due", "on_whom", "token", "claimed_by", "claimed_until", "details", "options", "failure", "lapses"),
)
_WAITS = {
    length: {column: f"?{place}{'k' if place == 2 else ''}" for place, column in enumerate(_WAIT_COLUMNS[:length], 1)}
    for length in (10, 19)
}
CALL = f"{INSTANCE}, head.execution, head.generation, " + ", ".join(
    f"wait.{column}" for column in statements.WAIT_COLUMNS.split(", ")
)
WAIT_OF_HEAD = "on head.shard = wait.shard and head.id = wait.instance"
_IN_QUEUE = f"""
select {CALL} from perdure_wait as wait force index (perdure_wait_state)
    straight_join {HEAD} {WAIT_OF_HEAD}
where wait.shard = ?1 and wait.instance > ?2k and wait.state in ('queued', 'admitted') and head.status not in {FINISHED}
order by wait.instance, wait.number
"""
_OPEN = f"""
select {CALL} from perdure_wait as wait force index (primary) straight_join {HEAD} {WAIT_OF_HEAD}
where wait.shard = ?1 and wait.instance > ?2k and wait.kind = 'activity' and head.status not in {FINISHED}
    and head.suspended is null
order by wait.instance, wait.number
"""
# Mail. Its id orders it, and is the place at which `watch` looks.

_MAIL = {
    **{"shard": "?1", "instance": "?2k", "`key`": "?3k", "long_key": "?3l", "event": "?4", "at": "?5"},
    **{"execution": "?6", "generation": "?7"},
}
_MAIL_COLUMNS = f"{INSTANCE}, coalesce(mail.long_key, mail.`key`), mail.event, mail.at, mail.execution, mail.generation"
_MAIL_OF_HEAD = "on head.shard = mail.shard and head.id = mail.instance"
_DELIVER = f"""
insert into perdure_mail ({", ".join(_MAIL)}) select {", ".join(_MAIL.values())}
from perdure_head as head
where head.shard = ?1 and head.id = ?2k and head.status not in {FINISHED}
    and not exists (select 1 from perdure_seen where shard = ?1 and instance = ?2k and `key` = ?3k)
    and not exists (select 1 from perdure_mail where shard = ?1 and instance = ?2k and `key` = ?3k)
    and (?6 is not null or (select count(*) from perdure_mail where shard = ?1 and instance = ?2k) < ?8)
"""
_OF_INSTANCE = f"""
select {_MAIL_COLUMNS} from perdure_mail as mail straight_join {HEAD} {_MAIL_OF_HEAD}
where mail.shard = ?1 and mail.instance = ?2k order by mail.id
"""

# What is kept up to a number of rows. A statement may not ask the table that it changes, but through a derived one.

_NEWEST = (
    "(select newest from (select max(number) as newest from perdure_{0} where shard = ?1 and instance = ?2k{1}) as a)"
)
_SEE = """
insert into perdure_seen (shard, instance, number, `key`, long_key)
select ?1, ?2k, 1 + coalesce((select max(number) from perdure_seen where shard = ?1 and instance = ?2k), 0), ?3k, ?3l
from dual where not exists (select 1 from perdure_seen where shard = ?1 and instance = ?2k and `key` = ?3k)
"""
_PUBLISH = """
insert into perdure_published (shard, instance, name, long_name, number, value)
select ?1, ?2k, ?3k, ?3l, case when ?5 then 1 + coalesce(
    (select max(number) from perdure_published where shard = ?1 and instance = ?2k and number > 0), 0
) else 0 end, ?4
from dual
on duplicate key update value = values(value)
"""
_FORGET_ANSWERS = f"""
delete from perdure_published
where shard = ?1 and instance = ?2k and number > 0 and number <= {_NEWEST.format("published", " and number > 0")} - ?3
"""

# Streams.

_APPENDABLE = f"""
from perdure_wait as wait straight_join {HEAD} {WAIT_OF_HEAD}
where wait.shard = ?1 and wait.instance = ?2k and wait.number = ?5 and wait.kind = 'activity' and wait.attempt = ?6
    and head.execution = ?3 and head.generation = ?4 and head.status not in {FINISHED}
"""
_BEGIN_STREAM = f"""
insert into perdure_stream (shard, instance, generation, number, name) select ?1, ?2k, ?4, ?5, wait.name {_APPENDABLE}
    and not exists (
        select 1 from perdure_stream where shard = ?1 and instance = ?2k and generation = ?4 and number = ?5
    )
"""

_CLAIM = {"shard": "?1", "name": "?2k", "long_name": "?2l", "instance": "?3k", "until": "?4"}

# Lives.

_COUNT_DEATHS = f"""
insert into perdure_suspect (shard, instance, deaths, life)
select ?1, instance, 1, ?2 from (
    select wait.instance
    from perdure_wait as wait straight_join {HEAD} {WAIT_OF_HEAD}
    where wait.shard = ?1 and coalesce(wait.due, ?3) <= ?3
        and case wait.kind when 'activity' then wait.state in ('held', 'admitted')
            else wait.state <> 'queued' and wait.due is not null end
        and head.status not in {FINISHED} and (wait.kind <> 'activity' or head.suspended is null)
    union
    select mail.instance
    from perdure_mail as mail straight_join {HEAD} {_MAIL_OF_HEAD}
    where mail.shard = ?1 and head.status not in {FINISHED}
        and not exists (
            select 1 from perdure_wait as wait
            where wait.shard = ?1 and wait.instance = mail.instance
                and wait.kind = 'start' and (wait.due > ?3 or wait.state = 'queued'))
) as found
on duplicate key update deaths = deaths + 1, life = values(life)
"""
_REMEMBER_ACCUSED = """
update perdure_suspect set accused_at_death = accused, accused = 0
where shard = ?1 and exists (
    select 1 from (select 1 from perdure_suspect where shard = ?1 and accused > 0 limit 1) as other
)
"""
_SUSPECTS = """
select coalesce(head.long_id, suspect.instance), suspect.deaths, suspect.accused_at_death
from perdure_suspect as suspect left join perdure_head as head
    on head.shard = suspect.shard and head.id = suspect.instance
where suspect.shard = ?1 order by suspect.instance
"""
_HOLDER = f"""
select claim.until, {INSTANCE}, head.execution, head.sequence, head.created, head.status
from perdure_claim as claim join perdure_head as head on head.shard = claim.shard and head.id = claim.instance
where claim.shard = ?1 and claim.name = ?2k
"""

# Calls that any node may run.

_COUNT_OUT = """
select
    count(case wait.state when 'offered' then 1 end), min(case wait.state when 'offered' then wait.since end),
    count(case wait.state when 'claimed' then 1 end)
from perdure_wait as wait force index (perdure_wait_state) straight_join perdure_shard as shard on shard.id = wait.shard
where shard.app = ?1 and wait.state in ('offered', 'claimed')
"""


def _delete(table: str, columns: str, each: str) -> Phrase:
    """A deletion of many rows by their whole key."""
    index = "primary" if table == "wait" else "perdure_mail_key"
    many = f"delete gone from perdure_{table} as gone force index ({index}) where ({columns}) in ("
    return Phrase(f"{many}{each})", many=many, each=each, tail=")")


def _phrases() -> dict[str, Phrase]:
    """By the statement that each stands for."""
    s = statements
    phrases: dict[str, Phrase] = {}
    for length, places in _HEADS.items():
        phrases[s.INSERT_HEAD[length]] = _insert("head", places)
        phrases[s.JOIN_HEAD[length]] = _insert("head", places, _JOIN)
    for length in s.REPLACE_HEAD:
        phrases[s.REPLACE_HEAD[length]] = _replace_head(length)
    for length, places in _WAITS.items():
        phrases[s.INSERT_WAIT[length]] = _insert("wait", places)
        phrases[s.REPLACE_WAIT[length]] = _same(s.REPLACE_WAIT[length], 2)
    forget_seen = "delete from perdure_seen where shard = ?1 and instance = ?2k and number <= {0} - ?3"
    phrases |= {
        s.ADVANCE_HEAD: _insert(
            "head",
            _ADVANCE,
            f" on duplicate key update updated = if({_AS_EXPECTED}, values(updated), null), "
            "sequence = values(sequence)",
            counts=2,
        ),
        s.SELECT_OCCUPANT: _same(s.SELECT_OCCUPANT, 2, locks=True),
        s.SELECT_HEAD: Phrase(f"select {HEAD_COLUMNS} from perdure_head where shard = ?1 and id = ?2k"),
        s.SELECT_END: Phrase(
            _marked(s.SELECT_END, [2]).replace(s.head_columns("head"), _HEAD_OF_QUERY.format("head"), 1)
        ),
        s.INSERT_SEGMENT: _insert("history", {"shard": "?1", "instance": "?2k", "sequence": "?3", "events": "?4"}),
        s.SELECT_SEGMENTS: _same(s.SELECT_SEGMENTS, 2),
        s.SELECT_LAST_SEGMENT: _same(s.SELECT_LAST_SEGMENT, 2),
        s.ANSWER_CALL: _same(s.ANSWER_CALL, 2),
        s.REPORT_CALL: _same(s.REPORT_CALL, 2, before=[LOCK_HEAD]),
        s.DELETE_WAIT: _delete("wait", "gone.shard, gone.instance, gone.number", "(?1, ?2k, ?3)"),
        s.SELECT_WAITS: _same(s.SELECT_WAITS, 2),
        s.SELECT_OPEN_CALLS: Phrase(_OPEN),
        s.SELECT_QUEUED: Phrase(_IN_QUEUE),
        s.SELECT_STRANDED: Phrase(
            _marked(_plainly(s.SELECT_STRANDED), [3]).replace("select head.id from", f"select {INSTANCE} from", 1)
        ),
        s.INSERT_FIRST_MAIL: _insert("mail", _MAIL),
        s.DELIVER_MAIL: Phrase(_DELIVER, before=[LOCK_HEAD]),
        s.SELECT_DUPLICATE: _same(s.SELECT_DUPLICATE, 2, 3),
        s.DELETE_MAIL: _delete("mail", "gone.shard, gone.instance, gone.`key`", "(?1, ?2k, ?3k)"),
        s.SELECT_MAIL: Phrase(_OF_INSTANCE),
        s.INSERT_SEEN: Phrase(_SEE),
        s.FORGET_SEEN: Phrase(forget_seen.format(_NEWEST.format("seen", ""))),
        s.SELECT_SEEN: Phrase(
            "select coalesce(long_key, `key`) from perdure_seen where shard = ?1 and instance = ?2k "
            "order by number desc"
        ),
        s.PUBLISH: Phrase(_PUBLISH),
        s.FORGET_ANSWERS: Phrase(_FORGET_ANSWERS),
        s.SELECT_PUBLISHED: _same(s.SELECT_PUBLISHED, 2, 3),
        s.INSERT_STREAM: Phrase(_BEGIN_STREAM),
        s.INSERT_ITEM: _same(s.INSERT_ITEM, 2),
        s.SELECT_STREAMS: _same(s.SELECT_STREAMS, 2),
        s.SELECT_ITEMS: _same(s.SELECT_ITEMS, 2),
        s.SELECT_LAST_ITEM: _same(s.SELECT_LAST_ITEM, 2),
        s.INSERT_TAG: _insert(
            "tag",
            {"shard": "?1", "instance": "?2k", "`key`": "?3k", "value": "?4k", "app": "?5", "created": "?6"},
        ),
        s.INSERT_SHARD: Phrase(
            "insert into perdure_shard (app, number) values (?1, ?2)",
            before=["insert into perdure_gate (app) values (?1) on duplicate key update app = app"],
        ),
        s.FENCE: Phrase(
            s.FENCE,
            # one token for all, because they are of one commit
            many="update perdure_shard force index (primary) set token = ?3 where (id, epoch) in (",
            each="(?1, ?2)",
            tail=") and owner is not null",
        ),
        s.SELECT_LEASE: _same(s.SELECT_LEASE, locks=True),
        s.COUNT_OUT: Phrase(_COUNT_OUT),
        s.BEGIN_LIFE: _same(s.BEGIN_LIFE),
        s.REMEMBER_ACCUSED: Phrase(_REMEMBER_ACCUSED),
        s.COUNT_DEATHS: Phrase(_COUNT_DEATHS),
        s.ACQUIT: _same(s.ACQUIT, 2),
        s.ACCUSE: _same(s.ACCUSE, 2),
        s.SELECT_SUSPECTS: Phrase(_SUSPECTS),
        s.SELECT_HOLDER: Phrase(_HOLDER, before=[LOCK_SHARD], locking=_HOLDER),
        s.TAKE_CLAIM: _insert(
            "claim", _CLAIM, " on duplicate key update instance = values(instance), until = values(until)"
        ),
        s.RENEW_HEAD: _same(s.RENEW_HEAD, 4),
        s.RENEW_MAIL: _same(s.RENEW_MAIL, 2, 3),
        s.INSERT_NOTICE: _insert("notice", {"shard": "?1", "instance": "?2", "event": "?3"}),
        s.INSERT_PERMIT: _insert("permit", {"shard": "?1", "queue": "?2", "at": "?3", "until": "?4"}),
        s.SELECT_UNUSED_ENTITY: _same(s.SELECT_UNUSED_ENTITY, 2),
    }
    phrases |= _of_moves()
    for statement in (*s.ERASE_RUN, *s.ERASE_STREAMS, *s.ERASE_INSTANCE):
        phrases[statement] = _same(statement, 2)
    return phrases


def _of_moves() -> dict[str, Phrase]:
    """Those that read whole instances and write them into another store, with the mail in its order."""
    s = statements
    places = f"""
select head.shard, {INSTANCE}, head.execution, head.generation, head.sequence, head.status in {FINISHED}
from perdure_shard as shard straight_join {HEAD} on head.shard = shard.id
where shard.app = ?1 and head.shard >= ?2 and (head.shard > ?2 or head.id > ?3k)
order by head.shard, head.id limit ?4
"""
    seen = {"shard": "?1", "instance": "?2k", "number": "?3", "`key`": "?4k", "long_key": "?4l"}
    value = {"shard": "?1", "instance": "?2k", "name": "?3k", "long_name": "?3l", "number": "?4", "value": "?5"}
    mail = {
        **{"shard": "?1", "instance": "?2k", "`key`": "?4k", "long_key": "?4l", "event": "?5", "at": "?6"},
        **{"execution": "?7", "generation": "?8"},
    }
    return {
        s.SELECT_PLACES: Phrase(places),
        s.SELECT_ALL_SEGMENTS: _same(s.SELECT_ALL_SEGMENTS, 2),
        s.SELECT_ALL_PUBLISHED: Phrase(
            "select coalesce(long_name, name), number, value from perdure_published "
            "where shard = ?1 and instance = ?2k order by number, name"
        ),
        s.SELECT_TRACKS: _same(s.SELECT_TRACKS, 2),
        s.SELECT_TRACK: _same(s.SELECT_TRACK, 2),
        s.SELECT_CLAIMS: Phrase(
            "select coalesce(long_name, name), until from perdure_claim "
            "where shard = ?1 and instance = ?2k order by name"
        ),
        s.INSERT_PLACED_MAIL: _insert("mail", mail),
        s.INSERT_PLACED_SEEN: _insert("seen", seen),
        s.INSERT_PLACED_VALUE: _insert("published", value),
        s.INSERT_TRACK: _same(s.INSERT_TRACK, 2),
        s.INSERT_PLACED_ITEM: _same(s.INSERT_PLACED_ITEM, 2),
        s.TAKE_FREE_CLAIM: _insert("claim", _CLAIM, " on duplicate key update until = until"),
        s.SELECT_RESERVED_SHARD: _same(s.SELECT_RESERVED_SHARD),
    }


_PHRASES = _phrases()


class Together(Protocol):
    """One query, or few, in place of one for each of many keys."""

    def texts(self, keys: Sequence[Sequence[Any]], limit: int | None) -> list[str] | None:
        """The queries; None if these keys have to be asked one by one."""

    def each(self, keys: Sequence[Sequence[Any]], found: Iterable[Row]) -> list[list[Row]]:
        """The rows of each key."""


class MailOfShards:
    """Mail of many shards, in the order of its index, in which a part of it can be read."""

    def texts(self, keys: Sequence[Sequence[Any]], limit: int | None) -> list[str]:
        places = " or ".join(
            f"(mail.shard in ({ids}) and mail.instance > {_key_literal(after)})" for ids, (after,) in _by_rest(keys)
        )
        return [
            f"""
select mail.shard, mail.id, {_MAIL_COLUMNS}, {_HEAD_OF_QUERY.format("fresh")}
from perdure_mail as mail force index (perdure_mail_key) straight_join {HEAD} {_MAIL_OF_HEAD}
    left join perdure_head as fresh force index (primary) {statements.FRESH}
where ({places}) and head.status not in {FINISHED}
order by mail.shard, mail.instance{"" if limit is None else f" limit {limit}"}"""
        ]

    def each(self, keys: Sequence[Sequence[Any]], found: Iterable[Row]) -> list[list[Row]]:
        by_shard: dict[int, list[Row]] = {key[0]: [] for key in keys}
        for _, rows in groupby(found, key=itemgetter(0, 2)):
            for shard, _, *row in sorted(rows, key=itemgetter(1)):
                by_shard[shard].append(tuple(row))
        return list(by_shard.values())


class DueOfShards:
    """Due waits of many shards, in the order of their index."""

    def texts(self, keys: Sequence[Sequence[Any]], limit: int | None) -> list[str]:
        _, until, _, _, _, most = keys[0]
        places = " or ".join(f"(wait.shard in ({ids}) and {_DUE_AFTER.fill(rest)})" for ids, rest in _by_rest(keys))
        return [
            f"""
select wait.shard, {INSTANCE}, wait.number, wait.due, wait.kind
from perdure_wait as wait force index (perdure_wait_due) straight_join {HEAD} {WAIT_OF_HEAD}
where wait.due >= {min(key[2] for key in keys)} and wait.due <= {until} and ({places})
    and wait.state not in ('offered', 'claimed') and head.status not in {FINISHED}
order by wait.due, wait.shard, wait.instance, wait.number limit {most}"""
        ]

    def each(self, keys: Sequence[Sequence[Any]], found: Iterable[Row]) -> list[list[Row]]:
        by_shard: dict[int, list[Row]] = {key[0]: [] for key in keys}
        for shard, *row in found:
            by_shard[shard].append(tuple(row))
        return list(by_shard.values())


_DUE_AFTER = Template(
    "(wait.due > ?2 or (wait.due = ?2 and (wait.instance > ?3k or (wait.instance = ?3k and wait.number > ?4))))"
)


class EndsOfRuns:
    """What has become of many runs: one query for those that do not go on, and one for which there are."""

    def texts(self, keys: Sequence[Sequence[Any]], limit: int | None) -> list[str] | None:
        if len(keys) == 1 or len({(shard, id) for shard, id, _ in keys}) < len(keys):
            return None  # because two that wait for different runs of an instance hear different things
        return [text for begin in range(0, len(keys), ROWS_MAX) for text in self._texts(keys[begin : begin + ROWS_MAX])]

    def _texts(self, keys: Sequence[Sequence[Any]]) -> Iterator[str]:
        places = ", ".join(f"({shard}, {_key_literal(id)})" for shard, id, _ in keys)
        runs = ", ".join(
            f"({shard}, {_key_literal(id)}, {literal(execution)})"
            for shard, id, execution in keys
            if execution is not None
        )
        replaced = f" or (head.shard, head.id, head.execution) not in ({runs})" if runs else ""
        segment = statements.SEGMENT_OF_HEAD
        yield f"""
select head.shard, head.id, {_HEAD_OF_QUERY.format("head")},
    case when head.status in {FINISHED} then ({segment} limit 1) end,
    case when head.status in {FINISHED} then ({segment} desc limit 1) end
from {HEAD} where (head.shard, head.id) in ({places}) and (head.status in {FINISHED}{replaced})"""
        yield f"select shard, id from {HEAD} where (shard, id) in ({places})"

    def each(self, keys: Sequence[Sequence[Any]], found: Iterable[Row]) -> list[list[Row]]:
        there: set[Row] = set()
        ended: dict[Row, Row] = {}
        for row in found:
            if len(row) == 2:
                there.add(tuple(row))
            else:
                ended[tuple(row[:2])] = tuple(row[2:])
        return [
            self._of(there, ended.get((shard, key(id))), (shard, key(id)), execution) for shard, id, execution in keys
        ]

    @staticmethod
    def _of(there: set[Row], row: Row | None, place: Row, execution: str | None) -> list[Row]:
        if place not in there:
            return [(None,) * _END_LENGTH]
        if row is None or (row[_STATUS] not in ENDED and execution in (None, row[_EXECUTION])):
            return []
        return [row]


_COLUMNS = statements.HEAD_COLUMNS.split(", ")
_STATUS, _EXECUTION = _COLUMNS.index("status"), _COLUMNS.index("execution")
_END_LENGTH = len(_COLUMNS) + 2


class OfInstances:
    """Rows of many instances. `rest` is what further values must be, because the query has no place for them."""

    def __init__(
        self, columns: str, source: str, order: str, key: str = "shard, instance", rest: tuple[Any, ...] = ()
    ) -> None:
        self._begin = f"select {key}, {columns} from {source} where ({key}) in "
        self._order = f"order by {key}{order}"
        self._rest = rest

    def texts(self, keys: Sequence[Sequence[Any]], limit: int | None) -> list[str] | None:
        if limit is not None or len(keys) == 1 or any(tuple(key[2:]) != self._rest for key in keys):
            return None
        places = [f"({shard}, {_key_literal(id)})" for shard, id, *_ in keys]
        return [
            f"{self._begin}({', '.join(places[begin : begin + ROWS_MAX])}) {self._order}"
            for begin in range(0, len(places), ROWS_MAX)
        ]

    def each(self, keys: Sequence[Sequence[Any]], found: Iterable[Row]) -> list[list[Row]]:
        places: dict[tuple[int, str], list[Row]] = {}
        for shard, id, *row in found:
            places.setdefault((shard, id), []).append(tuple(row))
        return [places.get((shard, key(id)), []) for shard, id, *_ in keys]


def _by_rest(keys: Sequence[Sequence[Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The shards, as a list in SQL, of keys that are else alike."""
    shards: dict[tuple[Any, ...], list[str]] = {}
    for shard, *rest in keys:
        shards.setdefault(tuple(rest), []).append(str(shard))
    return ((", ".join(ids), rest) for rest, ids in shards.items())


_TOGETHER: dict[str, Together] = {
    statements.SELECT_PRESENT_MAIL: MailOfShards(),
    statements.SELECT_DUE: DueOfShards(),
    statements.SELECT_END: EndsOfRuns(),
    statements.SELECT_HEAD: OfInstances(HEAD_COLUMNS, "perdure_head force index (primary)", "", key="shard, id"),
    statements.SELECT_SEGMENTS: OfInstances(
        "sequence, events", "perdure_history force index (primary)", ", sequence", rest=(0, ALL)
    ),
    statements.SELECT_MAIL: OfInstances(
        _MAIL_COLUMNS,
        f"perdure_mail as mail force index (perdure_mail_key) straight_join {HEAD} {_MAIL_OF_HEAD}",
        ", mail.id",
        key="mail.shard, mail.instance",
    ),
    statements.SELECT_WAITS: OfInstances(statements.WAIT_COLUMNS, "perdure_wait force index (primary)", ", number"),
    statements.SELECT_SEEN: OfInstances(
        "coalesce(long_key, `key`)", "perdure_seen force index (primary)", ", number desc"
    ),
}


def together(sql: str) -> Together | None:
    """How a statement is asked of many keys at once, if it can be."""
    return _TOGETHER.get(sql)


_SEARCHED_KEYS = re.compile(r"(head\.name|head\.parent|tag\.key|tag\.value|other\.key|other\.value)( = \?\d+)\b")


def phrase(sql: str) -> Phrase:
    """How MySQL says the statement. Those that are put together for one question are translated as they come."""
    known = _PHRASES.get(sql)
    return known if known is not None else Phrase(_searched(sql))


def _searched(sql: str) -> str:
    if search.COLUMNS not in sql:
        return _plainly(sql)
    said = sql.replace(search.COLUMNS, _HEAD_OF_QUERY.format("head"), 1)
    said = _SEARCHED_KEYS.sub(r"\1\2k", said)
    said = re.sub(r"\((\w+\.\w+), (\w+\.\w+), (\w+\.\w+)\) ([<>]) \((\?\d+), (\?\d+), (\?\d+)\)", _after, said)
    said = re.sub(r"fold\((\?\d+)\)", r"\1f", said)
    for column in ("id", "name"):
        said = said.replace(
            f"fold(head.{column})", f"coalesce(head.folded_{column}, head.long_{column}, head.{column})"
        )
    return _plainly(said)


def _after(found: re.Match[str]) -> str:
    """A place in an order of three columns, in words that let MySQL begin in the index."""
    first, second, third, sign, a, b, c = found.groups()
    return (
        f"({first} {sign}= {a} and ({first} {sign} {a} or {second} {sign} {b}k "
        f"or ({second} = {b}k and {third} {sign} {c})))"
    )
