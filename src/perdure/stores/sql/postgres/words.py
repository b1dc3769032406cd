"""How PostgreSQL says the store's statements: one by one, for many rows in a call, and as functions of the server."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import NamedTuple

from perdure.stores.sql import statements as shared

BIGINT = "bigint"
TEXT = "text"
BOOLEAN = "boolean"
_NUMBERS = frozenset(
    (
        *(
            "shard",
            "sequence",
            "updated",
            "generation",
            "created",
            "finished",
            "number",
            "since",
            "due",
            "attempt",
            "lapses",
        ),
        *("claimed_until", "at", "until", "position", "epoch", "life", "deaths", "accused", "accused_at_death"),
    )
)
"""Columns of whole numbers. `id` is one of shards alone."""

CONFLICT = "PD001"
"""The SQLSTATE by which a function says that a condition does not hold."""

RESERVED = "PD002"
"""By which one says that the app is kept for a move."""
WRITERS = 1_885_697_124
"""Class of the advisory locks that who writes to an app shares, and a move that keeps it has alone."""

NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
"""The server's time, in microseconds since 1970 UTC."""


class Words(NamedTuple):
    """A statement with parameters $1, $2, ..., of these types."""

    sql: str
    types: tuple[str, ...]


class Function(NamedTuple):
    """A function of the server that runs one statement for many rows: a column of each parameter, and whether each row
    has to change one."""

    name: str
    types: tuple[str, ...]
    definition: str


@cache
def plain(sql: str) -> str:
    """The statement for one set of values."""
    said = _said(sql)
    types = types_of(sql)
    return re.sub(r"\?(\d+)", lambda place: f"${place[1]}::{types[int(place[1]) - 1]}", said)


@cache
def counted(sql: str) -> str:
    """The statement for one set of values, as a query for the number of rows that it changes."""
    return f"with changed as ({plain(sql)} returning 1) select count(*) from changed"


@cache
def of_each(sql: str, *, limited: bool) -> Words:
    """The query for many keys: rows in the order of the keys, each after its key's number. The last parameter is a
    limit of them all if it is `limited`."""
    types = types_of(sql)
    query = re.sub(r"\?(\d+)", r"key.p\1", _said(sql))
    limit = f"limit ${len(types) + 1}::bigint" if limited else ""
    said = f"select key.place, found.* from {_rows('key', types, '$')} cross join lateral ({query}) as found {limit}"
    return Words(said, types)


@cache
def function(sql: str) -> Function:
    """The function for the statement, named after its text, so that versions of the program have each its own."""
    types = types_of(sql)
    parameters = ", ".join(f"a{place} {kind}[]" for place, kind in enumerate(types, 1))
    rest = f"""({parameters}, is_condition boolean) returns bigint language plpgsql
as $function$
#variable_conflict use_column
declare each record; part bigint; changed bigint = 0;
begin
    {_body(sql, types)};
    if is_condition and changed <> cardinality(a1) then
        raise exception 'a condition does not hold' using errcode = '{CONFLICT}';
    end if;
    return changed;
end
$function$"""
    name = "perdure_do_" + hashlib.sha256(rest.encode()).hexdigest()[:16]
    return Function(name, types, f"create or replace function {name}{rest}")


def _body(sql: str, types: tuple[str, ...]) -> str:
    if sql == shared.UNRESERVED:
        return _GUARD
    return _row_by_row(sql, types) if sql in _ROW_BY_ROW else _together(sql, types)


def _together(sql: str, types: tuple[str, ...]) -> str:
    statement = _of_row(_OWN_SET.get(sql) or _for_rows(_said(sql)))
    return f"{statement.replace('{each}', _rows('each', types, 'a'))}; get diagnostics changed = row_count"


def _row_by_row(sql: str, types: tuple[str, ...]) -> str:
    return f"""for each in select * from {_rows("each", types, "a")} loop
        {_of_row(_said(sql))}; get diagnostics part = row_count; changed = changed + part;
    end loop"""


def _of_row(statement: str) -> str:
    return re.sub(r"\?(\d+)", r"each.p\1", statement.strip())


