"""Every SQL statement of the store, each named after what it does."""

from __future__ import annotations

# Heads, in the order of `rows.head_row` and `rows.head_update_row`.

HEAD_COLUMNS = (
    "shard, id, sequence, updated, execution, generation, app, name, kind, status, created, finished, "
    "parent, parent_call, version, tags, custom_status, suspended, stalled, more"
)
INSERT_HEAD = f"insert into perdure_head ({HEAD_COLUMNS}) values ({', '.join(f'?{n}' for n in range(1, 21))})"
REPLACE_HEAD = """
update perdure_head
set sequence = ?1, updated = ?2, execution = ?3, generation = ?4, status = ?5, finished = ?6,
    version = ?7, custom_status = ?8, suspended = ?9, stalled = ?10, more = ?11
where shard = ?12 and id = ?13 and execution = ?14 and generation = ?15 and sequence = ?16
"""
ADVANCE_HEAD = """
update perdure_head set sequence = ?1, updated = ?2
where shard = ?3 and id = ?4 and execution = ?5 and generation = ?6 and sequence = ?7
"""
FINISHED = "('completed', 'failed', 'canceled', 'terminated')"
SELECT_OCCUPANT = f"select execution, parent_call, status in {FINISHED} from perdure_head where shard = ?1 and id = ?2"
SELECT_HEAD = f"select {HEAD_COLUMNS} from perdure_head where shard = ?1 and id = ?2"

# History.

INSERT_SEGMENT = "insert into perdure_history (shard, instance, sequence, events) values (?1, ?2, ?3, ?4)"
SELECT_SEGMENTS = """
select sequence, events from perdure_history
where shard = ?1 and instance = ?2 and sequence > ?3 order by sequence limit ?4
"""
SELECT_LAST_SEGMENT = """
select sequence, events from perdure_history where shard = ?1 and instance = ?2 order by sequence desc limit 1
"""

# Waits, in the order of `rows.wait_row`.

WAIT_COLUMNS = (
    "number, kind, name, since, due, on_whom, line, attempt, state, token, claimed_by, claimed_until, "
    "details, input, options, failure"
)
INSERT_WAIT = (
    f"insert into perdure_wait (shard, instance, {WAIT_COLUMNS}) values ({', '.join(f'?{n}' for n in range(1, 19))})"
)
REPLACE_WAIT = """
update perdure_wait
set kind = ?4, name = ?5, since = ?6, due = ?7, on_whom = ?8, line = ?9, attempt = ?10, state = ?11,
    token = ?12, claimed_by = ?13, claimed_until = ?14, details = ?15, input = ?16, options = ?17,
    failure = ?18
where shard = ?1 and instance = ?2 and number = ?3
"""
ANSWER_CALL = """
update perdure_wait set state = 'answered'
where shard = ?1 and instance = ?2 and number = ?3 and attempt = ?4 and kind = 'activity'
    and state in ('held', 'admitted')
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
order by wait.due, wait.instance, wait.number limit ?6
"""

_HAS_MAIL = "exists (select 1 from perdure_mail as mail where mail.shard = head.shard and mail.instance = head.id)"
_WAITS_OF_HEAD = "select 1 from perdure_wait as wait where wait.shard = head.shard and wait.instance = head.id"
_IS_ENDLESS = f"""
case
    when wait.kind in ('activity', 'child', 'timer') and wait.state = 'answered' then not {_HAS_MAIL}
    when wait.kind = 'activity' then wait.state not in ('held', 'queued', 'admitted')
    when wait.kind = 'child' then wait.on_whom is null
    when wait.kind in ('timer', 'start', 'timeout') then wait.due is null and wait.state <> 'queued'
    else wait.kind not in ('event', 'entity', 'queue')
end
"""
SELECT_STRANDED = f"""
select head.id from perdure_head as head indexed by perdure_head_by_status
where head.app = ?2 and head.status in ('pending', 'running') and head.shard = ?1 and head.id > ?3
    and head.suspended is null and head.stalled is null
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
SELECT_PRESENT_MAIL = f"""
select {", ".join(f"mail.{c}" for c in MAIL_COLUMNS.split(", "))}
from perdure_mail as mail cross join perdure_head as head on head.shard = mail.shard and head.id = mail.instance
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

# Shards and leases.

SELECT_SHARDS = "select id from perdure_shard where app = ?1 order by number"
SELECT_APPS = "select distinct app from perdure_shard order by app"
INSERT_SHARD = "insert into perdure_shard (app, number) values (?1, ?2)"
SELECT_EPOCHS = "select id, number, epoch, token from perdure_shard where app = ?1 order by number"
SELECT_LEASE = "select epoch, owner is not null, token from perdure_shard where id = ?1"
TAKE_SHARD = "update perdure_shard set epoch = ?2, owner = ?3 where id = ?1"
FREE_SHARD = "update perdure_shard set owner = null where id = ?1 and epoch = ?2"
FENCE = "update perdure_shard set token = ?3 where id = ?1 and epoch = ?2 and owner is not null"

# Lives and suspects. `shard.life` is the epoch of the last owner that lived and has not given the shard back.

SELECT_LIFE = "select life from perdure_shard where id = ?1"
BEGIN_LIFE = "update perdure_shard set life = epoch where id = ?1"
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
on conflict (shard, instance) do update set deaths = deaths + 1, life = excluded.life
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
TAKE_CLAIM = "insert or replace into perdure_claim (shard, name, instance, until) values (?1, ?2, ?3, ?4)"
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

# Whole instances.

BESIDE_RUN = ("mail", "seen", "tag", "published", "suspect", "claim", *STREAM_TABLES)
ERASE_RUN = tuple(f"delete from perdure_{table} where shard = ?1 and instance = ?2" for table in ("history", "wait"))
ERASE_INSTANCE = (
    *ERASE_RUN,
    *(f"delete from perdure_{table} where shard = ?1 and instance = ?2" for table in BESIDE_RUN),
    "delete from perdure_head where shard = ?1 and id = ?2",
)
