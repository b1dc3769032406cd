"""Why instances are not finished, in groups of the same cause, what is wrong first."""

from __future__ import annotations

from perdure.errors import InvalidArgument
from perdure.history.state import Survey
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.grounds import ground_of
from perdure.remote.dashboard.visit import Visit
from perdure.stores.contract import Query

ASK_SECONDS = 8.0
"""How long a page waits for what it has to gather; less than a target may take for one page."""
LOOKED_AT = 200
"""Unfinished instances that are looked at: the newest."""


async def causes(visit: Visit) -> Shown:
    assert visit.target is not None, "only of a page about a target"
    key = (f"causes of {visit.target.name}", visit.app)
    survey: Survey | None = await visit.counted.get(key, lambda: _survey(visit), ASK_SECONDS)
    if survey is None:
        raise InvalidArgument("to look at them all takes longer than a page may; `perdure explain --all` does it")
    words = visit.target.words
    app = visit.app if len(visit.apps) > 1 else None
    grounds = [ground_of(group, visit.now, words, app) for group in survey.groups]
    return Shown({"grounds": grounds, "looked": survey.looked, "is_all": survey.cursor is None})


async def _survey(visit: Visit) -> Survey:
    return await visit.gateway.explain_all(Query(), None, LOOKED_AT)


CAUSE_PAGES = (Page(path="causes", shows=causes, template="causes.html", fragment="_causes.html", nav="causes"),)
