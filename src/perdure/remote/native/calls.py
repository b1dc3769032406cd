"""The calls of Perdure's own services: what each is asked with and answers with, the same at both ends.

Those of clients are the methods of the port `Gateway`; who adds one there has added it here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import Raw

from perdure import errors
from perdure.codec import Payload
from perdure.errors import InstanceError, MalformedMessage, PerdureError, ScheduleError
from perdure.history.events import AnyEvent
from perdure.sdk.gateway import Gateway

GATEWAY = "perdure.v1.Gateway"
WORKER = "perdure.v1.Worker"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error on its way: its code, its class, its sentence, and the id that it is about."""

    code: str
    name: str
    text: str
    about: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call gives: a value, or what stands against it."""

    value: Raw = Raw(b"null")
    problem: Problem | None = None


class Call(NamedTuple):
    """One call: the type of its arguments, in their order, and how these and its answer are read."""

    path: str
    arguments: type[Any]
    request: msgspec.json.Decoder[Any]
    answer: msgspec.json.Decoder[Any]


# -- what a worker calls beside the public protocol -----------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker or client says who it is before anything else."""

    version: str
    worker: str = ""


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server says to that: its own version, the app that it takes the caller for."""

    version: str
    app: str


class Beat(msgspec.Struct, frozen=True, omit_defaults=True):
    """Signs of life: of attempts, each with the details of its newest heartbeat if it gave any, and of those that only
    run on.

    `worker` has them: only the server that has its stream of work knows what is out. So it is of the two that follow.
    """

    beats: dict[str, Payload | None] = {}
    running: list[str] = []
    worker: str = ""


class Begin(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt is about to yield."""

    token: str
    worker: str = ""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a stream stands: its newest durable item."""

    offset: int
    last: Payload | None = None


class Put(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt has yielded after its item `after`; answered when it is durable. It may come again."""

    token: str
    values: list[Payload]
    after: int = 0
    worker: str = ""


class Leave(msgspec.Struct, frozen=True):
    """A worker takes no more work, and will answer what it has."""

    worker: str


def _call(service: str, name: str, arguments: type[Any], answer: Any) -> Call:
    return Call(f"/{service}/{name}", arguments, msgspec.json.Decoder(arguments), msgspec.json.Decoder(answer))


HELLO = _call(WORKER, "Hello", Hello, Welcome)
BEAT = _call(WORKER, "Beat", Beat, list[str])
"""Answers with those of the tokens that nobody wants any more."""
BEGIN = _call(WORKER, "Begin", Begin, Place)
PUT = _call(WORKER, "Put", Put, int | None)
"""Answers with how many items are durable; None if it took none, because another worker has yielded in their place."""
ANSWER_PATH = f"/{WORKER}/Answer"
"""Answers to turns and attempts, as a batch (see `envelope`)."""
ANSWER = _call(WORKER, "Answer", Hello, dict[int, Problem])
"""Its answer: those that were not taken, by their place in the batch, and why."""
LEAVE = _call(WORKER, "Leave", Leave, None)

# -- what a client calls --------------------------------------------------------------------------------------------

_PRECISE: Mapping[str, Mapping[str, Any]] = {
    "command": {"event": AnyEvent},
    "events": {"return": tuple[list[AnyEvent], int | None]},
}
"""Types that the port leaves open, because within a process they cost nothing."""


def _calls_of_gateway() -> dict[str, Call]:
    calls = {}
    for name, method in vars(Gateway).items():
        if inspect.iscoroutinefunction(method):
            hints = {**get_type_hints(method), **_PRECISE.get(name, {})}
            answer = hints.pop("return")
            arguments = msgspec.defstruct(name.title(), list(hints.items()), frozen=True)
            calls[name] = _call(GATEWAY, name, arguments, answer)
    return calls


CALLS: Mapping[str, Call] = _calls_of_gateway()
"""By the names of the port's methods."""

# -- errors ---------------------------------------------------------------------------------------------------------


def problem_of(error: Exception) -> Problem | None:
    """An error that the caller is told; None for one that is nobody's business but the server's."""
    if isinstance(error, TimeoutError) and not isinstance(error, PerdureError):
        return Problem("", "TimeoutError", str(error))
    if not isinstance(error, PerdureError):
        return None
    about = getattr(error, "instance_id", "") or getattr(error, "schedule_id", "")
    return Problem(error.code, type(error).__name__, str(error.args[0]) if error.args else "", about)


def error_of(problem: Problem) -> Exception:
    """The error again, of the same class; of the tree's root if this version has none of that name."""
    if problem.name == "TimeoutError":
        return TimeoutError(problem.text)
    kind = getattr(errors, problem.name, None)
    if not (isinstance(kind, type) and issubclass(kind, PerdureError)) or kind.code != problem.code:
        return PerdureError(f"{problem.text} ({problem.name}, {problem.code})")
    if issubclass(kind, (InstanceError, ScheduleError)):
        return kind(problem.text, problem.about)
    try:
        return kind(problem.text)
    except TypeError:
        return PerdureError(f"{problem.text} ({problem.name}, {problem.code})")


_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(Answer)


def write_request(call: Call, *arguments: Any) -> bytes:
    """The bytes of a call."""
    data: bytes = _encode(call.arguments(*arguments))
    return data


def read_request(call: Call, data: bytes) -> Any:
    """The arguments in a call's bytes. Raises MalformedMessage."""
    try:
        return call.request.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"{call.path} cannot be read: {error}") from None


def write_answer(value: Any) -> bytes:
    """What a call answers."""
    return _encode(Answer(value=Raw(_encode(value))))


def write_problem(problem: Problem) -> bytes:
    """What stands against a call."""
    return _encode(Answer(problem=problem))


def read_answer(call: Call, data: bytes) -> Any:
    """The value in an answer. Raises the error that is in it instead, and MalformedMessage."""
    try:
        answer = _answer.decode(data)
        if answer.problem is None:
            return call.answer.decode(answer.value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"the answer of {call.path} cannot be read: {error}") from None
    raise error_of(answer.problem)
