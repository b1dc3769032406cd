"""What can be done to an instance: each action with what it asks, who may do it, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from perdure.codec import ARGUMENTS, Payload, is_packed
from perdure.errors import InvalidArgument
from perdure.history.events import ActivityScheduled, ChildCreated, TimerCreated
from perdure.history.state import InstanceState
from perdure.remote.dashboard.asking import Asking, Field, reason
from perdure.remote.dashboard.forms import json_of
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.visit import Visit
from perdure.sdk.handle import Handle
from perdure.sdk.role import Role
from perdure.stores.contract import Status

RERUN_POINTS_MAX = 500
"""Actions of a history from which the form offers a rerun."""
SEGMENTS = 1_000
Fields = Sequence[Field]
RETRY = "retry"
"""The action that is offered only where something waits for its next attempt."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action. `fields` gives what its form asks; `warns` is said before it is done."""

    name: str
    verb: str
    warns: str
    fields: Callable[[Visit, InstanceState], Awaitable[Fields]]
    role: Role
    does: Callable[[Visit, Handle[object]], Awaitable[str | None]]
    """Gives the address to go to, None for the instance again."""
    fits: Callable[[InstanceState], bool]
    is_grave: bool = False


# -- what forms ask -------------------------------------------------------------------------------------------------


async def _asks_event(visit: Visit, state: InstanceState) -> Fields:
    name, data = (visit.query.get(field, "")[:1_000] for field in ("name", "data"))
    return (
        Field(name="name", label="Name of the event", value=name, is_required=True),
        Field(
            name="data", label="Data, as JSON", kind="json", hint='nothing is null; text has quotes: "yes"', value=data
        ),
    )


async def _asks_reason(visit: Visit, state: InstanceState) -> Fields:
    return (reason(),)


async def _asks_output(visit: Visit, state: InstanceState) -> Fields:
    return Field(name="output", label="Output, as JSON", kind="json", hint="optional"), _recursive()


async def _asks_children(visit: Visit, state: InstanceState) -> Fields:
    return (_recursive(),)


async def _asks_rerun(visit: Visit, state: InstanceState) -> Fields:
    events, _ = await visit.gateway.events(state.id, 0, SEGMENTS)
    points = [
        (str(event.number), f"#{event.number} {_point(event)}")
        for event in events
        if isinstance(event, (ActivityScheduled, ChildCreated, TimerCreated))
    ]
    if state.status == Status.FAILED:
        points.insert(0, ("", "where it failed"))
    if not points:
        raise InvalidArgument(f"the history of {state.id!r} has no activity, timer or child to rerun from")
    asked = visit.query.get("from", "")
    return (
        Field(
            name="from",
            label="From",
            kind="choice",
            hint="what came before is kept, this and what follows is done again",
            options=points[:RERUN_POINTS_MAX],
            value=asked,
        ),
        Field(name="id", label="Id of the new instance", hint="optional"),
        Field(name="input", label="Input", kind="json", hint=_how(state.input), value=_editable(state.input)),
    )


def _recursive() -> Field:
    return Field(name="recursive", label="its children too", kind="check", value="on")


def _point(event: Any) -> str:
    return f"timer {event.name or ''}".strip() if isinstance(event, TimerCreated) else str(event.name)


def _how(input: Payload | None) -> str:
    if input is not None and input.encoding == ARGUMENTS:
        return "[[arguments in order], {arguments by name}]; edit it to begin with another one"
    return "as JSON; edit it to begin with another one"


