"""The rows of an app, counted for people."""

from __future__ import annotations

from collections import Counter

from perdure.stores.contract import ENTITY, Census, ShardState
from perdure.stores.sql import statements
from perdure.stores.sql.connection import Connection


def census(connection: Connection, app: str) -> Census:
    workflows: Counter[str] = Counter()
    entities = 0
    for kind, status, count in connection.rows(statements.COUNT_INSTANCES, (app,)):
        if kind == ENTITY:
            entities += count
        else:
            workflows[status] += count
    calls = {str(state): int(count) for state, count in connection.rows(statements.COUNT_OPEN_CALLS, (app,))}
    ((mail,),) = connection.rows(statements.COUNT_MAIL, (app,))
    ((segments,),) = connection.rows(statements.COUNT_SEGMENTS, (app,))
    return Census(dict(workflows), entities, calls, mail, segments)


def counts(connection: Connection, app: str) -> dict[str, int]:
    return {str(status): int(count) for status, count in connection.rows(statements.COUNT_STATUSES, (app,))}


def shard_states(connection: Connection, app: str) -> list[ShardState]:
    return [ShardState(*row) for row in connection.rows(statements.SELECT_SHARD_STATES, (app,))]
