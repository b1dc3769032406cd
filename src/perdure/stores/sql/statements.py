"""Every SQL statement of the store, each named after what it does."""

from __future__ import annotations

from collections.abc import Mapping

ByLength = Mapping[int, str]
"""A statement for whole rows and one for rows that end before their rare columns, all null, by the row's length.

Because Python's sqlite3 binds a null, for which it first looks for an adapter, ten times slower than text.
"""


def _insert(table: str, *columns: str) -> str:
    places = ", ".join(f"?{place}" for place in range(1, len(columns) + 1))
    return f"insert into perdure_{table} ({', '.join(columns)}) values ({places})"


# Heads, in the order of `rows.head_row` and `rows.head_update_row`.

_HEAD_COLUMNS = (
    *("shard", "id", "sequence", "updated", "execution", "generation", "app", "name", "kind", "status", "created"),
    *("finished", "parent", "parent_call", "version", "tags", "custom_status", "suspended", "stalled", "more"),
)
HEAD_COLUMNS = ", ".join(_HEAD_COLUMNS)


def head_columns(alias: str) -> str:
    """The columns of a head that a query calls so."""
    return ", ".join(f"{alias}.{column}" for column in _HEAD_COLUMNS)


INSERT_HEAD: ByLength = {length: _insert("head", *_HEAD_COLUMNS[:length]) for length in (11, 20)}
REPLACE_HEAD: ByLength = {
    length: f"""
update perdure_head
set sequence = ?1, updated = ?2, execution = ?3, generation = ?4, status = ?5, finished = ?6, {rare}
where shard = ?7 and id = ?8 and execution = ?9 and generation = ?10 and sequence = ?11
"""
    for length, rare in (
        (11, "version = null, custom_status = null, suspended = null, stalled = null, more = null"),
        (16, "version = ?12, custom_status = ?13, suspended = ?14, stalled = ?15, more = ?16"),
    )
}
ADVANCE_HEAD = """
update perdure_head set sequence = ?1, updated = ?2
where shard = ?3 and id = ?4 and execution = ?5 and generation = ?6 and sequence = ?7
"""
FINISHED = "('completed', 'failed', 'canceled', 'terminated')"
SELECT_OCCUPANT = f"select execution, parent_call, status in {FINISHED} from perdure_head where shard = ?1 and id = ?2"
JOIN_HEAD: ByLength = {
    length: f"""
{insert} on conflict (shard, id) do update set updated = perdure_head.updated
where perdure_head.status not in {FINISHED}
"""
    for length, insert in INSERT_HEAD.items()
}
"""Changes a row unless a finished run is there."""
SELECT_HEAD = f"select {HEAD_COLUMNS} from perdure_head where shard = ?1 and id = ?2"

SEGMENT_OF_HEAD = "select events from perdure_history where shard = head.shard and instance = head.id order by sequence"
SELECT_END = f"""
select {head_columns("head")},
    case when head.status in {FINISHED} then ({SEGMENT_OF_HEAD} limit 1) end,
    case when head.status in {FINISHED} then ({SEGMENT_OF_HEAD} desc limit 1) end
from (select 1) as asked left join perdure_head as head on head.shard = ?1 and head.id = ?2
where head.id is null or head.status in {FINISHED} or head.execution <> ?3
"""
"""What has become of a run: no row if it goes on, one without an id if there is none."""

# History.

INSERT_SEGMENT = "insert into perdure_history (shard, instance, sequence, events) values (?1, ?2, ?3, ?4)"
SELECT_SEGMENTS = """
select sequence, events from perdure_history
where shard = ?1 and instance = ?2 and sequence > ?3 order by sequence limit ?4
"""
SELECT_LAST_SEGMENT = """
select sequence, events from perdure_history where shard = ?1 and instance = ?2 order by sequence desc limit 1
"""

# Waits, written in the order of `rows.wait_row`, read in that of `rows.wait_of`.

