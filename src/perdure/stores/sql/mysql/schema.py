"""The tables of the MySQL dialect, as the steps that lead from each format to the next.

Ids and other keys may be longer than an index takes, so a column of keys holds what `words.key` makes of them, and
a `long_` column beside it the whole of a long one. A `folded_` column has the id or name in folded case, if that
differs. Keys compare by their characters, without regard to language, case or trailing blanks; {collation} is the name
that the server has for that.
"""

from __future__ import annotations

KEY = "varchar(191)"
"""As many characters as a key may have, so that four of them fit into one index."""

_TABLE = "engine=InnoDB row_format=dynamic default charset=utf8mb4 collate={collation}"
_TIME = "date_format(from_unixtime({0} div 1000000) + interval ({0} % 1000000) microsecond, '%Y-%m-%dT%H:%i:%s.%fZ')"


def _time(column: str) -> str:
    return _TIME.format(column)


FORMAT_2 = (
    f"create table if not exists perdure_meta (`key` {KEY} primary key, value longtext not null) {_TABLE}",
    f"""
create table if not exists perdure_shard (
    id int not null auto_increment primary key,
    app {KEY} not null,
    number int not null,
    epoch bigint not null default 0,
    owner {KEY},
    until bigint,
    token {KEY},
    life bigint,
    reserved longtext,
    unique (app, number)
) {_TABLE}
""",
    f"""
create table if not exists perdure_gate (
    app {KEY} not null primary key
) {_TABLE}
""",
    f"""
create table if not exists perdure_member (
    app {KEY} not null,
    owner {KEY} not null,
    has_code tinyint not null,
    slots bigint not null,
    busy bigint not null,
    until bigint not null,
    primary key (app, owner)
) {_TABLE}
""",
    f"""
create table if not exists perdure_head (
    shard int not null,
    id {KEY} not null,
    long_id longtext,
    folded_id longtext,
    sequence bigint not null,
    updated bigint not null,
    execution {KEY} not null,
    generation bigint not null,
    app {KEY} not null,
    name {KEY} not null,
    long_name longtext,
    folded_name longtext,
    kind {KEY} not null,
    status varchar(32) not null,
    created bigint not null,
    finished bigint,
    parent {KEY},
    long_parent longtext,
    parent_call longtext,
    version longtext,
    tags longtext,
    custom_status longtext,
    suspended longtext,
    stalled longtext,
    more longtext,
    primary key (shard, id),
    key perdure_head_by_age (app, created, id),
    key perdure_head_by_name (app, name, created, id),
    key perdure_head_by_status (app, status, created, id),
    key perdure_head_by_end (app, status, finished, id),
    key perdure_head_by_parent (parent, created, id)
) {_TABLE}
""",
    f"""
create table if not exists perdure_tag (
    shard int not null,
    instance {KEY} not null,
    `key` {KEY} not null,
    value {KEY} not null,
    app {KEY} not null,
    created bigint not null,
    primary key (shard, instance, `key`),
    key perdure_tag_by_value (app, `key`, value, created, instance)
) {_TABLE}
""",
    f"""
create table if not exists perdure_history (
    shard int not null,
    instance {KEY} not null,
    sequence bigint not null,
    events longtext not null,
    primary key (shard, instance, sequence)
) {_TABLE}
""",
    f"""
create table if not exists perdure_wait (
    shard int not null,
    instance {KEY} not null,
    number bigint not null,
    kind varchar(32) not null,
    name longtext not null,
    since bigint not null,
    due bigint,
    on_whom longtext,
    line longtext,
    attempt bigint not null,
    state varchar(32) not null,
    token longtext,
    claimed_by longtext,
    claimed_until bigint,
    details longtext,
    input longtext,
    options longtext,
    failure longtext,
    lapses bigint,
    primary key (shard, instance, number),
    key perdure_wait_due (due, shard, instance, number),
    key perdure_wait_state (state, name(100), since)
) {_TABLE}
""",
    f"""
create table if not exists perdure_claim (
    shard int not null,
    name {KEY} not null,
    long_name longtext,
    instance {KEY} not null,
    until bigint not null,
    primary key (shard, name),
    key perdure_claim_by_instance (shard, instance)
) {_TABLE}
""",
    f"""
create table if not exists perdure_permit (
    id bigint not null auto_increment primary key,
    shard int not null,
    queue longtext not null,
    at bigint not null,
    until bigint not null,
    key perdure_permit_by_queue (shard, queue(191), until)
) {_TABLE}
""",
    f"""
create table if not exists perdure_mail (
    id bigint not null auto_increment primary key,
    shard int not null,
    instance {KEY} not null,
    `key` {KEY} not null,
    long_key longtext,
    event longtext not null,
    at bigint not null,
    execution {KEY},
    generation bigint,
    unique perdure_mail_key (shard, instance, `key`)
) {_TABLE}
""",
    f"""
create table if not exists perdure_seen (
    shard int not null,
    instance {KEY} not null,
    number bigint not null,
    `key` {KEY} not null,
    long_key longtext,
    primary key (shard, instance, number),
    unique (shard, instance, `key`)
) {_TABLE}
""",
    f"""
create table if not exists perdure_stream (
    shard int not null,
    instance {KEY} not null,
    generation bigint not null,
    number bigint not null,
    name longtext not null,
    primary key (shard, instance, generation, number)
) {_TABLE}
""",
    f"""
create table if not exists perdure_item (
    shard int not null,
    instance {KEY} not null,
    generation bigint not null,
    number bigint not null,
    position bigint not null,
    value longtext not null,
    attempt bigint not null,
    at bigint not null,
    primary key (shard, instance, generation, number, position)
) {_TABLE}
""",
    f"""
create table if not exists perdure_published (
    shard int not null,
    instance {KEY} not null,
    name {KEY} not null,
    long_name longtext,
    number bigint not null,
    value longtext not null,
    primary key (shard, instance, name),
    key perdure_published_answer (shard, instance, number)
) {_TABLE}
""",
    f"""
create table if not exists perdure_suspect (
    shard int not null,
    instance {KEY} not null,
    deaths bigint not null,
    life bigint not null,
    accused bigint not null default 0,
    accused_at_death bigint not null default 0,
    primary key (shard, instance)
) {_TABLE}
""",
    f"""
create or replace view perdure_instances as
select
    app, coalesce(long_id, id) as id, coalesce(long_name, name) as name, status,
    case when stalled is not null then 'stalled' when suspended is not null then 'suspended' end as halt,
    {_time("created")} as created, {_time("updated")} as updated, {_time("finished")} as finished,
    execution, generation, sequence as turns, coalesce(long_parent, parent) as parent, tags, custom_status
from perdure_head
""",
    f"""
create or replace view perdure_waits as
select
    head.app, coalesce(head.long_id, head.id) as instance, wait.number, wait.kind, wait.name, wait.on_whom, wait.line,
    {_time("wait.since")} as since, {_time("wait.due")} as due, wait.attempt, wait.state, wait.claimed_by
from perdure_wait as wait join perdure_head as head on head.shard = wait.shard and head.id = wait.instance
""",
    """
create or replace view perdure_events as
select
    head.app, coalesce(head.long_id, head.id) as instance, history.sequence, event.place - 1 as position, event.type,
    json_extract(history.events, concat('$[', event.place - 1, ']')) as event
from perdure_history as history
join perdure_head as head on head.shard = history.shard and head.id = history.instance
join json_table(
    history.events, '$[*]' columns (place for ordinality, type varchar(191) path '$.type' null on empty null on error)
) as event
""",
)

