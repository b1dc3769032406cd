"""The tables of the PostgreSQL dialect, as the steps that lead from each format to the next."""

from __future__ import annotations

# Text compares byte by byte, as ids do elsewhere in the program. Heads keep room in their pages, because a turn writes
# its head anew, and spares the indexes if it stays in the page. The first format here is that of the program that
# brought the dialect, so that a number means the same in every dialect. Values of tags are hashed, because an index
# takes no long ones.
FORMAT_2 = """
create table perdure_meta (
    key text primary key,
    value text not null
);

create table perdure_shard (
    id bigint generated always as identity primary key,
    app text collate "C" not null,
    number bigint not null,
    epoch bigint not null default 0,
    owner text,
    until bigint,
    token text,
    life bigint,
    reserved text,
    unique (app, number)
) with (fillfactor = 20);

create table perdure_member (
    app text collate "C" not null,
    owner text collate "C" not null,
    has_code boolean not null,
    slots bigint not null,
    busy bigint not null,
    until bigint not null,
    primary key (app, owner)
) with (fillfactor = 50);

create table perdure_head (
    shard bigint not null,
    id text collate "C" not null,
    sequence bigint not null,
    updated bigint not null,
    execution text not null,
    generation bigint not null,
    app text collate "C" not null,
    name text collate "C" not null,
    kind text not null,
    status text not null,
    created bigint not null,
    finished bigint,
    parent text collate "C",
    parent_call text,
    version text,
    tags text,
    custom_status text,
    suspended text,
    stalled text,
    more text,
    primary key (shard, id)
) with (fillfactor = 70);
create index perdure_head_by_age on perdure_head (app, created, id);
create index perdure_head_by_name on perdure_head (app, name, created, id);
create index perdure_head_by_status on perdure_head (app, status, created, id);
create index perdure_head_by_end on perdure_head (app, status, finished, id) where finished is not null;
create index perdure_head_by_parent on perdure_head (parent, created, id) where parent is not null;
create index perdure_head_stalled on perdure_head (app, created, id) where stalled is not null;

create table perdure_tag (
    shard bigint not null,
    instance text collate "C" not null,
    key text collate "C" not null,
    value text collate "C" not null,
    app text collate "C" not null,
    created bigint not null,
    primary key (shard, instance, key)
);
create index perdure_tag_by_value on perdure_tag (app, key, hashtextextended(value, 0), created, instance);

create table perdure_history (
    shard bigint not null,
    instance text collate "C" not null,
    sequence bigint not null,
    events text not null,
    primary key (shard, instance, sequence)
);

create table perdure_wait (
    shard bigint not null,
    instance text collate "C" not null,
    number bigint not null,
    kind text not null,
    name text collate "C" not null,
    since bigint not null,
    due bigint,
    on_whom text,
    line text,
    attempt bigint not null,
    state text not null,
    token text,
    claimed_by text,
    claimed_until bigint,
    details text,
    input text,
    options text,
    failure text,
    primary key (shard, instance, number)
);
create index perdure_wait_due on perdure_wait (shard, due, instance, number) where due is not null;
create index perdure_wait_queued on perdure_wait (shard, instance, number) where state in ('queued', 'admitted');
create index perdure_wait_out on perdure_wait (name, since, shard) where state in ('offered', 'claimed');

create table perdure_claim (
    shard bigint not null,
    name text collate "C" not null,
    instance text collate "C" not null,
    until bigint not null,
    primary key (shard, name)
);
create index perdure_claim_by_instance on perdure_claim (shard, instance);

create table perdure_permit (
    shard bigint not null,
    queue text collate "C" not null,
    at bigint not null,
    until bigint not null
);
create index perdure_permit_by_queue on perdure_permit (shard, queue, until);

create table perdure_mail (
    shard bigint not null,
    instance text collate "C" not null,
    number bigint generated always as identity,
    key text collate "C" not null,
    event text not null,
    at bigint not null,
    execution text,
    generation bigint,
    primary key (shard, instance, number),
    unique (shard, instance, key)
);

create table perdure_seen (
    shard bigint not null,
    instance text collate "C" not null,
    number bigint generated always as identity,
    key text collate "C" not null,
    primary key (shard, instance, number),
    unique (shard, instance, key)
);

create table perdure_stream (
    shard bigint not null,
    instance text collate "C" not null,
    generation bigint not null,
    number bigint not null,
    name text not null,
    primary key (shard, instance, generation, number)
);

create table perdure_item (
    shard bigint not null,
    instance text collate "C" not null,
    generation bigint not null,
    number bigint not null,
    position bigint not null,
    value text not null,
    attempt bigint not null,
    at bigint not null,
    primary key (shard, instance, generation, number, position)
);

create sequence perdure_answer;

create table perdure_published (
    shard bigint not null,
    instance text collate "C" not null,
    name text collate "C" not null,
    number bigint not null,
    value text not null,
    primary key (shard, instance, name)
);
create index perdure_published_answer on perdure_published (shard, instance, number) where number > 0;

create table perdure_suspect (
    shard bigint not null,
    instance text collate "C" not null,
    deaths bigint not null,
    life bigint not null,
    accused bigint not null default 0,
    accused_at_death bigint not null default 0,
    primary key (shard, instance)
);

create view perdure_instances as
select
    app, id, name, status,
    case when stalled is not null then 'stalled' when suspended is not null then 'suspended' end as halt,
    to_timestamp(created / 1e6) as created,
    to_timestamp(updated / 1e6) as updated,
    to_timestamp(finished / 1e6) as finished,
    execution, generation, sequence as turns, parent, tags::json as tags, custom_status::json as custom_status
from perdure_head;

create view perdure_waits as
select
    head.app, wait.instance, wait.number, wait.kind, wait.name, wait.on_whom, wait.line,
    to_timestamp(wait.since / 1e6) as since, to_timestamp(wait.due / 1e6) as due,
    wait.attempt, wait.state, wait.claimed_by
from perdure_wait as wait join perdure_head as head on head.shard = wait.shard and head.id = wait.instance;

create view perdure_events as
select
    head.app, history.instance, history.sequence, event.position - 1 as position,
    event.value ->> 'type' as type, event.value as event
from perdure_history as history
join perdure_head as head on head.shard = history.shard and head.id = history.instance
cross join lateral json_array_elements(history.events::json) with ordinality as event(value, position);
"""

# Entries of the audit log and their head, which stands apart so that a tail that was cut off is missed; notices of the
# lifecycle feed, with 0 for those that are to be told, 1 for those that are, 2 for those that nobody would hear.
FORMAT_3 = """
create table perdure_about (
    app text collate "C" not null,
    owner text collate "C" not null,
    about text not null,
    primary key (app, owner)
);

create table perdure_audit (
    app text collate "C" not null,
    number bigint not null,
    entry text not null,
    primary key (app, number)
);

create table perdure_audit_head (
    app text collate "C" primary key,
    number bigint not null,
    hash text not null
);

create table perdure_notice (
    shard bigint not null,
    number bigint generated always as identity,
    instance text collate "C" not null,
    event text not null,
    state bigint not null default 0,
    failure text,
    primary key (shard, number)
);
create index perdure_notice_by_state on perdure_notice (shard, state, number);

alter table perdure_wait add column lapses bigint;
"""

MIGRATIONS = {2: FORMAT_2, 3: FORMAT_3}
"""The step that leads to each format from the one before, or from an empty database. A step that was released never
changes."""
