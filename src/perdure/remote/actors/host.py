"""What a program that hosts actors is asked, whichever way it is reached, and what it says of the actors it hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from perdure.errors import InvalidArgument
from perdure.history.entities import KEY_CHARS_MAX
from perdure.remote.actors.times import seconds_of

PREFIX = "dapr:"
"""Begins the names of entities that are such actors, so that no other entity is taken for one."""
IDLE_SECONDS = 3_600.0
"""How long an actor may have nothing to do before its host is told to put it away, unless the host says otherwise."""
DEPTH_MAX = 32
"""How many methods of one actor may be under way within each other, unless the host says otherwise."""
TYPES_MAX = 1_000
TYPE_CHARACTERS_MAX = 200


class HostGone(Exception):
    """The program that hosts the actor gave no answer. `was_asked` False: it was gone before it was asked."""

    def __init__(self, message: str, *, was_asked: bool = True) -> None:
        super().__init__(message)
        self.was_asked = was_asked


class Hosting(msgspec.Struct, frozen=True):
    """How actors of a type are to be treated. `depth` None: no method may come back to an actor that waits for it."""

    idle_seconds: float = IDLE_SECONDS
    depth: int | None = None


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor is to do: `kind` is method, remind, timer or deactivate. `token` names it among those under way.

    `data` are the bytes of a method's argument; of a reminder or timer they are JSON.
    """

    kind: str
    type: str
    id: str
    name: str = ""
    data: bytes = b""
    token: str = ""
    due_time: str = ""
    period: str = ""
    callback: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What came of it: the bytes of the result, or what went wrong. `cancels`: the reminder is to come no more."""

    data: bytes = b""
    error: str | None = None
    cancels: bool = False


class Host(Protocol):
    """A program that hosts actors."""

    @property
    def types(self) -> Mapping[str, Hosting]:
        """The types that it hosts."""

    async def invoke(self, asked: Invocation) -> Answer:
        """Have an actor do something. Raises HostGone."""


def entity_of(type: str, id: str) -> str:
    """The id of the entity that an actor is. Raises InvalidArgument."""
    if not 1 <= len(type) <= TYPE_CHARACTERS_MAX or "@" in type or "/" in type:
        raise InvalidArgument(
            f"the actor type {type[:60]!r} cannot be used; give 1 to {TYPE_CHARACTERS_MAX} characters without @ and /"
        )
    if not 1 <= len(id) <= KEY_CHARS_MAX:
        raise InvalidArgument(f"an actor's id has 1 to {KEY_CHARS_MAX} characters, and this one {len(id):,}")
    return f"@{PREFIX}{type}@{id}"


def actor_of(entity: str) -> tuple[str, str]:
    """Type and id of the actor that an entity is."""
    name, _, id = entity[1:].partition("@")
    return name.removeprefix(PREFIX), id


def is_actor(entity_name: str) -> bool:
    """Whether entities of the name are such actors."""
    return entity_name.startswith(PREFIX)


class _Reentrancy(msgspec.Struct, rename="camel"):
    enabled: bool = False
    max_stack_depth: int | None = None


class _Entry(msgspec.Struct, rename="camel"):
    entities: list[str] = []
    actor_idle_timeout: str | None = None
    reentrancy: _Reentrancy | None = None


class _Config(_Entry, rename="camel"):
    entities_config: list[_Entry] = []


def read_config(body: bytes) -> dict[str, Hosting]:
    """The types that a program hosts, from what it answers at /dapr/config. Raises InvalidArgument."""
    try:
        config = msgspec.json.decode(body or b"{}", type=_Config)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"the program's /dapr/config cannot be read: {error}") from error
    base = hosting(_seconds(config.actor_idle_timeout), *_depth(config.reentrancy))
    found = dict.fromkeys(config.entities, base)
    for entry in config.entities_config:
        own = hosting(
            _seconds(entry.actor_idle_timeout) or base.idle_seconds, *_depth(entry.reentrancy or config.reentrancy)
        )
        found |= dict.fromkeys(entry.entities, own)
    return checked(found)


def hosting(idle_seconds: float | None, is_reentrant: bool, depth: int | None) -> Hosting:
    """With what is usual where nothing is said."""
    return Hosting(idle_seconds or IDLE_SECONDS, (depth or DEPTH_MAX) if is_reentrant else None)


def checked(types: Mapping[str, Hosting]) -> dict[str, Hosting]:
    """The types, if they can be hosted. Raises InvalidArgument."""
    if len(types) > TYPES_MAX:
        raise InvalidArgument(f"a program hosts at most {TYPES_MAX:,} types of actors, and this one {len(types):,}")
    for type in types:
        entity_of(type, "1")
    return dict(types)


def _depth(reentrancy: _Reentrancy | None) -> tuple[bool, int | None]:
    return (False, None) if reentrancy is None else (reentrancy.enabled, reentrancy.max_stack_depth)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is None:
        raise InvalidArgument(f"the idle time {text[:60]!r} cannot be read; write a duration such as 1h30m")
    return seconds


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return msgspec.json.encode(value)