WAIT_COLUMNS = (
    "number, kind, name, since, due, on_whom, line, attempt, state, token, claimed_by, claimed_until, "
    "details, input, options, failure, lapses"
)
_WAIT_COLUMNS = (
    *("shard", "instance"),
    *("number", "kind", "name", "since", "line", "attempt", "state", "input"),
    *("due", "on_whom", "token", "claimed_by", "claimed_until", "details", "options", "failure", "lapses"),
)
INSERT_WAIT: ByLength = {length: _insert("wait", *_WAIT_COLUMNS[:length]) for length in (10, 19)}
REPLACE_WAIT: ByLength = {
    length: f"""
update perdure_wait
set kind = ?4, name = ?5, since = ?6, line = ?7, attempt = ?8, state = ?9, input = ?10, {rare}
where shard = ?1 and instance = ?2 and number = ?3
"""
    for length, rare in (
        (10, ", ".join(f"{column} = null" for column in _WAIT_COLUMNS[10:])),
        (19, ", ".join(f"{column} = ?{place}" for place, column in enumerate(_WAIT_COLUMNS[10:], 11))),
    )
}
ANSWER_CALL = """
update perdure_wait set state = 'answered'
where shard = ?1 and instance = ?2 and number = ?3 and attempt = ?4 and kind = 'activity'
    and state in ('held', 'admitted')
"""
REPORT_CALL = f"""
update perdure_wait set state = 'answered'
where shard = ?1 and instance = ?2 and number = ?3 and (?4 is null or attempt = ?4) and kind = 'activity'
    and case when ?7 is null then state in ('held', 'admitted') else state = 'claimed' and token = ?7 end
    and exists (
        select 1 from perdure_head
        where shard = ?1 and id = ?2 and execution = ?5 and generation = ?6 and status not in {FINISHED}
    )
"""
DELETE_WAIT = "delete from perdure_wait where shard = ?1 and instance = ?2 and number = ?3"
SELECT_WAITS = f"select {WAIT_COLUMNS} from perdure_wait where shard = ?1 and instance = ?2 order by number"
SELECT_OPEN_CALLS = f"""
select head.id, head.execution, head.generation, {", ".join(f"wait.{c}" for c in WAIT_COLUMNS.split(", "))}
from perdure_wait as wait cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.shard = ?1 and wait.instance > ?2 and wait.kind = 'activity' and head.status not in {FINISHED}
    and head.suspended is null
order by wait.instance, wait.number
"""
SELECT_QUEUED = f"""
select head.id, head.execution, head.generation, {", ".join(f"wait.{c}" for c in WAIT_COLUMNS.split(", "))}
from perdure_wait as wait indexed by perdure_wait_queued
    cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.shard = ?1 and wait.instance > ?2 and wait.state in ('queued', 'admitted')
    and head.status not in {FINISHED}
order by wait.instance, wait.number
"""
SELECT_DUE = f"""
select wait.instance, wait.number, wait.due, wait.kind
from perdure_wait as wait indexed by perdure_wait_due
    cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.shard = ?1 and wait.due is not null and wait.due <= ?2
    and (wait.due, wait.instance, wait.number) > (?3, ?4, ?5) and head.status not in {FINISHED}
    and wait.state not in ('offered', 'claimed')
order by wait.due, wait.instance, wait.number limit ?6
"""

_HAS_MAIL = "exists (select 1 from perdure_mail as mail where mail.shard = head.shard and mail.instance = head.id)"
_WAITS_OF_HEAD = "select 1 from perdure_wait as wait where wait.shard = head.shard and wait.instance = head.id"
_IS_ENDLESS = f"""
case
    when wait.kind in ('activity', 'child', 'timer') and wait.state = 'answered' then not {_HAS_MAIL}
    when wait.kind = 'activity' then wait.state not in ('held', 'queued', 'admitted', 'offered', 'claimed')
    when wait.kind = 'child' then wait.on_whom is null
    when wait.kind in ('timer', 'start', 'timeout') then wait.due is null and wait.state <> 'queued'
    else wait.kind not in ('event', 'entity', 'queue')
end
"""
SELECT_STRANDED = f"""
select head.id from perdure_head as head indexed by perdure_head_by_status
where head.app = ?2 and head.status in ('pending', 'running') and head.shard = ?1 and head.id > ?3
    and head.kind <> 'entity' and head.suspended is null and head.stalled is null
    and (exists ({_WAITS_OF_HEAD} and {_IS_ENDLESS}) or not (exists ({_WAITS_OF_HEAD}) or {_HAS_MAIL}))
order by head.id limit ?4
"""

# Mail, in the order of `rows.mail_row`.

