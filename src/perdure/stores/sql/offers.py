"""Calls that any node of the app may run: who claims which, and for how long."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from perdure.clock import SECOND
from perdure.stores.contract import CLAIMED, OpenCall, Touch
from perdure.stores.sql import reads, rows, statements
from perdure.stores.sql.connection import Connection, Row


def claim(
    connection: Connection, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
) -> list[OpenCall]:
    """Take the calls that have waited longest, of all the names together."""
    now = connection.now()
    until = now + round(seconds * SECOND)
    found = [
        call
        for name in names
        for call in reads.readable(_call_of, connection.rows(statements.SELECT_CLAIMABLE, (app, name, now, limit)), 1)
    ]
    found.sort(key=lambda call: (call.wait.since, call.shard, call.instance, call.wait.number))
    claimed = found[:limit]
    connection.change_many(
        statements.CLAIM_CALL,
        [(c.shard, c.instance, c.wait.number, c.wait.attempt, token, owner, until) for c in claimed],
    )
    return [_claimed(call, owner, token, until) for call in claimed]


def touch(connection: Connection, touches: Sequence[Touch], seconds: float) -> list[bool]:
    until = connection.now() + round(seconds * SECOND)
    rows_of = [_touch_row(touch, until, not seconds) for touch in touches]
    return [bool(connection.change(statements.TOUCH_CALL, row)) for row in rows_of]


def _touch_row(touch: Touch, until: int, is_let_go: bool) -> Row:
    details = rows.payload_text(touch.details)
    run = (touch.execution, touch.generation)
    return (touch.shard, touch.instance, touch.number, touch.token, until, details, *run, is_let_go)


def _call_of(row: Row) -> OpenCall:
    return rows.open_call_of(row[0], row[1:])


def _claimed(call: OpenCall, owner: str, token: str, until: int) -> OpenCall:
    wait = call.wait
    lapses = wait.lapses + (wait.state == CLAIMED)
    changes = {"state": CLAIMED, "token": token, "claimed_by": owner, "claimed_until": until, "lapses": lapses}
    return replace(call, wait=replace(wait, **changes))
