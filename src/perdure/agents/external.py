"""Waiting inside an agent's run for something outside: the token that is handed out, and what it is resolved with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from pydantic import JsonValue
from pydantic_ai.durable_exec import ExternalEventError, ExternalEventWaiter

import perdure
from perdure import Client, step, workflow_context
from perdure.agents.workflow_side import heard
from perdure.errors import InvalidArgument

EVENT_PREFIX = "agent."
"""What the names of the events begin with that resolve tokens."""


class Resolved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token was resolved with: a JSON value, or why there is none."""

    value: Any = None
    failure: str | None = None


class Token(NamedTuple):
    """Which event of which instance a resume token stands for."""

    instance: str
    event: str

    def __str__(self) -> str:
        return f"{self.event}@{self.instance}"


def token_of(text: str) -> Token:
    """A token as it was handed out. Raises InvalidArgument."""
    event, sign, instance = text.partition("@")
    if not sign or not instance or not event.startswith(EVENT_PREFIX):
        raise InvalidArgument(f"{text[:200]!r} is no token of a wait; give it as `ask` was given it")
    return Token(instance, event)


class EventWaiter(ExternalEventWaiter):
    """Waits in the workflow for an external event of its own, so it outlives the process and holds nothing."""

    def __init__(self, agent: str) -> None:
        self._agent = agent

    async def wait(
        self, name: str, *, ask: Callable[[str], Awaitable[JsonValue]], timeout: timedelta | None
    ) -> JsonValue:
        token = Token(workflow_context().instance_id, f"{EVENT_PREFIX}{perdure.uuid4().hex}")
        answer: JsonValue = await step(f"{self._agent}__ask:{name}", partial(ask, str(token)), kind="ask")
        if answer is not None:
            return answer
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
                answered = await heard(token.event, Resolved)
        except TimeoutError:
            raise ExternalEventError(f"{name!r} was not resolved within {timeout}") from None
        if answered.failure is not None:
            raise ExternalEventError(answered.failure)
        value: JsonValue = answered.value
        return value


async def resolve(client: Client, token: str, value: JsonValue = None) -> None:
    """Let the run go on that handed the token out, with this value. Raises InvalidArgument, InstanceNotFound."""
    await _answer(client, token, Resolved(value=value))


async def fail(client: Client, token: str, reason: str) -> None:
    """Tell the run that handed the token out that there will be no value. Raises InvalidArgument, InstanceNotFound."""
    await _answer(client, token, Resolved(failure=reason))


async def _answer(client: Client, token: str, answer: Resolved) -> None:
    instance, event = token_of(token)
    await client.get(instance).raise_event(event, answer)
