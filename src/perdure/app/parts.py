"""Parts: what there is to include in an app, in another app, an agent, a module or a class of actors."""

from __future__ import annotations

import inspect
import types
from typing import Any

from perdure.app.app import App
from perdure.errors import InvalidArgument
from perdure.sdk.activity import Activity
from perdure.sdk.workflow import Workflow

_ACTOR = "perdure.blocks.actors.actor"


def parts_of(other: Any) -> list[Any]:
    """The apps, definitions and classes of actors that it is, or holds. Raises InvalidArgument if it can have none."""
    if isinstance(other, App):
        return [other]
    if isinstance(other, types.ModuleType):
        members = list(vars(other).values())
        apps = [member for member in members if isinstance(member, App)]
        return apps or [part for member in members for part in _definitions_in(member)]
    if parts := _definitions_in(other):
        return parts
    raise InvalidArgument(
        f"include takes an App, an agent, a module or a class of actors, not {type(other).__name__}"
        + (" class" if inspect.isclass(other) else "")
    )


def _definitions_in(member: Any) -> list[Any]:
    """What something other than an app or a module has registered, or is."""
    if isinstance(member, (Activity, Workflow)) or _is_actor(member):
        return [member]
    is_of_agents = not isinstance(member, (type, types.ModuleType)) and isinstance(getattr(member, "app", None), App)
    return [member.app] if is_of_agents else []


def _is_actor(other: Any) -> bool:
    """Whether it is a class of actors; asked by name, because most apps have none."""
    return isinstance(other, type) and any(base.__module__ == _ACTOR for base in other.__mro__[1:])
