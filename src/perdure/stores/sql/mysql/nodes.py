"""What the nodes of a cluster agree on by the server's clock: leases, members and claimed calls, in few round trips."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from perdure.clock import SECOND
from perdure.stores.contract import CLAIMED, Beat, Lease, Member, OpenCall, Touch
from perdure.stores.sql import rows
from perdure.stores.sql.connection import Row
from perdure.stores.sql.mysql.connection import MysqlConnection, repeated
from perdure.stores.sql.mysql.words import CALL, CLOCK, HEAD, WAIT_OF_HEAD, Template, key, literal
from perdure.stores.sql.reads import readable
from perdure.stores.sql.statements import FINISHED

CANDIDATES_PER_CALL = 4
"""How many calls a node looks at for each one that it wants, because others may want the same ones."""

_FREE = Template(
    f"""
select id, epoch, life from perdure_shard
where app = ?1 and (owner is null or until <= {CLOCK}) and reserved is null
order by number limit ?2 for update skip locked
"""
)
_TAKE = Template(f"update perdure_shard set epoch = epoch + 1, owner = ?1, until = {CLOCK} + ?2 where id in ")
_RENEW = Template(f"update perdure_shard force index (primary) set until = {CLOCK} + ?1 where ")
_LIVES = Template(
    f"""
insert into perdure_member (app, owner, has_code, slots, busy, until) values (?1, ?2, ?3, ?4, ?5, {CLOCK} + ?6)
on duplicate key update has_code = values(has_code), slots = values(slots), busy = values(busy), until = values(until)
"""
)
_FORGET = Template(f"delete from perdure_member where app = ?1 and until <= {CLOCK}")
_MEMBERS = Template("select owner, has_code, slots, busy, until from perdure_member where app = ?1 order by owner")
_CLAIMABLE = f"""
wait.kind = 'activity' and case wait.state
    when 'claimed' then wait.claimed_until <= {CLOCK}
    when 'offered' then wait.due is null or wait.due <= {CLOCK}
    else false
end
"""
_CANDIDATES = f"""
select wait.shard, wait.instance, {CALL}
from perdure_wait as wait force index (perdure_wait_state)
    straight_join perdure_shard as shard on shard.id = wait.shard
    straight_join {HEAD} {WAIT_OF_HEAD}
where shard.app = {{app}} and shard.reserved is null
    and wait.state in ('offered', 'claimed') and wait.name in ({{names}})
    and head.status not in {FINISHED} and head.suspended is null and {_CLAIMABLE}
order by wait.since, wait.shard, wait.instance, wait.number limit {{limit}}
"""
_STILL = f"""
select wait.shard, wait.instance, wait.number, wait.attempt, {CLOCK}
from perdure_wait as wait force index (primary)
where (wait.shard, wait.instance, wait.number) in ({{places}}) and {_CLAIMABLE} for update skip locked
"""
_CLAIM = """
update perdure_wait as wait force index (primary)
set lapses = case state when 'claimed' then coalesce(lapses, 0) + 1 else lapses end,
    state = 'claimed', token = {token}, claimed_by = {owner}, claimed_until = {until}
where (wait.shard, wait.instance, wait.number) in ({places})
"""
_TOUCH = Template(
    f"""
update perdure_wait set claimed_until = {CLOCK} + ?5, details = coalesce(?6, details),
    state = if(?9, 'offered', state)
where shard = ?1 and instance = ?2k and number = ?3 and state = 'claimed' and token = ?4
    and exists (
        select 1 from perdure_head
        where shard = ?1 and id = ?2k and execution = ?7 and generation = ?8 and status not in {FINISHED}
    )
