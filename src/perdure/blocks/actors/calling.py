"""Calls and messages to actors, from wherever they come: a workflow, an activity, another actor, a client."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec

import msgspec

from perdure.blocks.actors.definition import ActorType, Method
from perdure.blocks.actors.turn import TURN, Turn
from perdure.clock import SECOND, to_microseconds
from perdure.codec import Payload, decode
from perdure.errors import (
    ActorFailed,
    ActorReentered,
    ActorTimedOut,
    InvalidArgument,
    NotInWorkflow,
    NotOpen,
    ServerUnavailable,
    StoreError,
)
from perdure.history.actions import CallEntity, SignalEntity
from perdure.history.events import EntityCompleted, Failure
from perdure.sdk.context import ATTEMPT, ActivityInfo
from perdure.sdk.failures import to_exception
from perdure.sdk.options import checked_moment, checked_name, checked_seconds, checked_text
from perdure.sdk.run import Run, calling_line, current_run

if TYPE_CHECKING:
    from perdure.sdk.client import Client

P = ParamSpec("P")
CALL_SECONDS = 60.0
"""How long a method of an actor waits for another actor unless it says otherwise, so that two that wait for each other
do not wait for ever."""
REQUEST_CHARACTERS_MAX = 512


class Wishes(msgspec.Struct, frozen=True):
    """How an actor is called. `timeout` in seconds, `at` in microseconds since 1970 UTC, `delay` in microseconds."""

    request: str | None = None
    timeout: float | None = None
    app: str | None = None
    client: Any = None
    at: int | None = None
    delay: int | None = None


class Address(msgspec.Struct, frozen=True):
    """Which actor is called, and how."""

    type: Any
    key: str
    wishes: Wishes = Wishes()

    @property
    def id(self) -> str:
        """As the store knows it."""
        found: str = self.type.id_of(self.key)
        return found

    def __str__(self) -> str:
        return f"{self.type.name} {self.key!r}"


def wishes(
    before: Wishes,
    request_id: str | None,
    timeout: float | timedelta | None,
    app_id: str | None,
    client: Client | None,
    at: datetime | None,
    delay: float | timedelta | None,
) -> Wishes:
    """The wishes as they are from now on; None keeps what was said. Raises InvalidArgument."""
    if request_id is not None and not 0 < len(checked_text("request_id", request_id)) <= REQUEST_CHARACTERS_MAX:
        raise InvalidArgument(f"request_id has 1 to {REQUEST_CHARACTERS_MAX} characters")
    if client is not None and not hasattr(client, "gateway"):
        raise InvalidArgument(f"client is a {type(client).__name__}; give a Client(...)")
    return Wishes(
        request=request_id if request_id is not None else before.request,
        timeout=checked_seconds("timeout", timeout) if timeout is not None else before.timeout,
        app=checked_name(app_id, "app_id") if app_id is not None else before.app,
        client=client if client is not None else before.client,
        at=to_microseconds(checked_moment("at", at)) if at is not None else before.at,
        delay=round(checked_seconds("delay", delay) * SECOND) if delay is not None else before.delay,
    )


def call(address: Address, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    """Call a method and wait for its answer. Raises ActorFailed with its error as `__cause__`."""
    method.signature.check(args, kwargs)
    wishes = address.wishes
    if wishes.at is not None or wishes.delay is not None:
        raise InvalidArgument("a call waits for its answer, so it has no `at` or `delay`; send(...) a message instead")
    run = current_run()
    if run is not None:
        return _call_durably(run, address, method, run.encode_arguments(args, kwargs), calling_line())
    kind: ActorType = address.type
    return _call(address, method, kind.home.writer.encode_arguments(args, kwargs))


async def send(method: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Have an actor run a method without waiting for it: `await send(Account("42").withdraw, 10)`.

    In a workflow, or a method of an actor, the message is written with the turn; elsewhere it is durable when this
    returns. `with_options(delay=..., at=...)` has it run later. What the method raises is logged.
    """
    address, asked = target_of(method)
    asked.signature.check(args, kwargs)
    run = current_run()
    if run is not None:
        _send_durably(run, address, asked, run.encode_arguments(args, kwargs), calling_line())
        return
    kind: ActorType = address.type
    payload = kind.home.writer.encode_arguments(args, kwargs)
    turn = TURN.get()
    if turn is not None and address.wishes.client is None:
        _send_with_turn(turn, address, asked, payload)
        return
    client = _client(address)
    await client.gateway.signal_actor(
        address.id, asked.name, _request(address, asked, payload, client), payload, _due(address.wishes, client.now())
    )


def target_of(method: Callable[..., Any]) -> tuple[Address, Method]:
    """Which method of which actor a bound method is. Raises InvalidArgument."""
    actor = getattr(method, "__self__", None)
    kind: ActorType | None = getattr(actor, "_perdure", None)
    found = kind.methods.get(getattr(method, "__name__", "")) if kind is not None else None
    if actor is None or kind is None or found is None:
        raise InvalidArgument(f"{method!r} is no method of an actor; write Account('42').withdraw, say, without a call")
    return Address(kind, actor.key, getattr(actor, "_wishes", Wishes())), found


# -- from a workflow --------------------------------------------------------------------------------------------------