INSERT_FIRST_MAIL = """
insert into perdure_mail (shard, instance, number, key, event, at, execution, generation)
values (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7)
"""
DELIVER_MAIL = f"""
insert into perdure_mail (shard, instance, number, key, event, at, execution, generation)
select ?1, ?2, 1 + coalesce((select max(number) from perdure_mail where shard = ?1 and instance = ?2), 0),
    ?3, ?4, ?5, ?6, ?7
from perdure_head as head
where head.shard = ?1 and head.id = ?2 and head.status not in {FINISHED}
    and not exists (select 1 from perdure_seen where shard = ?1 and instance = ?2 and key = ?3)
    and (?6 is not null or (select count(*) from perdure_mail where shard = ?1 and instance = ?2) < ?8)
on conflict (shard, instance, key) do nothing
"""
SELECT_DUPLICATE = """
select 1 from perdure_mail where shard = ?1 and instance = ?2 and key = ?3
union all select 1 from perdure_seen where shard = ?1 and instance = ?2 and key = ?3
"""
DELETE_MAIL = "delete from perdure_mail where shard = ?1 and instance = ?2 and key = ?3"
MAIL_COLUMNS = "instance, key, event, at, execution, generation"
SELECT_MAIL = f"select {MAIL_COLUMNS} from perdure_mail where shard = ?1 and instance = ?2 order by number"
FRESH = """
on fresh.shard = head.shard and fresh.id = head.id and fresh.sequence = 0
    and not exists (select 1 from perdure_wait where shard = fresh.shard and instance = fresh.id)
"""
"""That an instance was created and no more: it has taken no turn, and waits for nothing."""
SELECT_PRESENT_MAIL = f"""
select {", ".join(f"mail.{c}" for c in MAIL_COLUMNS.split(", "))}, {head_columns("fresh")}
from perdure_mail as mail cross join perdure_head as head on head.shard = mail.shard and head.id = mail.instance
    left join perdure_head as fresh {FRESH}
where mail.shard = ?1 and mail.instance > ?2 and head.status not in {FINISHED}
order by mail.instance, mail.number
"""

# Seen ids: numbers of an instance have no gaps, so that the bound is a comparison.

INSERT_SEEN = """
insert into perdure_seen (shard, instance, number, key)
select ?1, ?2, 1 + coalesce((select max(number) from perdure_seen where shard = ?1 and instance = ?2), 0), ?3
where true
on conflict (shard, instance, key) do nothing
"""
FORGET_SEEN = """
delete from perdure_seen
where shard = ?1 and instance = ?2
    and number <= (select max(number) from perdure_seen where shard = ?1 and instance = ?2) - ?3
"""
SELECT_SEEN = "select key from perdure_seen where shard = ?1 and instance = ?2 order by number desc"

# Published values: answers are numbered from 1, the rest is number 0.

PUBLISH = """
insert into perdure_published (shard, instance, name, number, value)
select ?1, ?2, ?3, case when ?5 then 1 + coalesce(
    (select max(number) from perdure_published where shard = ?1 and instance = ?2 and number > 0), 0
) else 0 end, ?4
where true
on conflict (shard, instance, name) do update set value = excluded.value
"""
FORGET_ANSWERS = """
delete from perdure_published
where shard = ?1 and instance = ?2 and number > 0 and number <= (
    select max(number) from perdure_published where shard = ?1 and instance = ?2 and number > 0
) - ?3
"""
SELECT_PUBLISHED = "select value from perdure_published where shard = ?1 and instance = ?2 and name = ?3"

# Streams: an item's position is its offset. Each statement has the whole condition of an append.