# Entries of the audit log and their head, which stands apart so that a tail that was cut off is missed; notices of the
# lifecycle feed, with 0 for those that are to be told, 1 for those that are, 2 for those that nobody would hear.
FORMAT_3 = (
    f"""
create table if not exists perdure_about (
    app {KEY} not null,
    owner {KEY} not null,
    about longtext not null,
    primary key (app, owner)
) {_TABLE}
""",
    f"""
create table if not exists perdure_audit (
    app {KEY} not null,
    number bigint not null,
    entry longtext not null,
    primary key (app, number)
) {_TABLE}
""",
    f"""
create table if not exists perdure_audit_head (
    app {KEY} not null primary key,
    number bigint not null,
    hash {KEY} not null
) {_TABLE}
""",
    f"""
create table if not exists perdure_notice (
    number bigint not null auto_increment primary key,
    shard int not null,
    instance longtext not null,
    event longtext not null,
    state int not null default 0,
    failure longtext,
    key perdure_notice_by_shard (shard, number),
    key perdure_notice_by_state (shard, state, number)
) {_TABLE}
""",
)

MIGRATIONS: tuple[tuple[int, tuple[str, ...]], ...] = ((2, FORMAT_2), (3, FORMAT_3))
"""The formats that there are, and the statements that lead to each from the one before; MySQL ends a transaction with
each of them, so that a migration may be left anywhere. A step that was released never changes."""