@cache
def types_of(sql: str) -> tuple[str, ...]:
    """The type of each parameter, from the columns that it is compared with or written to."""
    found: dict[int, str] = dict(_OWN_TYPES.get(sql, {}))
    inserted = re.search(r"insert into perdure_\w+ \(([\w, ]+)\)\s+(?:values \(|select )([?\d, ]+)", sql)
    if inserted:
        for column, value in zip(inserted[1].split(", "), inserted[2].split(", "), strict=False):
            if re.fullmatch(r"\?\d+", value.strip()):
                found.setdefault(int(value.strip()[1:]), _type(column))
    for column, place in re.findall(r"(\w+) (?:=|<>|<=|>=|<|>) \?(\d+)", sql):
        found.setdefault(int(place), _type(column, sql))
    for columns, places in re.findall(r"\(([\w., ]+)\) [<>] \(([?\d, ]+)\)", sql):
        for column, place in zip(columns.split(", "), places.split(", "), strict=True):
            found.setdefault(int(place[1:]), _type(column.split(".")[-1]))
    for place in re.findall(r"limit \?(\d+)", sql):
        found.setdefault(int(place), BIGINT)
    count = max((int(place) for place in re.findall(r"\?(\d+)", sql)), default=0)
    return tuple(found.get(place, TEXT) for place in range(1, count + 1))


def _type(column: str, sql: str = "") -> str:
    return BIGINT if column in _NUMBERS or (column == "id" and "perdure_shard" in sql) else TEXT


def _said(sql: str) -> str:
    """Without the hints that SQLite's planner needs, and with PostgreSQL's names of functions."""
    sql = re.sub(r" indexed by \w+", "", sql).replace("cross join", "join").replace("clock()", NOW)
    sql = re.sub(r"tag\.value = (\?\d+)", r"hashtextextended(tag.value, 0) = hashtextextended(\1, 0) and \g<0>", sql)
    return re.sub(r"fold\((.+?)\)", r'lower((\1) collate "default")', sql).replace("instr(", "strpos(")


def _rows(alias: str, types: tuple[str, ...], prefix: str) -> str:
    """Columns as rows p1, p2, ..., numbered by `place`."""
    arrays = ", ".join(f"{prefix}{place}::{kind}[]" for place, kind in enumerate(types, 1))
    columns = ", ".join(f"p{place}" for place in range(1, len(types) + 1))
    return f"unnest({arrays}) with ordinality as {alias}({columns}, place)"


def _for_rows(sql: str) -> str:
    """A statement for one row as one for all rows of {each}, where no row of it depends on another."""
    sql = sql.strip()
    if sql.startswith("insert"):
        return re.sub(r"values \(([^)]*)\)", r"select \1 from {each} where true", sql, count=1)
    if sql.startswith("update"):
        return re.sub(r"\swhere ", " from {each} where ", sql, count=1)
    if sql.startswith("delete"):
        return re.sub(r"\swhere ", " using {each} where ", sql, count=1)
    raise AssertionError(f"no words for {sql!r}")


# What PostgreSQL says in its own way. Numbers of mail, seen ids and answers come from sequences: they rise, also when
# several nodes write at once, but with gaps, so bounds are counted.