_APPENDABLE = f"""
from perdure_wait as wait cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.shard = ?1 and wait.instance = ?2 and wait.number = ?5 and wait.kind = 'activity' and wait.attempt = ?6
    and head.execution = ?3 and head.generation = ?4 and head.status not in {FINISHED}
"""
_LENGTH = """
select max(position) from perdure_item where shard = {0} and instance = {1} and generation = {2} and number = {3}
"""
INSERT_STREAM = f"""
insert into perdure_stream (shard, instance, generation, number, name) select ?1, ?2, ?4, ?5, wait.name {_APPENDABLE}
on conflict (shard, instance, generation, number) do nothing
"""
INSERT_ITEM = f"""
insert into perdure_item (shard, instance, generation, number, attempt, position, value, at)
select ?1, ?2, ?4, ?5, ?6, ?7, ?8, ?9 {_APPENDABLE}
    and ?7 = 1 + coalesce(({_LENGTH.format("?1", "?2", "?4", "?5")}), 0)
"""
SELECT_STREAMS = f"""
select stream.generation, stream.number, stream.name,
    ({_LENGTH.format("stream.shard", "stream.instance", "stream.generation", "stream.number")}),
    exists (
        select 1 from perdure_wait as wait
        where wait.shard = stream.shard and wait.instance = stream.instance and wait.number = stream.number
            and stream.generation = head.generation and head.status not in {FINISHED}
    )
from perdure_stream as stream cross join perdure_head as head on head.shard = stream.shard and head.id = stream.instance
where stream.shard = ?1 and stream.instance = ?2 order by stream.generation, stream.number
"""
ITEM_COLUMNS = "position, value, attempt, at"
SELECT_ITEMS = f"""
select {ITEM_COLUMNS} from perdure_item
where shard = ?1 and instance = ?2 and generation = ?3 and number = ?4 and position > ?5 order by position limit ?6
"""
SELECT_LAST_ITEM = f"""
select {ITEM_COLUMNS} from perdure_item
where shard = ?1 and instance = ?2 and generation = ?3 and number = ?4 order by position desc limit 1
"""
STREAM_TABLES = ("item", "stream")
ERASE_STREAMS = tuple(
    f"delete from perdure_{table} where shard = ?1 and instance = ?2 and generation < ?3" for table in STREAM_TABLES
)

# Tags.

INSERT_TAG = "insert into perdure_tag (shard, instance, key, value, app, created) values (?1, ?2, ?3, ?4, ?5, ?6)"

# Shards and leases. What has `until` or `clock()`, the server's time in microseconds, is for servers alone.

SELECT_SHARDS = "select id from perdure_shard where app = ?1 order by number"
SELECT_APPS = "select distinct app from perdure_shard order by app"
INSERT_SHARD = "insert into perdure_shard (app, number) values (?1, ?2)"
SELECT_EPOCHS = "select id, number, epoch, token from perdure_shard where app = ?1 order by number"
SELECT_LEASE = "select epoch, owner is not null, token from perdure_shard where id = ?1"
LOOK_AT_LEASE = "select epoch, owner is not null, token from perdure_shard as shard where shard.id = ?1"
"""The same, without holding up who writes under the lease meanwhile."""
TAKE_SHARD = "update perdure_shard set epoch = ?2, owner = ?3 where id = ?1"
FREE_SHARD = "update perdure_shard set owner = null where id = ?1 and epoch = ?2"
SELECT_LEASES = "select id, number, epoch, owner, until from perdure_shard where app = ?1 order by number"
SELECT_FIRST_HOLDER = "select owner from perdure_shard where app = ?1 and number = 0 and until > clock()"
SELECT_MEMBERS = """
select member.owner, member.has_code, member.slots, member.busy, member.until, told.about
from perdure_member as member left join perdure_about as told on told.app = member.app and told.owner = member.owner
where member.app = ?1 and member.until > clock() order by member.owner
"""
FORGET_ABOUTS = """
delete from perdure_about
where app = ?1 and (owner = ?2 or owner not in (select owner from perdure_member where app = ?1))
"""
FORGET_ALL_ABOUTS = "delete from perdure_about where app = ?1"
INSERT_ABOUT = "insert into perdure_about (app, owner, about) values (?1, ?2, ?3)"
INSERT_MEMBERS_ABOUT = """
insert into perdure_about (app, owner, about) select ?1, ?2, ?3 from perdure_member where app = ?1 and owner = ?2
"""
SELECT_ABOUT = "select owner, about from perdure_about where app = ?1"
LEAVE = "delete from perdure_member where app = ?1 and owner = ?2"
SELECT_AUDIT_HEAD = "select number, hash from perdure_audit_head where app = ?1"
INSERT_AUDIT_HEAD = "insert into perdure_audit_head (app, number, hash) values (?1, ?2, ?3)"
MOVE_AUDIT_HEAD = "update perdure_audit_head set number = ?2, hash = ?3 where app = ?1 and number = ?4"
INSERT_AUDIT = "insert into perdure_audit (app, number, entry) values (?1, ?2, ?3)"
SELECT_AUDIT = "select number, entry from perdure_audit where app = ?1 and number > ?2 order by number limit ?3"
INSERT_NOTICE = "insert into perdure_notice (shard, instance, event) values (?1, ?2, ?3)"
_NOTICE = "select number, instance, event, failure from perdure_notice where shard = ?1"
SELECT_NOTICES = f"{_NOTICE} and number > ?2 order by number limit ?3"
SELECT_PENDING_NOTICES = f"{_NOTICE} and state = 0 and number > ?2 order by number limit ?3"
SELECT_GIVEN_UP_NOTICES = f"{_NOTICE} and state = 2 order by number limit ?2"
SELECT_NEWEST_NOTICE = "select max(number) from perdure_notice where shard = ?1"
TELL_NOTICE = "update perdure_notice set state = 1, failure = null where shard = ?1 and number = ?2"
GIVE_UP_NOTICE = "update perdure_notice set state = 2, failure = ?3 where shard = ?1 and number = ?2"
TELL_NOTICES_AGAIN = "update perdure_notice set state = 0, failure = null where shard = ?1 and state = 2"
SELECT_NOTICE_BOUND = """
select number from perdure_notice where shard = ?1 and state = ?2 order by number desc limit 1 offset ?3
"""
FORGET_NOTICES = "delete from perdure_notice where shard = ?1 and state = ?2 and number <= ?3"
FENCE = "update perdure_shard set token = ?3 where id = ?1 and epoch = ?2 and owner is not null"

