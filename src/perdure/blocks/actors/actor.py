"""The class that actors are written as: references to them outside, their fields and their clocks inside."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from perdure.blocks.actors.calling import Address, Wishes, call, wishes
from perdure.blocks.actors.definition import HOOKS, ActorType, Method, checked_key
from perdure.blocks.actors.turn import TURN, Turn
from perdure.clock import SECOND
from perdure.errors import InvalidArgument, OnlyInWorkflow
from perdure.history.actions import SetReminder
from perdure.sdk.options import checked_name, checked_seconds

if TYPE_CHECKING:
    from perdure.sdk.client import Client


class Actor:
    """Base of actors: annotated fields are durable state, `async def` methods are what others may call.

    `Account("42")` is a reference to the actor with that key, which comes to be with the first call. Its methods run
    one at a time. What one has changed, sent and answered is written together; one that raises changes nothing.
    """

    _perdure: ClassVar[ActorType]
    _reference: ClassVar[type[Any]]
    _key: str
    _wishes: Wishes

    def __new__(cls, key: str) -> Self:
        reference = cls.__dict__.get("_reference")
        if reference is None:
            raise InvalidArgument(f"{cls.__qualname__} is no actor of an app yet; write @app.actor above it")
        return object.__new__(reference)  # type: ignore[no-any-return]

    def __init__(self, key: str) -> None:
        self._key = checked_key(key)
        self._wishes = Wishes()

    @property
    def key(self) -> str:
        """What tells it from others of its class."""
        return self._key

    def with_options(
        self,
        *,
        request_id: str | None = None,
        timeout: float | timedelta | None = None,
        app_id: str | None = None,
        client: Client | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
    ) -> Self:
        """A reference to the same actor, with options for what is asked through it; None keeps what was said.

        `request_id`: the same id is done once and answered alike. `timeout` in seconds, for an answer. `app_id`: whose
        actor it is; outside workflows with a `client` of that app. `at` and `delay` (seconds) are for `send`.
        """
        twin: Self = object.__new__(type(self)._reference)
        twin._key = self._key
        twin._wishes = wishes(self._wishes, request_id, timeout, app_id, client, at, delay)
        return twin

    # -- for its own methods --------------------------------------------------------------------------------------

    async def on_activate(self) -> None:
        """Called before the first method after the actor has come to memory; override it."""

    async def on_deactivate(self) -> None:
        """Called when the actor leaves memory; override it. What it changes is not kept, and a crash leaves it out."""

    @property
    def reminders(self) -> frozenset[str]:
        """The names of the reminders that are set."""
        return frozenset(_turn(self, "reminders").reminders)

    def remind(
        self,
        method: Callable[..., Coroutine[Any, Any, Any]],
        *,
        due: float | timedelta,
        period: float | timedelta | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Have a method of this actor run in `due` seconds, and then each `period`; durable with the turn.

        A reminder of the same `name`, else that of the method, is replaced. It wakes the actor. If the method raises,
        it is tried again after a pause; times that were missed do not come late.
        """
        turn, found = _turn(self, "remind"), _own(self, method, args)
        kind = type(self)._perdure
        turn.remind(
            SetReminder(
                name=checked_name(name or found.name, "a reminder's name"),
                operation=found.name,
                due=turn.now() + round(checked_seconds("due", due) * SECOND),
                period=_period(period) if period is not None else None,
                input=kind.home.writer.encode_arguments(args, {}),
            )
        )

    def cancel_reminder(self, name: str) -> None:
        """Let a reminder come no more, with the turn; nothing if there is none of that name."""
        _turn(self, "cancel_reminder").forget(checked_name(name, "a reminder's name"))

    def timer(
        self,
        method: Callable[..., Coroutine[Any, Any, Any]],
        *,
        due: float | timedelta,
        period: float | timedelta | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Have a method of this actor run in `due` seconds, and then each `period`, for as long as it is in memory.

        It begins when the method that sets it has succeeded, replaces one of the same `name`, and keeps nothing in
        memory: use `remind` for what has to happen.
        """
        turn, found = _turn(self, "timer"), _own(self, method, args)
        first, again = checked_seconds("due", due), checked_seconds("period", period) if period is not None else None
        input = type(self)._perdure.home.writer.encode_arguments(args, {})
        named = checked_name(name or found.name, "a timer's name")
        turn.start_timer(named, found.name, input, first, again)

    def cancel_timer(self, name: str) -> None:
        """Stop a timer, once the method that asks has succeeded; nothing if there is none of that name."""
        _turn(self, "cancel_timer").stop_timer(checked_name(name, "a timer's name"))

    def __repr__(self) -> str:
        return f"<actor {type(self).__name__} {self._key!r}>"


def register(cls: type[Any], kind: ActorType) -> None:
    """Make a class the actors of an app."""
    cls._perdure = kind
    names: dict[str, Any] = {name: _asking(method) for name, method in kind.methods.items()}
    names |= {name: _Unreadable(name) for name in kind.fields}
    names["__module__"] = cls.__module__
    cls._reference = type(cls.__name__, (cls,), names)
    cls._reference._reference = cls._reference


def check_class(cls: Any) -> None:
    """Raise InvalidArgument for what makes a class unfit to be an actor."""
    if not isinstance(cls, type) or not issubclass(cls, Actor):
        raise InvalidArgument(f"{cls!r} is no class of actors; write `class {_name_of(cls)}(Actor):`")
    if cls.__init__ is not Actor.__init__ or cls.__new__ is not Actor.__new__:
        raise InvalidArgument(
            f"actor {cls.__qualname__} has an __init__ of its own; give its fields values in the class, and let "
            "on_activate do the rest"
        )
    taken = [name for name in {**cls.__dict__, **inspect.get_annotations(cls)} if name in _OWN]
    if taken:
        raise InvalidArgument(f"{taken[0]!r} of actor {cls.__qualname__} is a name of Actor itself; choose another")
    if "_perdure" in cls.__dict__:
        raise InvalidArgument(f"actor {cls.__qualname__} is registered already; decorate it once")


_OWN = frozenset(name for name in vars(Actor) if not name.startswith("__")) - HOOKS


def embody(kind: ActorType, key: str) -> Any:
    """The actor itself, as its methods see it, with the fields of a new one."""
    actor: Any = object.__new__(kind.cls)
    actor._key = key
    actor._wishes = Wishes()
    return actor


class _Unreadable:
    """A field of an actor that is elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, actor: Any, owner: Any = None) -> NoReturn:
        raise AttributeError(f"{self._name!r} is state of the actor, which may be on another node; write a method")

    def __set__(self, actor: Any, value: Any) -> NoReturn:
        self.__get__(actor)


