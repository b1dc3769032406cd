"""How a class becomes the actors of an app."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perdure.blocks.actors.actor import check_class, register
from perdure.blocks.actors.definition import IDLE_SECONDS, ActorType, checked_actor_name
from perdure.sdk.home import Home
from perdure.sdk.options import checked_seconds


def registered(cls: Any, home: Home, name: str | None, idle: float | timedelta | None) -> ActorType:
    """The type of actors that a class is from now on. Raises InvalidArgument for a class that cannot be one."""
    check_class(cls)
    kind = ActorType(
        cls,
        checked_actor_name(name if name is not None else cls.__name__),
        home,
        idle=checked_seconds("idle", idle) if idle is not None else IDLE_SECONDS,
    )
    register(cls, kind)
    return kind
