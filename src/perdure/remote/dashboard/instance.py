"""The page of one instance: why it is not finished, what it did and does, its values, its family."""

from __future__ import annotations

from typing import Any

from perdure.clock import to_microseconds
from perdure.errors import NotSupportedByServer, PerdureError
from perdure.history.state import Explanation, InstanceState
from perdure.history.transcript import is_of_agent
from perdure.history.waiting import WaitState
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.steering import RETRY, Action, actions_for
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.calls import calls_of, with_waits
from perdure.remote.dashboard.views.graph import graph
from perdure.remote.dashboard.views.grounds import about
from perdure.remote.dashboard.views.record import causes_of, entries_of, failure_text
from perdure.remote.dashboard.views.rows import row_of, standing
from perdure.remote.dashboard.views.timeline import timeline
from perdure.remote.dashboard.views.values import Shown as Value
from perdure.remote.dashboard.views.values import cut, shown
from perdure.remote.dashboard.views.waiting import waiting_of
from perdure.remote.dashboard.visit import Visit
from perdure.sdk.role import Role
from perdure.stores.contract import Query

SEGMENTS = 400
"""Turns of a history that one page shows."""
WAITS = 100
"""Waits that the page lists, the oldest first."""
CHILDREN = 50
"""Children that the page lists; the list of instances has all."""
DONE = {
    "raise": "The event is in the mailbox.",
    "cancel": "Cancellation is asked for; the workflow's own clean-up runs first.",
    "suspend": "The instance is asked to hold.",
    "resume": "The instance is asked to go on.",
    "retry": "It is tried again now.",
    "terminate": "Termination is asked for.",
    "rerun": "This is the new instance.",
}
"""What a page says after an action, by its name."""


async def instance(visit: Visit) -> Shown:
    state = await visit.gateway.state(visit.id, None)
    after = _count(visit.query.get("after", ""))
    before = _count(visit.query.get("before", ""))
    events, cursor = await visit.gateway.events(visit.id, after, SEGMENTS)
    told = None if state.is_finished else await _explained(visit)
    now = visit.now
    waits = await _waits(visit, state)
    calls = calls_of(events)
    return Shown(
        {
            "state": state,
            "standing": standing(state),
            "is_of_agent": is_of_agent(events),
            "told": told,
            "told_since": to_microseconds(told.since) if told is not None and told.since is not None else None,
            "timeline": timeline(with_waits(calls, waits), state.created, state.finished or now),
            "graph": graph(calls, state.status if state.is_finished and cursor is None else None),
            "waits": [waiting_of(wait, now) for wait in waits],
            "awaited": next((wait.name for wait in waits if wait.kind == "event"), ""),
            "entries": list(entries_of(events, 1 + before, state.created)),
            "after": after,
            "before": before,
            "cursor": cursor,
            "values": list(_values(state)),
            "took": moments.span((state.finished or now) - state.created),
            "now": now,
            "children": await _children(visit, now),
            "why_failed": causes_of(state.failure) if state.failure is not None else [],
            "actions": _actions(visit, state, waits),
            "reruns": state.is_finished and visit.may(Role.OPERATE),
            "done": DONE.get(visit.query.get("done", ""), ""),
            "meaning": about(told.cause) if told is not None else ("", "", ""),
            "command": _command(visit, told),
        },
        version=f"{len(events)}-{events[-1].at if events else 0}-{state.status}" if state.is_finished else "",
    )


async def _explained(visit: Visit) -> Explanation | None:
    try:
        return await visit.gateway.explain(visit.id)
    except PerdureError as error:
        # because an instance that cannot be explained, by a server that is no Perdure, can still be looked at
        return Explanation(instance=visit.id, cause="", sentence=str(error.args[0]) if error.args else "")


async def _waits(visit: Visit, state: InstanceState) -> list[WaitState]:
    if state.is_finished:
        return []
    try:
        return (await visit.gateway.waits(visit.id))[:WAITS]
    except NotSupportedByServer:
        return []


def _actions(visit: Visit, state: InstanceState, waits: list[WaitState]) -> list[Action]:
    is_retried = any(wait.failure is not None and wait.due is not None for wait in waits)
    return [action for action in actions_for(visit, state) if action.name != RETRY or is_retried]


async def _children(visit: Visit, now: int) -> list[Any]:
    found, _ = await visit.gateway.find(Query(parent=visit.id), None, CHILDREN)
    return [row_of(child, now) for child in found]


def _values(state: InstanceState) -> Any:
    """What there is to read, by name."""
    if state.failure is not None:
        yield "Failure", Value(*cut(failure_text(state.failure)), encoding="text")
    for name, payload in (("Output", state.output), ("Custom status", state.custom_status), ("Input", state.input)):
        value = shown(payload)
        if value is not None:
            yield name, value


def _command(visit: Visit, told: Explanation | None) -> str:
    words = visit.target.words if visit.target is not None else ""
    return told.command_on(words, visit.app if len(visit.apps) > 1 else None) or "" if told is not None else ""


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 12 else 0


INSTANCE_PAGES = (
    Page(path="instance", shows=instance, template="instance.html", fragment="_instance.html", nav="instances"),
)