def _editable(input: Payload | None) -> str:
    if input is None or is_packed(input):
        return ""
    try:
        return msgspec.json.format(bytes(input.data), indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


# -- what they do ---------------------------------------------------------------------------------------------------


async def _raise(visit: Visit, handle: Handle[object]) -> None:
    name = visit.form.get("name", "").strip()
    if not name:
        raise InvalidArgument("the event has no name; give the one that the workflow waits for")
    await handle.raise_event(name, json_of(visit.form.get("data", ""), "the data"))


async def _cancel(visit: Visit, handle: Handle[object]) -> None:
    await handle.cancel(visit.form.get("reason", ""))


async def _suspend(visit: Visit, handle: Handle[object]) -> None:
    await handle.suspend(visit.form.get("reason", ""))


async def _resume(visit: Visit, handle: Handle[object]) -> None:
    await handle.resume(visit.form.get("reason", ""))


async def _retry(visit: Visit, handle: Handle[object]) -> None:
    await handle.resume(visit.form.get("reason", ""), now=True)


async def _terminate(visit: Visit, handle: Handle[object]) -> None:
    output = json_of(visit.form.get("output", ""), "the output")
    await handle.terminate(output, recursive="recursive" in visit.form)


async def _purge(visit: Visit, handle: Handle[object]) -> str:
    await handle.purge(recursive="recursive" in visit.form)
    return visit.link("instances", done="purge")


async def _rerun(visit: Visit, handle: Handle[object]) -> str:
    number = visit.form.get("from", "")
    if number and not (number.isdecimal() and len(number) < 10):
        raise InvalidArgument("the form names no action to rerun from")
    old = (await visit.gateway.state(handle.id, None)).input
    given = visit.form.get("input", "").strip()
    is_edited = bool(given) and given.split() != _editable(old).split()
    input = _input(visit, json_of(given, "the input"), old) if is_edited else None
    id = visit.form.get("id", "").strip() or None
    new, _ = await visit.gateway.rerun(handle.id, int(number) if number else None, id, input, input is not None)
    return visit.link("instance", id=new, done="rerun")


def _input(visit: Visit, value: Any, old: Payload | None) -> Payload:
    """The edited input, as many arguments as the old one had."""
    if old is None or old.encoding != ARGUMENTS:
        return visit.client.writer.encode_arguments((value,), {})
    match value:
        case [list(positional), dict(named)]:
            return visit.client.writer.encode_arguments(tuple(positional), named)
        case _:
            raise InvalidArgument("the input takes several arguments: [[arguments in order], {arguments by name}]")


ACTIONS = {
    action.name: action
    for action in (
        Action(
            name="raise",
            verb="Raise event",
            warns="The workflow takes the event when it waits for one of this name; until then it is kept.",
            fields=_asks_event,
            role=Role.OPERATE,
            does=_raise,
            fits=lambda state: not state.is_finished,
        ),
        Action(
            name="suspend",
            verb="Suspend",
            warns="The code is held until somebody resumes it. What happens meanwhile is kept.",
            fields=_asks_reason,
            role=Role.OPERATE,
            does=_suspend,
            fits=lambda state: not state.is_finished and state.suspended is None,
        ),
        Action(
            name="resume",
            verb="Resume",
            warns="The code goes on; a stalled instance is tried again.",
            fields=_asks_reason,
            role=Role.OPERATE,
            does=_resume,
            fits=lambda state: not state.is_finished and (state.suspended is not None or state.stalled is not None),
        ),
        Action(
            name=RETRY,
            verb="Retry now",
            warns="What waits for its next attempt is tried at once.",
            fields=_asks_reason,
            role=Role.OPERATE,
            does=_retry,
            fits=lambda state: not state.is_finished and state.suspended is None and state.stalled is None,
        ),
        Action(
            name="cancel",
            verb="Cancel",
            warns="The workflow hears of it as CancelledError, so that its own clean-up runs.",
            fields=_asks_reason,
            role=Role.OPERATE,
            does=_cancel,
            fits=lambda state: not state.is_finished,
        ),
        Action(
            name="rerun",
            verb="Rerun",
            warns="A new instance begins with this one's history up to a point, and does the rest again.",
            fields=_asks_rerun,
            role=Role.OPERATE,
            does=_rerun,
            fits=lambda state: state.is_finished,
        ),
        Action(
            name="terminate",
            verb="Terminate",
            warns="It ends at once. No code of it runs any more, and nothing is cleaned up.",
            fields=_asks_output,
            role=Role.ADMIN,
            does=_terminate,
            fits=lambda state: not state.is_finished,
            is_grave=True,
        ),
        Action(
            name="purge",
            verb="Purge",
            warns="The instance and its history are deleted. That cannot be taken back.",
            fields=_asks_children,
            role=Role.ADMIN,
            does=_purge,
            fits=lambda state: state.is_finished,
            is_grave=True,
        ),
    )
}
"""By name, as they stand in addresses."""


def actions_for(visit: Visit, state: InstanceState) -> list[Action]:
    """Those that fit an instance, and that this visitor may do."""
    return [action for action in ACTIONS.values() if action.fits(state) and visit.may(action.role)]


async def ask(visit: Visit) -> Shown:
    """The page that asks whether it is meant."""
    action = visit.action(ACTIONS)
    state = await visit.gateway.state(visit.id, None)
    if not action.fits(state):
        raise InvalidArgument(f"{visit.id!r} is {state.status}, so that there is nothing to {action.name}")
    asking = Asking(
        verb=action.verb,
        warns=action.warns,
        about=state.id,
        back=visit.link("instance", id=state.id),
        action=visit.link(f"instance/{action.name}", id=state.id),
        fields=await action.fields(visit, state),
        is_grave=action.is_grave,
    )
    return Shown({"asking": asking})


async def act(visit: Visit) -> Response:
    """Do it, and go on to where its effect is seen."""
    action = visit.action(ACTIONS)
    went = await action.does(visit, visit.client.get(visit.id))
    return RedirectResponse(went or visit.link("instance", id=visit.id, done=action.name), 303)


STEERING_PAGES = (Page(path="instance/{action}", shows=ask, does=act, template="confirm.html", nav="instances"),)
