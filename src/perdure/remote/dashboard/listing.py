"""The list of instances: counted, filtered, paged, live."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from perdure.errors import NotSupportedByServer
from perdure.remote.dashboard.counted import Counted
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.activity import Chart, chart
from perdure.remote.dashboard.views.filters import SPANS, STANDING, STATUSES, filters_of
from perdure.remote.dashboard.views.rows import row_of
from perdure.remote.dashboard.visit import Visit
from perdure.stores.contract import Query

COUNT_SECONDS = 1.0
"""How long the list waits for its counts; it comes without them if they take longer, and a later look has them."""
ROWS = 50
"""Instances of one page."""
CHARTED = 500
"""Instances, the newest, of which the chart is made."""
STALLED_COUNTED = 100
"""Stalled instances that are counted; of more it is told that there are more."""


class Overview(msgspec.Struct, frozen=True):
    """Counts by status (and of those stalled), and starts over time. Counts None: the server does not count."""

    counts: Mapping[str, int] | None
    stalled: str
    chart: Chart


async def instances(visit: Visit) -> Shown:
    filters = filters_of(visit.query)
    now = visit.now
    found, cursor = await visit.gateway.find(filters.query(now), filters.cursor or None, ROWS)
    return Shown(
        {
            "filters": filters,
            "rows": [row_of(state, now) for state in found],
            "cursor": cursor or "",
            "spans": SPANS,
            "states": (*STATUSES, *STANDING),
            "overview": await _overview(visit),
            "done": "The instance is deleted." if visit.query.get("done") == "purge" else "",
        }
    )


async def _overview(visit: Visit) -> Overview | None:
    assert visit.target is not None, "only of a page about a target"
    kept: Counted[Overview] = visit.counted
    return await kept.get((visit.target.name, visit.app), lambda: _counted(visit), COUNT_SECONDS)


async def _counted(visit: Visit) -> Overview:
    gateway = visit.gateway
    newest, older = await gateway.find(Query(), None, CHARTED)
    stalled, more = await gateway.find(Query(stalled=True), None, STALLED_COUNTED)
    try:
        counts: Mapping[str, int] | None = await gateway.counts()
    except NotSupportedByServer:
        counts = None
    told = f"{len(stalled)}+" if more else str(len(stalled))
    return Overview(counts, told, chart(newest, visit.now, is_all=older is None))


LISTING_PAGES = (
    Page(path="instances", shows=instances, template="instances.html", fragment="_instances.html", nav="instances"),
)
