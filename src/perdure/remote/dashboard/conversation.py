"""The page of an agent's run: the conversation, its tools, tokens and cost, and what waits for a decision."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.codec import decode
from perdure.errors import NotDecodable, NotSupportedByServer
from perdure.history.state import InstanceState
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.conversation import conversation_of
from perdure.remote.dashboard.views.rows import row_of, standing
from perdure.remote.dashboard.visit import Visit
from perdure.stores.contract import Query

SEGMENTS = 2_000
"""Turns of a history that the page reads; a longer one is cut, and the page says so."""
CHILDREN = 50
"""Sub-agents that the page lists."""
PENDING = "agent.pending"
"""The state under which an agent's run publishes the calls that wait for a decision."""


async def conversation(visit: Visit) -> Shown:
    state = await visit.gateway.state(visit.id, None)
    events, cursor = await visit.gateway.events(visit.id, 0, SEGMENTS)
    told = conversation_of(events)
    pending = [] if state.is_finished else await _pending(visit)
    now = visit.now
    return Shown(
        {
            "state": state,
            "standing": standing(state),
            "told": told,
            "pending": pending,
            "is_cut": cursor is not None,
            "children": await _children(visit, state, now),
            "took": moments.span((state.finished or now) - state.created),
        },
        version=f"{len(events)}-{state.status}-{len(pending)}",
    )


class Pending(msgspec.Struct, frozen=True):
    """A call that waits for somebody, as far as the page shows it. `run` hears the decision, as the `event`."""

    tool: str
    call_id: str = ""
    run: str = ""
    kind: str = "approval"
    arguments: Any = None
    until: str | None = None
    event: str = ""


async def _pending(visit: Visit) -> list[Pending]:
    """The calls that wait for somebody, as the run has published them."""
    try:
        published = await visit.gateway.published(visit.id, None, PENDING)
        return decode(published, list[Pending]) if published is not None else []
    except (NotDecodable, NotSupportedByServer):
        return []


async def _children(visit: Visit, state: InstanceState, now: int) -> list[Any]:
    found, _ = await visit.gateway.find(Query(parent=state.id), None, CHILDREN)
    return [row_of(child, now) for child in found]


CONVERSATION_PAGES = (
    Page(
        path="conversation",
        shows=conversation,
        template="conversation.html",
        fragment="_conversation.html",
        nav="instances",
    ),
)
