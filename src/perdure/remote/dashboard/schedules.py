"""Schedules: when each ticks, how its runs went, and what can be done to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from perdure.remote.dashboard.asking import Asking, Field, reason
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.timetable import schedule_of
from perdure.remote.dashboard.visit import Visit
from perdure.sdk.role import Role
from perdure.sdk.schedules import Schedule

SCHEDULES_MAX = 200
"""Schedules that the page lists, newest first."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action on a schedule."""

    name: str
    verb: str
    warns: str
    role: Role
    does: Callable[[Visit, Schedule], Awaitable[str | None]]
    fields: tuple[Field, ...] = ()
    is_grave: bool = False


async def _pause(visit: Visit, schedule: Schedule) -> None:
    await schedule.pause(visit.form.get("reason", ""))


async def _resume(visit: Visit, schedule: Schedule) -> None:
    await schedule.resume()


async def _trigger(visit: Visit, schedule: Schedule) -> str:
    handle = await schedule.trigger()
    return visit.link("instance", id=handle.id)


async def _delete(visit: Visit, schedule: Schedule) -> None:
    await schedule.delete()


ACTIONS = {
    action.name: action
    for action in (
        Action(
            name="trigger",
            verb="Trigger",
            warns="A run starts now, paused or not.",
            role=Role.OPERATE,
            does=_trigger,
        ),
        Action(
            name="pause",
            verb="Pause",
            warns="No run starts by the clock until somebody resumes it; runs go on.",
            role=Role.OPERATE,
            does=_pause,
            fields=(reason(),),
        ),
        Action(
            name="resume",
            verb="Resume",
            warns="It ticks again from now on. What fell into the pause is not caught up.",
            role=Role.OPERATE,
            does=_resume,
        ),
        Action(
            name="delete",
            verb="Delete",
            warns="The schedule ends. Its runs stay, and those that are not finished go on.",
            role=Role.ADMIN,
            does=_delete,
            is_grave=True,
        ),
    )
}


async def schedules(visit: Visit) -> Shown:
    now = visit.now
    rows = []
    async for state in visit.client.schedules():
        rows.append(schedule_of(state, now))
        if len(rows) == SCHEDULES_MAX:
            break
    actions = [action for action in ACTIONS.values() if visit.may(action.role)]
    return Shown({"rows": rows, "actions": actions, "is_cut": len(rows) == SCHEDULES_MAX})


async def ask(visit: Visit) -> Shown:
    action = visit.action(ACTIONS)
    state = await visit.client.get_schedule(visit.id).describe()
    told = f"{action.warns} Next tick: {schedule_of(state, visit.now).next}." if state.next else action.warns
    asking = Asking(
        verb=action.verb,
        warns=told,
        about=state.id,
        back=visit.link("schedules"),
        action=visit.link(f"schedule/{action.name}", id=state.id),
        fields=action.fields,
        is_grave=action.is_grave,
    )
    return Shown({"asking": asking})


async def act(visit: Visit) -> Response:
    action = visit.action(ACTIONS)
    went = await action.does(visit, visit.client.get_schedule(visit.id))
    return RedirectResponse(went or visit.link("schedules"), 303)


SCHEDULE_PAGES = (
    Page(path="schedules", shows=schedules, template="schedules.html", fragment="_schedules.html", nav="schedules"),
    Page(path="schedule/{action}", shows=ask, does=act, template="confirm.html", nav="schedules"),
)