def _asking(method: Method) -> Callable[..., Any]:
    @functools.wraps(method.function)
    def ask(self: Actor, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return call(Address(type(self)._perdure, self._key, self._wishes), method, args, kwargs)

    return ask


def _turn(actor: Actor, what: str) -> Turn:
    turn = TURN.get()
    kind = type(actor)._perdure
    if turn is None or turn.actor != kind.id_of(actor.key) or type(actor) is not kind.cls:
        raise OnlyInWorkflow(f"{what} is for the methods of {kind.name} {actor.key!r} alone; call one that uses it")
    turn.check()
    return turn


def _own(actor: Actor, method: Callable[..., Any], args: tuple[Any, ...]) -> Method:
    found = type(actor)._perdure.methods.get(getattr(method, "__name__", ""))
    if found is None or getattr(method, "__self__", None) is not actor:
        raise InvalidArgument(f"{method!r} is no `async def` method of this actor; write self.method, without a call")
    found.signature.check(args, {})
    return found


def _period(period: float | timedelta) -> int:
    """In microseconds. Raises InvalidArgument for less than one, because such a reminder would have no next time."""
    microseconds = round(checked_seconds("period", period) * SECOND)
    if microseconds < 1:
        raise InvalidArgument(f"period is {period!r}; a reminder comes again after 0.000001 seconds at the earliest")
    return microseconds


def _name_of(cls: Any) -> str:
    return str(getattr(cls, "__name__", "Account"))
