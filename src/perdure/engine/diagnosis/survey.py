"""All unfinished instances by cause: each is looked at by itself, and who waits for another is told as such."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from perdure.engine.diagnosis.findings import find
from perdure.engine.diagnosis.reading import Reader
from perdure.engine.diagnosis.sentences import Step, explanation
from perdure.engine.node import Node
from perdure.history.state import CauseGroup, Explanation, Survey
from perdure.stores.contract import FINISHED, UNFINISHED, Lease, Mail, Query

SURVEY_INSTANCES_MAX = 10_000
"""Instances that one survey looks at; a cursor goes on."""
SURVEY_PAGE = 500
"""Those that are read together."""
SURVEY_MAIL_MAX = 20_000
"""Messages of the app that a survey reads; instances whose mail lies beyond are told by their waits alone."""


async def survey(node: Node, query: Query, cursor: str | None, limit: int) -> Survey:
    """The causes of those that the query selects and that are not finished, the newest `limit` from the cursor on."""
    status = tuple(status for status in query.status or UNFINISHED if status not in FINISHED)
    wanted = msgspec.structs.replace(query, app=node.app, status=status)
    limit = max(1, min(limit, SURVEY_INSTANCES_MAX))
    reader, mail = Reader(node), await _mail(node)
    told: list[Explanation] = []
    while status and len(told) < limit:
        page = await node.store.find(wanted, cursor, min(SURVEY_PAGE, limit - len(told)))
        sights = await reader.sights(page.heads, mail)
        told += [explanation([Step(sight, find(sight))], node.app) for sight in sights]
        cursor = page.cursor
        if cursor is None:
            break
    return Survey(groups=grouped(told), looked=len(told), cursor=cursor)


async def _mail(node: Node) -> dict[str, list[Mail]]:
    """What lies in the mailboxes of the app, by instance."""
    store, found, read = node.store, defaultdict(list), 0
    shards = await store.shards(node.app)
    leases = [Lease(shard, node.app, number, "", 0) for number, shard in enumerate(shards)]
    page = await store.mail(leases)
    while page and read < SURVEY_MAIL_MAX:
        for _, mail, _ in page:
            found[mail.instance].append(mail)
        read += len(page)
        page = await store.mail(leases, after=(page[-1][0], page[-1][1].instance))
    return found


def grouped(told: Sequence[Explanation]) -> list[CauseGroup]:
    """Explanations by cause, what is wrong first, then by count."""
    by_cause: dict[str, list[Explanation]] = defaultdict(list)
    for one in told:
        by_cause[one.cause].append(one)
    groups = [_group(cause, ones) for cause, ones in by_cause.items()]
    return sorted(groups, key=lambda group: (group.is_normal, -group.count, group.cause))


def _group(cause: str, ones: Sequence[Explanation]) -> CauseGroup:
    dated = [(one.since, one) for one in ones if one.since is not None]
    oldest, example = min(dated, key=lambda each: each[0]) if dated else (None, ones[0])
    return CauseGroup(cause=cause, count=len(ones), example=example, oldest=oldest, is_normal=example.is_normal)
