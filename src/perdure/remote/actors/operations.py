"""What an actor is asked, as the operations of its entity: methods by their names, everything else behind a slash."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from perdure.codec import JSON, Payload
from perdure.errors import InvalidArgument
from perdure.remote.actors.memory import Asked

METHOD_CHARACTERS_MAX = 256
_REMIND, _FORGET = "/register", "/unregister"
_REMINDED, _TIMED = "/remind/", "/timer/"


class Method(NamedTuple):
    """A method with the bytes of its argument."""

    name: str
    data: bytes


class Reminded(NamedTuple):
    """The time of a reminder has come."""

    name: str

    @staticmethod
    def operation(name: str) -> str:
        return _REMINDED + name


class Timed(NamedTuple):
    """The time of a timer has come, the `number`th that was registered."""

    name: str
    number: int
    asked: Asked


class Remind(NamedTuple):
    """A reminder is registered from outside of a turn."""

    asked: Asked


class Forget(NamedTuple):
    """Reminders are unregistered from outside of a turn; None: all."""

    names: list[str] | None


Asking = Method | Reminded | Timed | Remind | Forget


class _Tick(msgspec.Struct):
    number: int
    asked: Asked


def write_operation(asking: Asking) -> tuple[str, Payload | None]:
    """The name of the operation and its input. Raises InvalidArgument."""
    match asking:
        case Method(name, data):
            if not 1 <= len(name) <= METHOD_CHARACTERS_MAX or name.startswith("/"):
                raise InvalidArgument(f"a method has a name of 1 to {METHOD_CHARACTERS_MAX} characters, and no / first")
            return name, _payload(data)
        case Reminded(name):
            return _REMINDED + name, None
        case Timed(name, number, asked):
            return _TIMED + name, _payload(_Tick(number, asked))
        case Remind(asked):
            return _REMIND, _payload(asked)
        case Forget(names):
            return _FORGET, _payload(names)


def read_operation(operation: str, input: Payload | None) -> Asking:
    """What an operation asks. Raises InvalidArgument if it is none of an actor's."""
    data = input.data if input is not None else b"null"
    try:
        if not operation.startswith("/"):
            return Method(operation, msgspec.json.decode(data, type=bytes) if input is not None else b"")
        if operation.startswith(_REMINDED):
            return Reminded(operation.removeprefix(_REMINDED))
        if operation.startswith(_TIMED):
            tick = msgspec.json.decode(data, type=_Tick)
            return Timed(operation.removeprefix(_TIMED), tick.number, tick.asked)
        if operation == _REMIND:
            return Remind(msgspec.json.decode(data, type=Asked))
        if operation == _FORGET:
            return Forget(msgspec.json.decode(data, type=list[str] | None))
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"the operation {operation!r} of an actor cannot be read: {error}") from error
    raise InvalidArgument(f"actors have no operation {operation!r}")


def _payload(value: Any) -> Payload:
    return Payload(JSON, None, msgspec.Raw(msgspec.json.encode(value)))