"""
)


def take(
    connection: MysqlConnection, app: str, owner: str, limit: int, seconds: float
) -> list[tuple[int, int, int | None]]:
    """Lease free shards, in the transaction that is open: id, new epoch, and the life of the owner that died."""
    free = connection.plain(_FREE.fill((app, limit)))
    if free:
        ids = ", ".join(str(id) for id, *_ in free)
        connection.plain(f"{_TAKE.fill((owner, _lasting(seconds)))}({ids})")
    return [(id, epoch + 1, life) for id, epoch, life in free]


def beat(
    connection: MysqlConnection, app: str, member: Member, leases: Sequence[Lease], seconds: float
) -> tuple[Beat, dict[int, int]]:
    """Live, and renew what still holds: one round trip."""
    lasting = _lasting(seconds)
    texts = [
        _LIVES.fill((app, member.owner, member.has_code, member.slots, member.busy, lasting)),
        _FORGET.fill((app,)),
        _MEMBERS.fill((app,)),
    ]
    if leases:
        held = ", ".join(f"({lease.shard}, {lease.epoch}, {literal(lease.owner)})" for lease in leases)
        ids = ", ".join(str(lease.shard) for lease in leases)
        # first, so that a node that waits for another's commit does not yet hold a lock on its members
        texts.insert(0, f"{_RENEW.fill((lasting,))}id in ({ids}) and (id, epoch, owner) in ({held})")
        texts.append(f"select id, epoch, owner, until from perdure_shard where id in ({ids})")
    answers = connection.transact(texts)
    found: list[Row] = list(answers[-1][1]) if leases else []
    members = answers[3 if leases else 2][1]
    known = {id: (epoch, holder, until) for id, epoch, holder, until in found}
    still = [
        replace(lease, until=known[lease.shard][2])
        for lease in leases
        if known[lease.shard][:2] == (lease.epoch, lease.owner)
    ]
    return Beat(still, [member_of(row) for row in members]), {id: epoch for id, (epoch, *_) in known.items()}


def claim(
    connection: MysqlConnection, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
) -> list[OpenCall]:
    """One round trip if there is nothing to claim, else three."""
    if not names or limit < 1:
        return []
    sql = _CANDIDATES.format(
        app=literal(app), names=", ".join(literal(name) for name in names), limit=limit * CANDIDATES_PER_CALL
    )
    candidates = {(row[0], row[1], row[5], row[12]): row for row in connection.plain(sql)}
    if not candidates:
        return []
    return repeated(_claim, connection, candidates, owner, token, limit, seconds)


def _claim(
    connection: MysqlConnection,
    candidates: dict[Row, Row],
    owner: str,
    token: str,
    limit: int,
    seconds: float,
) -> list[OpenCall]:
    connection.begin(write=True)
    try:
        found = connection.plain(_STILL.format(places=_places(candidates)))
        claimable = {row[:4] for row in found}
        mine = [place for place in candidates if place in claimable][:limit]
        until = int(found[0][4]) + _lasting(seconds) if mine else 0
        if mine:
            values = {"token": literal(token), "owner": literal(owner), "until": until}
            connection.plain(_CLAIM.format(places=_places(mine), **values))
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    calls = readable(_call_of, [candidates[place] for place in mine], 2)
    return [_claimed(call, owner, token, until) for call in calls]


def touch(connection: MysqlConnection, touches: Sequence[Touch], seconds: float) -> list[bool]:
    """One round trip."""
    if not touches:
        return []
    return [bool(count) for count, _ in connection.transact([_touching(touch, seconds) for touch in touches])]


def member_of(row: Row) -> Member:
    owner, has_code, slots, busy, until = row
    return Member(owner, bool(has_code), slots, busy, until)


def _touching(touch: Touch, seconds: float) -> str:
    details = rows.payload_text(touch.details)
    run = (touch.execution, touch.generation)
    return _TOUCH.fill(
        (touch.shard, touch.instance, touch.number, touch.token, _lasting(seconds), details, *run, not seconds)
    )


def _places(keys: Sequence[Row] | dict[Row, Row]) -> str:
    return ", ".join(f"({shard}, {literal(key(instance))}, {number})" for shard, instance, number, *_ in keys)


def _call_of(row: Row) -> OpenCall:
    return rows.open_call_of(row[0], row[2:])


def _claimed(call: OpenCall, owner: str, token: str, until: int) -> OpenCall:
    lapses = call.wait.lapses + (call.wait.state == CLAIMED)
    changes = {"state": CLAIMED, "token": token, "claimed_by": owner, "claimed_until": until, "lapses": lapses}
    return replace(call, wait=replace(call.wait, **changes))


def _lasting(seconds: float) -> int:
    return round(seconds * SECOND)