_FIRST_MAIL = """
insert into perdure_mail (shard, instance, key, event, at, execution, generation)
select ?1, ?2, ?3, ?4, ?5, ?6, ?7 from {each}
"""
_DELIVER = f"""
insert into perdure_mail (shard, instance, key, event, at, execution, generation)
select ?1, ?2, ?3, ?4, ?5, ?6, ?7
from (select each.*, row_number() over (partition by ?1, ?2 order by each.place) as turn from {{each}}) as each
    join perdure_head as head on head.shard = ?1 and head.id = ?2
where head.status not in {shared.FINISHED}
    and not exists (select 1 from perdure_seen as seen where seen.shard = ?1 and seen.instance = ?2 and seen.key = ?3)
    and (?6 is not null or each.turn - 1 + (
        select count(*) from (
            select 1 from perdure_mail as mail where mail.shard = ?1 and mail.instance = ?2 limit ?8
        ) as present
    ) < ?8)
order by each.place for key share of head
on conflict (shard, instance, key) do nothing
"""
_FENCE = """
update perdure_shard set token = held.token from (
    select shard.id, ?3 as token from {each} join perdure_shard as shard on shard.id = ?1
    where shard.epoch = ?2 and shard.owner is not null order by shard.id for no key update of shard
) as held where perdure_shard.id = held.id
"""
_INSERT_SEEN = """
insert into perdure_seen (shard, instance, key) select ?1, ?2, ?3 from {each} order by each.place
on conflict (shard, instance, key) do nothing
"""
_FORGET_SEEN = """
delete from perdure_seen as seen using {each}
where seen.shard = ?1 and seen.instance = ?2 and seen.number <= (
    select other.number from perdure_seen as other where other.shard = ?1 and other.instance = ?2
    order by other.number desc limit 1 offset ?3
)
"""
_PUBLISH = """
insert into perdure_published (shard, instance, name, number, value)
select p1, p2, p3, case when p5 then nextval('perdure_answer') else 0 end, p4 from (
    select * from (
        select distinct on (?1, ?2, ?3) each.* from {each} order by ?1, ?2, ?3, each.place desc
    ) as newest order by place
) as published
on conflict (shard, instance, name) do update set value = excluded.value
"""
_FORGET_ANSWERS = """
delete from perdure_published as published using {each}
where published.shard = ?1 and published.instance = ?2 and published.number > 0 and published.number <= (
    select other.number from perdure_published as other
    where other.shard = ?1 and other.instance = ?2 and other.number > 0
    order by other.number desc limit 1 offset ?3
)
"""
_APPENDABLE = f"""
from {{each}} join perdure_wait as wait on wait.shard = ?1 and wait.instance = ?2 and wait.number = ?5
    join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.kind = 'activity' and wait.attempt = ?6
    and head.execution = ?3 and head.generation = ?4 and head.status not in {shared.FINISHED}
"""
_INSERT_STREAM = f"""
insert into perdure_stream (shard, instance, generation, number, name) select ?1, ?2, ?4, ?5, wait.name {_APPENDABLE}
on conflict (shard, instance, generation, number) do nothing
"""
_INSERT_ITEM = f"""
insert into perdure_item (shard, instance, generation, number, attempt, position, value, at)
select ?1, ?2, ?4, ?5, ?6, ?7, ?8, ?9 from (
    select each.*, row_number() over (partition by ?1, ?2, ?4, ?5 order by each.place) as turn from {{each}}
) as each join perdure_wait as wait on wait.shard = ?1 and wait.instance = ?2 and wait.number = ?5
    join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.kind = 'activity' and wait.attempt = ?6
    and head.execution = ?3 and head.generation = ?4 and head.status not in {shared.FINISHED}
    and ?7 = each.turn + coalesce((
        select max(position) from perdure_item as item
        where item.shard = ?1 and item.instance = ?2 and item.generation = ?4 and item.number = ?5
    ), 0)
"""
_NOTICE = "insert into perdure_notice (shard, instance, event) select ?1, ?2, ?3 from {each} order by each.place"
_PLACED_MAIL = """
insert into perdure_mail (shard, instance, key, event, at, execution, generation)
select ?1, ?2, ?4, ?5, ?6, ?7, ?8 from {each} order by ?3
"""
_PLACED_SEEN = "insert into perdure_seen (shard, instance, key) select ?1, ?2, ?4 from {each} order by ?3"
_PLACED_VALUE = """
insert into perdure_published (shard, instance, name, number, value)
select ?1, ?2, ?3, case when ?4 > 0 then nextval('perdure_answer') else 0 end, ?5
from (select * from {each} order by ?4) as each
"""
_OWN_SET = {
    shared.INSERT_FIRST_MAIL: _FIRST_MAIL,
    shared.DELIVER_MAIL: _DELIVER,
    shared.FENCE: _FENCE,
    shared.INSERT_SEEN: _INSERT_SEEN,
    shared.FORGET_SEEN: _FORGET_SEEN,
    shared.PUBLISH: _PUBLISH,
    shared.FORGET_ANSWERS: _FORGET_ANSWERS,
    shared.INSERT_STREAM: _INSERT_STREAM,
    shared.INSERT_ITEM: _INSERT_ITEM,
    shared.INSERT_NOTICE: _NOTICE,
    shared.INSERT_PLACED_MAIL: _PLACED_MAIL,
    shared.INSERT_PLACED_SEEN: _PLACED_SEEN,
    shared.INSERT_PLACED_VALUE: _PLACED_VALUE,
}
_GUARD = f"""
    perform pg_advisory_xact_lock_shared({WRITERS}, hashtext(app)) from (
        select distinct app from perdure_shard where id = any(a1) order by app
    ) as apps;
    if exists (select 1 from perdure_shard where id = any(a1) and reserved is not null) then
        raise exception 'the app is kept for a move' using errcode = '{RESERVED}';
    end if
"""
_ROW_BY_ROW = frozenset((shared.REMEMBER_ACCUSED, shared.COUNT_DEATHS, shared.FORGET_SUSPECTS))
"""Seldom used, and long."""
_OWN_TYPES: dict[str, dict[int, str]] = {
    shared.DELIVER_MAIL: {3: TEXT, 4: TEXT, 5: BIGINT, 6: TEXT, 7: BIGINT, 8: BIGINT},
    shared.FORGET_LIFE: {1: BIGINT, 2: BIGINT},
    shared.FORGET_SEEN: {3: BIGINT},
    shared.SELECT_NOTICE_BOUND: {1: BIGINT, 2: BIGINT, 3: BIGINT},
    shared.FORGET_NOTICES: {1: BIGINT, 2: BIGINT, 3: BIGINT},
    shared.FORGET_ANSWERS: {3: BIGINT},
    shared.PUBLISH: {5: BOOLEAN},
    shared.INSERT_STREAM: {3: TEXT, 4: BIGINT, 5: BIGINT, 6: BIGINT},
    shared.INSERT_ITEM: dict(enumerate((BIGINT, TEXT, TEXT, BIGINT, BIGINT, BIGINT, BIGINT, TEXT, BIGINT), 1)),
    shared.COUNT_DEATHS: {1: BIGINT, 2: BIGINT, 3: BIGINT},
}