# Calls that any node may run. The index names those that may be claimed now or later.

_IS_OUT = "wait.state in ('offered', 'claimed')"
SELECT_CLAIMABLE = f"""
select wait.shard, head.id, head.execution, head.generation, {", ".join(f"wait.{c}" for c in WAIT_COLUMNS.split(", "))}
from perdure_shard as shard
    cross join perdure_wait as wait indexed by perdure_wait_out on wait.shard = shard.id
    cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where shard.app = ?1 and {_IS_OUT} and wait.kind = 'activity' and wait.name = ?2
    and head.status not in {FINISHED} and head.suspended is null
    and case wait.state when 'claimed' then wait.claimed_until <= ?3 else wait.due is null or wait.due <= ?3 end
order by wait.since, wait.shard, wait.instance, wait.number limit ?4
"""
CLAIM_CALL = """
update perdure_wait set state = 'claimed', token = ?5, claimed_by = ?6, claimed_until = ?7,
    lapses = case state when 'claimed' then coalesce(lapses, 0) + 1 else lapses end
where shard = ?1 and instance = ?2 and number = ?3 and attempt = ?4
"""
TOUCH_CALL = f"""
update perdure_wait set claimed_until = ?5, details = coalesce(?6, details),
    state = case when ?9 then 'offered' else state end
where shard = ?1 and instance = ?2 and number = ?3 and state = 'claimed' and token = ?4
    and exists (
        select 1 from perdure_head
        where shard = ?1 and id = ?2 and execution = ?7 and generation = ?8 and status not in {FINISHED}
    )
"""
COUNT_UNFINISHED = """
select count(*) from perdure_head where app = ?1 and status in ('pending', 'running') and kind <> 'entity'
"""
COUNT_OUT = f"""
select
    count(case wait.state when 'offered' then 1 end), min(case wait.state when 'offered' then wait.since end),
    count(case wait.state when 'claimed' then 1 end)
from perdure_shard as shard cross join perdure_wait as wait indexed by perdure_wait_out on wait.shard = shard.id
where shard.app = ?1 and {_IS_OUT}
"""

_MOVES = f"head.status not in {FINISHED} and head.suspended is null and head.stalled is null"
COUNT_READY = f"""
select count(*), min(ready.since)
from (
    select found.shard, found.instance, min(found.since) as since
    from (
        select wait.shard as shard, wait.instance as instance, wait.due as since
        from perdure_shard as shard cross join perdure_wait as wait on wait.shard = shard.id
        where shard.app = ?1 and wait.due is not null and wait.due <= ?2 and wait.kind <> 'activity'
            and wait.state not in ('queued', 'offered', 'claimed')
        union all
        select mail.shard, mail.instance, mail.at
        from perdure_shard as shard cross join perdure_mail as mail on mail.shard = shard.id
        where shard.app = ?1 and not exists (
            select 1 from perdure_wait as start
            where start.shard = mail.shard and start.instance = mail.instance and start.kind = 'start'
                and (start.due > ?2 or start.state = 'queued')
        )
    ) as found
        cross join perdure_head as head on head.shard = found.shard and head.id = found.instance
    where {_MOVES}
    group by found.shard, found.instance
) as ready
"""
COUNT_CALLS = f"""
select count(*)
from perdure_shard as shard
    cross join perdure_wait as wait on wait.shard = shard.id
    cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where shard.app = ?1 and (wait.state = 'queued' or (wait.kind = 'activity' and wait.state in ('held', 'admitted')))
    and (wait.due is null or wait.due <= ?2) and {_MOVES}
"""

