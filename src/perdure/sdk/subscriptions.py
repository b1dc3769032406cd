"""What an app does with the messages of a topic: a handler, a workflow to start, an event to raise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from perdure.codec import Signature, Writer
from perdure.errors import InvalidArgument, NotDecodable
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled, Raise, Start
from perdure.history.subscribing import Begin, SubscribeOptions, Verdict
from perdure.history.work import StartOptions
from perdure.sdk.cloud_event import BYTES, CloudEvent, data_of, shown
from perdure.sdk.correlation import Correlation, correlation, id_of
from perdure.sdk.options import Retry, checked_count, checked_name, checked_seconds
from perdure.sdk.publishing import OUTBOX, Outbox, checked_topic
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import FINISHED

RETRY_SECONDS_MAX = 60.0
"""The longest pause before a message comes again, unless the subscription's Retry says otherwise."""


class Surroundings(Protocol):
    """What receivers ask of the node that they are on."""

    @property
    def writer(self) -> Writer:
        """What makes payloads of values."""

    async def in_thread(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain function in one of the app's threads."""

    async def status_of(self, id: str) -> str | None:
        """Where an instance is in its life; None if there is none."""


class Receiver(Protocol):
    """What becomes of a message; the engine's port `Consumer`."""

    @property
    def in_hand_max(self) -> int: ...
    @property
    def is_remote(self) -> bool: ...
    def decide(self, message: MessagePublished) -> Handled | None: ...
    async def handle(self, message: MessagePublished, attempt: int) -> Handled: ...


class Subscription(msgspec.Struct, frozen=True):
    """What is declared: which group of which topic, and what makes its receiver."""

    topic: str
    group: str
    options: SubscribeOptions
    receiver: Callable[[Surroundings], Receiver]


def subscribe_options(
    begin: str, in_hand_max: int, retry: Retry | None, dead_letter: str | None, timeout: float
) -> SubscribeOptions:
    """The options of a subscription, checked."""
    if begin not in tuple(Begin):
        raise InvalidArgument(f"begin is {begin!r}; it is 'earliest' or 'newest'")
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidArgument(f"retry is a {type(retry).__name__}; write retry=Retry(max_attempts=...)")
    checked_count("in_hand_max", in_hand_max, 1)
    options = SubscribeOptions(
        begin=Begin(begin),
        in_hand_max=in_hand_max,
        dead_letter=checked_topic(dead_letter) if dead_letter is not None else None,
        timeout=checked_seconds("timeout", timeout),
    )
    if retry is None:
        return options
    return msgspec.structs.replace(
        options,
        attempts_max=retry.max_attempts or options.attempts_max,
        initial_interval=retry.initial_interval,
        backoff=retry.backoff,
        max_interval=retry.max_interval or RETRY_SECONDS_MAX,
    )


def group_name(group: str | None, fallback: str) -> str:
    """The group that is named, or one called as its receiver."""
    return checked_name(group if group is not None else fallback, "a group's name")


# -- handlers ---------------------------------------------------------------------------------------------------------


class Handler:
    """Gives messages to a function: their data as its first parameter's type, or the event if it asks for that."""

    is_remote = False

    def __init__(self, function: Callable[..., Any], options: SubscribeOptions, around: Surroundings) -> None:
        self.in_hand_max = options.in_hand_max
        self._function = function
        self._around = around
        self._is_async = inspect.iscoroutinefunction(function)
        self._types = parameter_types(function)

    def decide(self, message: MessagePublished) -> None:
        """A handler takes its time."""

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        """What the function returns, or raises, is the verdict; what it publishes goes out with it."""
        try:
            args = tuple(_argument(message, expected) for expected in self._types)
        except NotDecodable as error:
            return Handled(Verdict.DROP, str(error))  # because it will fit as little the next time
        outbox = Outbox(self._around.writer)
        OUTBOX.set(outbox)
        try:
            verdict = _verdict(await self._call(args))
        finally:
            outbox.close()
        return Handled(verdict, messages=outbox.messages if verdict == Verdict.SUCCESS else ())

    async def _call(self, args: tuple[Any, ...]) -> Any:
        if self._is_async:
            return await self._function(*args)
        given = await self._around.in_thread(self._function, args, {})
        # because a function that is no coroutine function may still make one, as what wraps one does
        return await given if inspect.isawaitable(given) else given

    def __repr__(self) -> str:
        return f"<Handler {_name_of(self._function)}>"


def parameter_types(function: Callable[..., Any]) -> list[Any]:
    """What a handler is given: the data, the event, or both. Raises InvalidArgument for other functions."""
    if isinstance(function, Workflow):
        raise InvalidArgument(f"{function.name} is a workflow, which no handler can be; give it as starts=...")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidArgument(f"{_name_of(function)} yields, and nobody would take what; have it return, or publish")
    parameters = list(inspect.signature(function).parameters.values())
    if not 1 <= len(parameters) <= 2 or any(each.kind not in _POSITIONAL for each in parameters):
        raise InvalidArgument(
            f"{_name_of(function)} has to take the data of a message, its CloudEvent, or first the one and then the "
            "other, to handle messages"
        )
    first = Signature(function).argument
    return [first] if len(parameters) == 1 else [first, CloudEvent]


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _argument(message: MessagePublished, expected: Any) -> Any:
    return shown(message) if expected is CloudEvent else data_of(message.data, expected)


def _verdict(given: Any) -> Verdict:
    return given if isinstance(given, Verdict) else Verdict.SUCCESS


# -- choreography -----------------------------------------------------------------------------------------------------


class Starter:
    """Starts a workflow for each message, with its data as input, in the turn that comes past the message."""

    is_remote = False

    def __init__(self, workflow: Workflow[..., Any], tell: Correlation, in_hand_max: int) -> None:
        self.in_hand_max = in_hand_max
        self._workflow = workflow
        self._tell = tell

    def decide(self, message: MessagePublished) -> Handled:
        """The start. An id that was used already is not used again, so redelivery starts one run."""
        if message.data is not None and message.data.encoding == BYTES:
            return Handled(Verdict.DROP, "its data is no JSON, which the workflow could take as input")
        id = id_of(self._tell, shown(message))
        options: StartOptions = msgspec.structs.replace(self._workflow.options, id=id)
        return Handled(starts=(Start(self._workflow.name, message.data, options),))

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        """The same."""
        return self.decide(message)

    def __repr__(self) -> str:
        return f"<Starter of {self._workflow.name}>"


class Raiser:
    """Raises an event on an instance for each message, with its data, in the turn that comes past the message."""

    is_remote = False

    def __init__(self, name: str, tell: Correlation, around: Surroundings, in_hand_max: int) -> None:
        self.in_hand_max = in_hand_max
        self._name = name
        self._tell = tell
        self._around = around

    def decide(self, message: MessagePublished) -> None:
        """It has to look whether the instance is there, because an event for none would be lost without a word."""

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        """The event. For an instance that is not there yet the message comes again."""
        id = id_of(self._tell, shown(message))
        status = await self._around.status_of(id)
        if status is None:
            return Handled(Verdict.RETRY, f"there is no instance {id[:200]!r} to raise {self._name!r} on")
        if status in FINISHED:
            return Handled(Verdict.DROP, f"instance {id[:200]!r} is {status}, so it hears no {self._name!r}")
        return Handled(raises=(Raise(id, self._name, message.data),))

    def __repr__(self) -> str:
        return f"<Raiser of {self._name}>"


# -- what an app declares ---------------------------------------------------------------------------------------------


def handling(topic: str, group: str | None, options: SubscribeOptions, function: Callable[..., Any]) -> Subscription:
    """A function handles the messages."""
    parameter_types(function)
    name = group_name(group, getattr(function, "__name__", ""))
    return Subscription(topic, name, options, lambda around: Handler(function, options, around))


def starting(
    topic: str,
    group: str | None,
    options: SubscribeOptions,
    workflow: Workflow[..., Any],
    id: Correlation | str | None,
) -> Subscription:
    """A workflow is started for each message."""
    if not isinstance(workflow, Workflow):
        raise InvalidArgument(f"starts is {workflow!r}; give a function that is decorated with @app.workflow")
    name = group_name(group, workflow.name)
    tell = correlation(id) if id is not None else lambda event: f"{name}-{event.id}"
    return Subscription(topic, name, options, lambda around: Starter(workflow, tell, options.in_hand_max))


def raising(
    topic: str, group: str | None, options: SubscribeOptions, event: str, id: Correlation | str | None
) -> Subscription:
    """An event is raised for each message."""
    if id is None:
        raise InvalidArgument(f"say on which instance {event!r} is raised: id=lambda event: event.data['order']")
    tell = correlation(id)
    name = group_name(group, event)
    return Subscription(topic, name, options, lambda around: Raiser(event, tell, around, options.in_hand_max))
