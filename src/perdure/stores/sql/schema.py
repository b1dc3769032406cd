"""The tables of the SQLite dialect, as the steps that lead from each format to the next."""

from __future__ import annotations

# History and items have their rows by time of arrival and an index on the key: those of many deep runs then share
# the pages of one commit, which halves its cost. Other tables are small: one tree is cheaper.
FORMAT_1 = """
create table perdure_meta (
    key text primary key,
    value text not null
) without rowid;

create table perdure_shard (
    id integer primary key,
    app text not null,
    number integer not null,
    epoch integer not null default 0,
    owner text,
    token text,
    life integer,
    unique (app, number)
);

create table perdure_head (
    shard integer not null,
    id text not null,
    sequence integer not null,
    updated integer not null,
    execution text not null,
    generation integer not null,
    app text not null,
    name text not null,
    kind text not null,
    status text not null,
    created integer not null,
    finished integer,
    parent text,
    parent_call text,
    version text,
    tags text,
    custom_status text,
    suspended text,
    stalled text,
    more text,
    primary key (shard, id)
) without rowid;
create index perdure_head_by_age on perdure_head (app, created, id);
create index perdure_head_by_name on perdure_head (app, name, created, id);
create index perdure_head_by_status on perdure_head (app, status, created, id);
create index perdure_head_by_parent on perdure_head (parent, created, id) where parent is not null;
create index perdure_head_stalled on perdure_head (app, created, id) where stalled is not null;

create table perdure_tag (
    shard integer not null,
    instance text not null,
    key text not null,
    value text not null,
    app text not null,
    created integer not null,
    primary key (shard, instance, key)
) without rowid;
create index perdure_tag_by_value on perdure_tag (app, key, value, created, instance);

create table perdure_history (
    shard integer not null,
    instance text not null,
    sequence integer not null,
    events text not null,
    primary key (shard, instance, sequence)
);

create table perdure_wait (
    shard integer not null,
    instance text not null,
    number integer not null,
    kind text not null,
    name text not null,
    since integer not null,
    due integer,
    on_whom text,
    line text,
    attempt integer not null,
    state text not null,
    token text,
    claimed_by text,
    claimed_until integer,
    details text,
    input text,
    options text,
    failure text,
    primary key (shard, instance, number)
) without rowid;
create index perdure_wait_due on perdure_wait (shard, due, instance, number) where due is not null;

create index perdure_wait_queued on perdure_wait (shard, instance, number) where state in ('queued', 'admitted');

create table perdure_claim (
    shard integer not null,
    name text not null,
    instance text not null,
    until integer not null,
    primary key (shard, name)
) without rowid;
create index perdure_claim_by_instance on perdure_claim (shard, instance);

create table perdure_permit (
    shard integer not null,
    queue text not null,
    at integer not null,
    until integer not null
);
create index perdure_permit_by_queue on perdure_permit (shard, queue, until);

create table perdure_mail (
    shard integer not null,
    instance text not null,
    number integer not null,
    key text not null,
    event text not null,
    at integer not null,
    execution text,
    generation integer,
    primary key (shard, instance, number),
    unique (shard, instance, key)
) without rowid;

create table perdure_seen (
    shard integer not null,
    instance text not null,
    number integer not null,
    key text not null,
    primary key (shard, instance, number),
    unique (shard, instance, key)
) without rowid;

create table perdure_stream (
    shard integer not null,
    instance text not null,
    generation integer not null,
    number integer not null,
    name text not null,
    primary key (shard, instance, generation, number)
) without rowid;

create table perdure_item (
    shard integer not null,
    instance text not null,
    generation integer not null,
    number integer not null,
    position integer not null,
    value text not null,
    attempt integer not null,
    at integer not null,
    primary key (shard, instance, generation, number, position)
);

create table perdure_published (
    shard integer not null,
    instance text not null,
    name text not null,
    number integer not null,
    value text not null,
    primary key (shard, instance, name)
) without rowid;
create index perdure_published_answer on perdure_published (shard, instance, number) where number > 0;

create table perdure_suspect (
    shard integer not null,
    instance text not null,
    deaths integer not null,
    life integer not null,
    accused integer not null default 0,
    accused_at_death integer not null default 0,
    primary key (shard, instance)
) without rowid;

create view perdure_instances as
select
    app, id, name, status,
    case when stalled is not null then 'stalled' when suspended is not null then 'suspended' end as halt,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1e6, 'unixepoch') as created,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1e6, 'unixepoch') as updated,
    strftime('%Y-%m-%dT%H:%M:%fZ', finished / 1e6, 'unixepoch') as finished,
    execution, generation, sequence as turns, parent, tags, custom_status
from perdure_head as head;

create view perdure_waits as
select
    head.app, wait.instance, wait.number, wait.kind, wait.name, wait.on_whom, wait.line,
    strftime('%Y-%m-%dT%H:%M:%fZ', wait.since / 1e6, 'unixepoch') as since,
    strftime('%Y-%m-%dT%H:%M:%fZ', wait.due / 1e6, 'unixepoch') as due,
    wait.attempt, wait.state, wait.claimed_by
from perdure_wait as wait join perdure_head as head on head.shard = wait.shard and head.id = wait.instance;

create view perdure_events as
select
    head.app, history.instance, history.sequence, event.key as position,
    json_extract(event.value, '$.type') as type, event.value as event
from perdure_history as history
join perdure_head as head on head.shard = history.shard and head.id = history.instance
join json_each(history.events) as event;
"""

FORMAT_2 = """
create index perdure_wait_out on perdure_wait (shard, name, since) where state in ('offered', 'claimed');
create index perdure_head_by_end on perdure_head (app, status, finished, id) where finished is not null;
alter table perdure_shard add column reserved text;
"""

# Entries of the audit log and their head, which stands apart so that a tail that was cut off is missed; notices of the
# lifecycle feed, with 0 for those that are to be told, 1 for those that are, 2 for those that nobody would hear.
FORMAT_3 = """
create table perdure_about (
    app text not null,
    owner text not null,
    about text not null,
    primary key (app, owner)
) without rowid;

create table perdure_audit (
    app text not null,
    number integer not null,
    entry text not null,
    primary key (app, number)
) without rowid;

create table perdure_audit_head (
    app text primary key,
    number integer not null,
    hash text not null
) without rowid;

create table perdure_notice (
    number integer primary key autoincrement,
    shard integer not null,
    instance text not null,
    event text not null,
    state integer not null default 0,
    failure text
);
create index perdure_notice_by_shard on perdure_notice (shard, number);
create index perdure_notice_by_state on perdure_notice (shard, state, number);

alter table perdure_wait add column lapses integer;
"""

MIGRATIONS = (FORMAT_1, FORMAT_2, FORMAT_3)
"""Step n leads from format n to n + 1. A step that was released never changes."""


def statements(step: str) -> list[str]:
    """The statements of a step, to be run one by one because they share a transaction."""
    return [statement for statement in step.split(";") if statement.strip()]