# Lives and suspects. `shard.life` is the epoch of the last owner that lived and has not given the shard back.

SELECT_LIFE = "select life from perdure_shard where id = ?1"
BEGIN_LIFE = "update perdure_shard set life = epoch where id = ?1"
FORGET_LIFE = """
delete from perdure_suspect
where shard = ?1 and exists (select 1 from perdure_shard as shard where shard.id = ?1 and shard.life = ?2)
"""
END_LIFE = "update perdure_shard set life = null where id = ?1 and life = ?2"
REMEMBER_ACCUSED = """
update perdure_suspect set accused_at_death = accused, accused = 0
where shard = ?1 and exists (select 1 from perdure_suspect as other where other.shard = ?1 and other.accused > 0)
"""
COUNT_DEATHS = f"""
insert into perdure_suspect (shard, instance, deaths, life)
select ?1, wait.instance, 1, ?2
from perdure_wait as wait cross join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
where wait.shard = ?1 and coalesce(wait.due, ?3) <= ?3
    and case wait.kind when 'activity' then wait.state in ('held', 'admitted')
        else wait.state <> 'queued' and wait.due is not null end
    and head.status not in {FINISHED} and (wait.kind <> 'activity' or head.suspended is null)
union
select ?1, mail.instance, 1, ?2
from perdure_mail as mail cross join perdure_head as head on head.shard = mail.shard and head.id = mail.instance
where mail.shard = ?1 and head.status not in {FINISHED}
    and not exists (
        select 1 from perdure_wait as wait
        where shard = ?1 and instance = mail.instance
            and kind = 'start' and (due > ?3 or state = 'queued'))
on conflict (shard, instance) do update set deaths = perdure_suspect.deaths + 1, life = excluded.life
"""
FORGET_SUSPECTS = "delete from perdure_suspect where shard = ?1 and life <> ?2"
FORGET_ALL_SUSPECTS = "delete from perdure_suspect where shard = ?1"
ACQUIT = "delete from perdure_suspect where shard = ?1 and instance = ?2"
ACCUSE = "update perdure_suspect set accused = ?3 where shard = ?1 and instance = ?2"
SELECT_SUSPECTS = "select instance, deaths, accused_at_death from perdure_suspect where shard = ?1 order by instance"

# Claims and permits.

SELECT_HOLDER = """
select claim.until, head.id, head.execution, head.sequence, head.created, head.status
from perdure_claim as claim join perdure_head as head on head.shard = claim.shard and head.id = claim.instance
where claim.shard = ?1 and claim.name = ?2
"""
TAKE_CLAIM = """
insert into perdure_claim (shard, name, instance, until) values (?1, ?2, ?3, ?4)
on conflict (shard, name) do update set instance = excluded.instance, until = excluded.until
"""
RENEW_HEAD = """
update perdure_head set sequence = ?1, updated = ?2
where shard = ?3 and id = ?4 and execution = ?5 and sequence = ?6 and status = 'pending'
"""
RENEW_MAIL = """
update perdure_mail set event = ?4, at = ?5, execution = ?6, generation = ?7
where shard = ?1 and instance = ?2 and key = ?3
"""
INSERT_PERMIT = "insert into perdure_permit (shard, queue, at, until) values (?1, ?2, ?3, ?4)"
FORGET_PERMITS = "delete from perdure_permit where shard = ?1 and queue = ?2 and until <= ?3"
SELECT_PERMITS = "select queue, at, until from perdure_permit where shard = ?1 and until > ?2 order by queue, at"

# Apps that are kept for a move, and whole instances as a move reads and writes them.

