"""What `@app.actor` makes of a class: its name, its methods, and the fields that are its state."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec

from perdure.codec import Payload, Signature, Writer, decode
from perdure.errors import InvalidArgument, NotDecodable
from perdure.history.entities import KEY_CHARS_MAX, NAME_CHARS_MAX
from perdure.sdk.home import Home
from perdure.sdk.options import checked_text

IDLE_SECONDS = 60.0
"""An actor that nobody has asked for so long leaves memory, unless its class says otherwise."""
HOOKS = frozenset(("on_activate", "on_deactivate"))
"""Methods that the runtime calls, and nobody else."""


class Method:
    """One method that others may call."""

    __slots__ = ("function", "name", "signature")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.signature = Signature(function, skip=1)

    def check(self, result: Payload) -> None:
        """Raise NotDecodable if callers could not read a result as what the method's annotation says."""
        try:
            decode(result, self.signature.result)
        except NotDecodable as error:
            raise NotDecodable(f"the result of {self.name} does not fit its annotation: {error.args[0]}") from None


class ActorType:
    """A class of actors. `state` is a record of its durable fields; `idle` is in seconds."""

    def __init__(self, cls: type, name: str, home: Home, *, idle: float) -> None:
        self.cls = cls
        self.name = name
        self.home = home
        self.idle = idle
        self.fields = _fields(cls)
        self.state = _record(cls, self.fields)
        self.has_farewell = "on_deactivate" in {name for base in cls.__mro__[:-2] for name in vars(base)}
        """Whether the class has a hook for leaving memory."""
        self.methods = {name: Method(name, function) for name, function in _methods(cls)}

    def id_of(self, key: str) -> str:
        """The id of the actor with this key. Raises InvalidArgument."""
        return f"@{self.name}@{key}"

    @functools.cached_property
    def initial(self) -> Any:
        """The record of an actor that has done nothing yet, to be compared with."""
        return self.state()

    def read(self, payload: Payload | None) -> Any:
        """The record that a payload holds; that of a new actor for None. Raises NotDecodable."""
        return self.state() if payload is None else decode(payload, self.state)

    def write(self, actor: Any, writer: Writer) -> Payload | None:
        """The payload of an actor's fields, all of them; None if they are as they begin. Raises NotEncodable,
        PayloadTooLarge, NotDecodable for a value that its field's type does not allow."""
        record = self.state(**{name: getattr(actor, name) for name in self.fields})
        if record == self.initial:
            return None
        payload = writer.encode(record)
        try:
            decode(payload, self.state)
        except NotDecodable as error:
            raise NotDecodable(f"the state of {self.name} does not fit its annotations: {error.args[0]}") from None
        return payload

    def fill(self, actor: Any, record: Any) -> None:
        """Give an actor the fields of a record."""
        for name in self.fields:
            setattr(actor, name, getattr(record, name))

    def __repr__(self) -> str:
        return f"<perdure actor {self.name}>"


def checked_key(key: str) -> str:
    """A key of an actor: 1 to 100 characters. Raises InvalidArgument."""
    checked_text("an actor's key", key)
    if not key or len(key) > KEY_CHARS_MAX:
        raise InvalidArgument(f"an actor's key has 1 to {KEY_CHARS_MAX} characters; {key[:40]!r} has {len(key):,}")
    return key


def checked_actor_name(name: str) -> str:
    """A name of a class of actors. Raises InvalidArgument."""
    checked_text("an actor's name", name)
    if not name or len(name) > NAME_CHARS_MAX or "@" in name or not name.isprintable():
        raise InvalidArgument(
            f"an actor's name has 1 to {NAME_CHARS_MAX} printable characters and no @; {name[:40]!r} is none"
        )
    return name


def _fields(cls: type) -> dict[str, Any]:
    """The annotated fields and their types, those of bases first."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise InvalidArgument(
            f"the fields of actor {cls.__qualname__} are its state, and an annotation cannot be read: {error}; "
            "define the type in the module itself"
        ) from error
    return {name: hint for name, hint in hints.items() if not name.startswith("_") and not _is_of_class(hint)}


def _is_of_class(hint: Any) -> bool:
    return hint is ClassVar or typing.get_origin(hint) is ClassVar


def _record(cls: type, fields: dict[str, Any]) -> type[Any]:
    record = []
    for name, hint in fields.items():
        if not hasattr(cls, name):
            raise InvalidArgument(
                f"field {name!r} of actor {cls.__qualname__} has no value to begin with; write {name}: ... = ..."
            )
        record.append((name, hint, _beginning(getattr(cls, name))))
    # whole, because a balance of 0 that was left out would become what the next version of the class begins with
    return msgspec.defstruct(f"{cls.__name__}State", record, kw_only=True)


def _beginning(default: Any) -> Any:
    """What a field begins with, made anew for each actor; a `field(default_factory=...)` of dataclasses says how."""
    if isinstance(default, dataclasses.Field):
        if default.default_factory is dataclasses.MISSING:
            return _beginning(default.default)
        return msgspec.field(default_factory=default.default_factory)
    return default if _is_simple(default) else msgspec.field(default_factory=functools.partial(copy.deepcopy, default))


def _is_simple(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, bytes))


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The `async def` methods without an underscore in front, of the class and its bases."""
    for name, value in inspect.getmembers_static(cls):
        if not name.startswith("_") and name not in HOOKS and inspect.iscoroutinefunction(value):
            yield name, value