# Leases and claims: what takes passes over what another node has locked.

SHUT_OUT = f"select pg_advisory_xact_lock({WRITERS}, hashtext(?1))"
SIZE = """
select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class
where relname like 'perdure@_%' escape '@' and relkind in ('r', 'S') and pg_table_is_visible(oid)
"""
TAKE = """
with free as (
    select id from perdure_shard where app = ?1 and (owner is null or until <= clock()) and reserved is null
    order by number limit ?3 for update skip locked
)
update perdure_shard as shard set epoch = shard.epoch + 1, owner = ?2, until = clock() + ?4
from free where shard.id = free.id returning shard.id, shard.epoch, shard.life
"""
BEAT = """
with each as (select * from unnest(?7, ?8) as each(id, epoch)),
renewed as (
    update perdure_shard as shard set until = clock() + ?6
    from each where shard.id = each.id and shard.epoch = each.epoch and shard.owner = ?2
    returning shard.id, shard.until
),
beaten as (
    insert into perdure_member (app, owner, has_code, slots, busy, until) values (?1, ?2, ?3, ?4, ?5, clock() + ?6)
    on conflict (app, owner) do update
    set has_code = excluded.has_code, slots = excluded.slots, busy = excluded.busy, until = excluded.until
    returning owner, has_code, slots, busy, until
),
gone as (delete from perdure_member where app = ?1 and owner <> ?2 and until <= clock()),
living as (
    select * from beaten union all
    select owner, has_code, slots, busy, until from perdure_member
    where app = ?1 and owner <> ?2 and until > clock()
)
select shard.id, shard.epoch, renewed.id is not null, renewed.until,
    null as owner, null::boolean as has_code, null::bigint as slots, null::bigint as busy
from each join perdure_shard as shard on shard.id = each.id left join renewed on renewed.id = each.id
union all
select null, null, null, until, owner, has_code, slots, busy from living
order by 1, owner
"""
_WAIT = ", ".join(f"wait.{column}" for column in shared.WAIT_COLUMNS.split(", "))
CLAIM = f"""
with found as (
    select wait.shard, wait.instance, wait.number, head.execution, head.generation
    from perdure_wait as wait join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
    where wait.state in ('offered', 'claimed') and wait.kind = 'activity' and wait.name = any(?2)
        and head.app = ?1 and head.status not in {shared.FINISHED} and head.suspended is null
        and not exists (select 1 from perdure_shard as shard where shard.id = wait.shard and shard.reserved is not null)
        and case wait.state when 'claimed' then wait.claimed_until <= clock()
            else wait.due is null or wait.due <= clock() end
    order by wait.since, wait.shard, wait.instance, wait.number limit ?3 for no key update of wait skip locked
),
claimed as (
    update perdure_wait as wait set state = 'claimed', token = ?4, claimed_by = ?5, claimed_until = clock() + ?6,
        lapses = case wait.state when 'claimed' then coalesce(wait.lapses, 0) + 1 else wait.lapses end
    from found where wait.shard = found.shard and wait.instance = found.instance and wait.number = found.number
    returning wait.shard, wait.instance, found.execution, found.generation, {_WAIT}
)
select claimed.* from claimed, (select set_config('synchronous_commit', 'off', true)) as asynchronous
union all
select null, app, null, null, {", ".join("null" for _ in shared.WAIT_COLUMNS.split(", "))}
from perdure_shard where app = ?1 and number = 0 and reserved is not null
"""
"""What was claimed, and a row without a shard if the app is kept for a move.

It waits for no disk: a claim that a crash of the server undoes is an offer again, and its attempt another node's.
"""
TOUCH = f"""
update perdure_wait as wait set claimed_until = clock() + ?8, details = coalesce(each.details, wait.details),
    state = case when ?8 = 0 then 'offered' else wait.state end
from unnest(?1, ?2, ?3, ?4, ?5, ?6, ?7) with ordinality
    as each(shard, instance, number, token, details, execution, generation, place)
    join perdure_head as head on head.shard = each.shard and head.id = each.instance
where wait.shard = each.shard and wait.instance = each.instance and wait.number = each.number
    and wait.state = 'claimed' and wait.token = each.token
    and head.execution = each.execution and head.generation = each.generation and head.status not in {shared.FINISHED}
returning each.place
"""
_OWN_TYPES |= {
    TAKE: {3: BIGINT, 4: BIGINT},
    BEAT: {3: BOOLEAN, 4: BIGINT, 5: BIGINT, 6: BIGINT, 7: "bigint[]", 8: "bigint[]"},
    CLAIM: {2: "text[]", 3: BIGINT, 6: BIGINT},
    TOUCH: {
        **dict(enumerate(("bigint[]", "text[]", "bigint[]", "text[]", "text[]", "text[]", "bigint[]"), 1)),
        8: BIGINT,
    },
}