SELECT_RESERVED = "select reserved from perdure_shard where app = ?1 and reserved is not null order by number limit 1"
SELECT_RESERVED_SHARD = "select app, reserved from perdure_shard where id = ?1 and reserved is not null"
UNRESERVED = "select 1 from perdure_shard where id = ?1 and reserved is null"
SELECT_OWNERS = """
select owner from perdure_shard where app = ?1 and owner is not null and until > clock()
union all select owner from perdure_member where app = ?1 and until > clock()
"""
RESERVE = "update perdure_shard set reserved = ?2 where app = ?1"
RAISE_EPOCHS = "update perdure_shard set epoch = epoch + 1 where app = ?1"
SELECT_PLACES = f"""
select head.shard, head.id, head.execution, head.generation, head.sequence,
    case when head.status in {FINISHED} then 1 else 0 end
from perdure_shard as shard cross join perdure_head as head on head.shard = shard.id
where shard.app = ?1 and (head.shard, head.id) > (?2, ?3)
order by head.shard, head.id limit ?4
"""
SELECT_ALL_SEGMENTS = """
select sequence, events from perdure_history where shard = ?1 and instance = ?2 order by sequence
"""
SELECT_ALL_PUBLISHED = """
select name, number, value from perdure_published where shard = ?1 and instance = ?2 order by number, name
"""
SELECT_TRACKS = """
select generation, number, name from perdure_stream where shard = ?1 and instance = ?2 order by generation, number
"""
SELECT_TRACK = f"""
select {ITEM_COLUMNS} from perdure_item
where shard = ?1 and instance = ?2 and generation = ?3 and number = ?4 order by position
"""
SELECT_CLAIMS = "select name, until from perdure_claim where shard = ?1 and instance = ?2 order by name"
INSERT_PLACED_MAIL = _insert("mail", "shard", "instance", "number", "key", "event", "at", "execution", "generation")
INSERT_PLACED_SEEN = _insert("seen", "shard", "instance", "number", "key")
INSERT_PLACED_VALUE = _insert("published", "shard", "instance", "name", "number", "value")
INSERT_TRACK = _insert("stream", "shard", "instance", "generation", "number", "name")
INSERT_PLACED_ITEM = _insert("item", "shard", "instance", "generation", "number", "position", "value", "attempt", "at")
TAKE_FREE_CLAIM = """
insert into perdure_claim (shard, name, instance, until) values (?1, ?2, ?3, ?4) on conflict (shard, name) do nothing
"""
FORGET_QUEUE = "delete from perdure_permit where shard = ?1 and queue = ?2"

# The rows of an app, counted.

COUNT_INSTANCES = "select kind, status, count(*) from perdure_head where app = ?1 group by kind, status"
COUNT_STATUSES = "select status, count(*) from perdure_head where app = ?1 and kind = 'workflow' group by status"
COUNT_OPEN_CALLS = """
select wait.state, count(*)
from perdure_shard as shard cross join perdure_wait as wait on wait.shard = shard.id
where shard.app = ?1 and wait.kind = 'activity' group by wait.state order by wait.state
"""
COUNT_MAIL = """
select count(*) from perdure_shard as shard cross join perdure_mail as mail on mail.shard = shard.id
where shard.app = ?1
"""
COUNT_SEGMENTS = """
select count(*) from perdure_shard as shard cross join perdure_history as history on history.shard = shard.id
where shard.app = ?1
"""
SELECT_SHARD_STATES = "select id, number, epoch, owner from perdure_shard where app = ?1 order by number"

# Whole instances.

SELECT_UNUSED_ENTITY = f"""
select 1 from perdure_head as head
where head.shard = ?1 and head.id = ?2 and head.kind = 'entity' and head.custom_status is null
    and not exists ({_WAITS_OF_HEAD}) and not {_HAS_MAIL}
"""

BESIDE_RUN = ("mail", "seen", "tag", "published", "suspect", "claim", *STREAM_TABLES)
ERASE_RUN = tuple(f"delete from perdure_{table} where shard = ?1 and instance = ?2" for table in ("history", "wait"))
ERASE_INSTANCE = (
    *ERASE_RUN,
    *(f"delete from perdure_{table} where shard = ?1 and instance = ?2" for table in BESIDE_RUN),
    "delete from perdure_head where shard = ?1 and id = ?2",
)