async def _call_durably(run: Run, address: Address, method: Method, input: Payload, line: str | None) -> Any:
    _refuse_in_workflow(address.wishes)
    number = run.next_number()
    future = run.call(
        CallEntity(
            number=number,
            line=line,
            target=address.id,
            operation=method.name,
            request=_request_of(run, number),
            input=input,
            app=address.wishes.app,
        )
    )
    try:
        result = await future
    except asyncio.CancelledError:
        run.give_up_call(number)
        raise
    if type(result) is EntityCompleted:
        return run.decode(result.output, method.signature.result)
    raise actor_error(address, method, result.failure)


def _send_durably(run: Run, address: Address, method: Method, input: Payload, line: str | None) -> None:
    _refuse_in_workflow(address.wishes)
    number = run.next_number()
    run.record(
        SignalEntity(
            number=number,
            line=line,
            target=address.id,
            operation=method.name,
            request=_request_of(run, number),
            input=input,
            scheduled=_due(address.wishes, run.now),
            app=address.wishes.app,
        )
    )


def _request_of(run: Run, number: int) -> str:
    identity = run.identity
    return f"{identity.execution}.{identity.generation}.{number}"


def _refuse_in_workflow(wishes: Wishes) -> None:
    if wishes.request is not None:
        raise NotInWorkflow("a call in a workflow has a request id already, which its replay repeats; give none")
    if wishes.timeout is not None:
        raise NotInWorkflow("a workflow bounds a wait with asyncio.timeout(...), which is durable; give no timeout")
    if wishes.client is not None:
        raise NotInWorkflow("a workflow calls through its own store; give app_id=... for an actor of another app")


# -- from elsewhere ---------------------------------------------------------------------------------------------------


async def _call(address: Address, method: Method, input: Payload) -> Any:
    turn, client, wishes = TURN.get(), _client(address), address.wishes
    chain = _chain(turn, address, method)
    request = _request(address, method, input, client)
    seconds = wishes.timeout or (CALL_SECONDS if turn is not None else None)
    may_repeat = wishes.request is not None or turn is not None or ATTEMPT.get(None) is not None
    bound = asyncio.timeout(seconds)
    try:
        async with bound, _noticed(turn):
            answer = await client.gateway.call_actor(address.id, method.name, request, input, chain, may_repeat)
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise ActorTimedOut(
            f"actor {address} has not answered {method.name} within {seconds:g} s; it will do it all the same: ask "
            "again with the same request_id, or give a longer timeout"
        ) from error
    if answer.failure is not None:
        raise actor_error(address, method, answer.failure)
    return decode(answer.result, method.signature.result)


@asynccontextmanager
async def _noticed(turn: Turn | None) -> AsyncIterator[None]:
    """Let the turn know of what is no answer: it is run again then, and asks the same."""
    try:
        yield
    except (NotOpen, StoreError, ServerUnavailable):
        if turn is not None:
            turn.is_lost = True
        raise


def _chain(turn: Turn | None, address: Address, method: Method) -> list[str]:
    """Who waits for this call. Raises ActorReentered if that is the actor itself, which could never answer."""
    if turn is None:
        return []
    turn.check()
    if address.id in turn.chain:
        way = " -> ".join([*turn.chain, address.id])
        raise ActorReentered(
            f"{method.name} of {address} is called by a method that it waits for itself ({way}); send(...) it a "
            "message, or let the first method return before"
        )
    return turn.chain


def _send_with_turn(turn: Turn, address: Address, method: Method, input: Payload) -> None:
    turn.record(
        SignalEntity(
            target=address.id,
            operation=method.name,
            request=address.wishes.request or turn.next_request(),
            input=input,
            scheduled=_due(address.wishes, turn.now()),
            app=address.wishes.app,
        )
    )


def _client(address: Address) -> Client:
    """Who brings it to the actor's app. Raises InvalidArgument, NotOpen."""
    wishes, kind = address.wishes, address.type
    if wishes.app is not None and wishes.client is None:
        raise InvalidArgument(
            f"app {wishes.app!r} is another one: outside a workflow give client=... as well, a Client of that app"
        )
    client: Client = wishes.client if wishes.client is not None else kind.home.client
    return client


def _request(address: Address, method: Method, input: Payload, client: Client) -> str:
    """The name of the request: the same when the turn or the attempt that asks is run again."""
    if address.wishes.request is not None:
        return address.wishes.request
    turn = TURN.get()
    if turn is not None:
        return turn.next_request()
    attempt = ATTEMPT.get(None)
    return client.fresh_key() if attempt is None else _request_of_attempt(attempt, address, method, input)


def _request_of_attempt(attempt: ActivityInfo, address: Address, method: Method, input: Payload) -> str:
    """By what is asked and how often it was before, because attempts need not ask in the same order."""
    asked = hashlib.blake2b(digest_size=12)
    for part in (address.id, method.name):
        asked.update(part.encode() + b"\0")
    asked.update(input.data)
    return attempt.request_of(asked.hexdigest())


def _due(wishes: Wishes, now: int) -> int | None:
    return wishes.at if wishes.delay is None else now + wishes.delay


def actor_error(address: Address, method: Method, failure: Failure) -> ActorFailed:
    """What the caller of a method gets that raised."""
    error = ActorFailed(f"{method.name} of actor {address} failed: {failure.type}: {failure.message}", failure.type)
    error.__cause__ = to_exception(failure)
    return error
