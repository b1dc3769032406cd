"""The audit log: who did what to which instance, newest first."""

from __future__ import annotations

from perdure.errors import NotSupportedByServer
from perdure.history.audit_log import Anchor, LogPage
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.ledger import deeds_of, is_chained
from perdure.remote.dashboard.visit import Visit

ENTRIES = 200
"""Entries of one page."""
NUMBER_CHARACTERS_MAX = 12


async def audit(visit: Visit) -> Shown:
    try:
        end = (await visit.gateway.audited(0, 1)).anchor.number
    except NotSupportedByServer:
        end = 0
    asked = visit.query.get("before", "")
    before = int(asked) if asked.isdecimal() and len(asked) <= NUMBER_CHARACTERS_MAX else end + 1
    last = min(before - 1, end)
    after = max(last - ENTRIES, 0)
    page = await visit.gateway.audited(after, last - after) if last > after else LogPage([], Anchor())
    instance = visit.query.get("instance", "")[:1_000]
    deeds = [deed for deed in deeds_of(page.entries, visit.now) if not instance or deed.instance == instance]
    return Shown(
        {"deeds": deeds, "older": after + 1 if after else 0, "unbroken": is_chained(page.entries), "instance": instance}
        | {"end": end, "is_end": last == end}
    )


AUDIT_PAGES = (Page(path="audit", shows=audit, template="audit.html", nav="audit"),)
