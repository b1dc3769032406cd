"""A program that is sent its events over HTTP, as Dapr's extensions for web frameworks take them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from perdure.blocks.pubsub import Message, Verdict
from perdure.errors import ServerUnavailable
from perdure.remote.cloudevents import MEDIA_TYPE
from perdure.remote.pubsub.declared import Declared, of_program
from perdure.remote.pubsub.port import ANSWER_SECONDS, BULK_TYPE, Bulk, Event, trace_of

log = logging.getLogger("perdure")
SUBSCRIBE = "/dapr/subscribe"
GONE = 404
"""A program that has no such path does not take the event."""
_encode = msgspec.json.Encoder().encode


class Answer(Protocol):
    """What a program answered."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def is_success(self) -> bool: ...


class Asking(Protocol):
    """Requests to a program. Raises ServerUnavailable if it gives no answer."""

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, timeout: float
    ) -> Answer: ...


class _Said(msgspec.Struct):
    status: str = ""


class _SaidOfOne(msgspec.Struct, rename="camel"):
    entry_id: str
    status: str = ""


class _SaidOfAll(msgspec.Struct):
    statuses: list[_SaidOfOne] = []


_said = msgspec.json.Decoder(_Said).decode
_said_of_all = msgspec.json.Decoder(_SaidOfAll).decode


class HttpProgram:
    """Fulfils Program."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def subscriptions(self) -> list[Declared]:
        """Raises InvalidArgument, and ServerUnavailable if it does not listen."""
        answer = await self._asking.request("GET", SUBSCRIBE, timeout=ANSWER_SECONDS)
        if not answer.is_success and answer.status != GONE:
            raise ServerUnavailable(f"the program answers {answer.status} to {SUBSCRIBE}; is it starting?")
        return of_program(answer.body) if answer.is_success else []

    async def deliver(self, path: str, event: Event, declared: Declared) -> Verdict:
        """Raises ServerUnavailable."""
        headers = {"content-type": MEDIA_TYPE, **trace_of(event.message)}
        return verdict_of(await self._post(path, event.json, headers), event.message)

    async def deliver_all(self, path: str, bulk: Bulk, declared: Declared) -> Mapping[str, Verdict]:
        """Raises ServerUnavailable."""
        answer = await self._post(path, _body(bulk, declared), {"content-type": "application/json"})
        try:
            said = _said_of_all(answer.body).statuses if answer.is_success else []
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = []  # because nothing is said of any of them, and all come again
        return {one.entry_id: named(one.status) for one in said}

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        target = path if path.startswith("/") else f"/{path}"
        return await self._asking.request("POST", target, body, headers, timeout=ANSWER_SECONDS)

    def __repr__(self) -> str:
        return f"<HttpProgram {self._asking!r}>"


def verdict_of(answer: Answer, message: Message) -> Verdict:
    """Success unless the body says otherwise; what is not understood comes again, and a missing path drops it."""
    if not answer.is_success:
        verdict = Verdict.DROP if answer.status == GONE else Verdict.RETRY
        log.warning("the program answers %d to message %s of %s", answer.status, message.id, message.topic)
        return verdict
    try:
        status = _said(answer.body).status if answer.body.strip() else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Verdict.SUCCESS  # because many programs answer something else, as Dapr lets them
    return named(status)


def named(status: str) -> Verdict:
    """The verdict of a word; without one it is success, and another word means that it comes again."""
    if not status:
        return Verdict.SUCCESS
    return Verdict(status) if status in Verdict.__members__ else Verdict.RETRY


def _body(bulk: Bulk, declared: Declared) -> bytes:
    entries = [
        {"entryId": one.id, "event": msgspec.Raw(one.json), "contentType": MEDIA_TYPE, "metadata": {}}
        for one in bulk.events
    ]
    return _encode(
        {
            "id": bulk.id,
            "entries": entries,
            "metadata": dict(declared.metadata),
            "topic": declared.topic,
            "pubsubname": declared.pubsub,
            "type": BULK_TYPE,
        }
    )