OF_ROWS = (
    *shared.INSERT_HEAD.values(),
    *shared.REPLACE_HEAD.values(),
    *shared.JOIN_HEAD.values(),
    *shared.INSERT_WAIT.values(),
    *shared.REPLACE_WAIT.values(),
    *shared.ERASE_RUN,
    *shared.ERASE_STREAMS,
    shared.ADVANCE_HEAD,
    shared.INSERT_SEGMENT,
    shared.REPORT_CALL,
    shared.DELETE_WAIT,
    shared.INSERT_FIRST_MAIL,
    shared.DELIVER_MAIL,
    shared.DELETE_MAIL,
    shared.INSERT_SEEN,
    shared.FORGET_SEEN,
    shared.PUBLISH,
    shared.FORGET_ANSWERS,
    shared.INSERT_STREAM,
    shared.INSERT_ITEM,
    shared.INSERT_TAG,
    shared.INSERT_SHARD,
    shared.FENCE,
    shared.FREE_SHARD,
    *sorted(_ROW_BY_ROW),
    shared.UNRESERVED,
    shared.INSERT_PLACED_MAIL,
    shared.INSERT_PLACED_SEEN,
    shared.INSERT_PLACED_VALUE,
    shared.INSERT_TRACK,
    shared.INSERT_PLACED_ITEM,
    shared.TAKE_FREE_CLAIM,
    shared.FORGET_LIFE,
    shared.BEGIN_LIFE,
    shared.END_LIFE,
    shared.ACQUIT,
    shared.INSERT_PERMIT,
    shared.FORGET_PERMITS,
    shared.INSERT_NOTICE,
)
"""The statements that come with many rows; each has a function."""
