"""Publishing a message: with the turn of a workflow, with the outcome of an attempt or handler, or at once."""

from __future__ import annotations

import builtins
import contextvars
from collections.abc import Generator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from perdure.clock import SECOND, SystemClock
from perdure.codec import Payload, Writer
from perdure.errors import InvalidArgument, OnlyInWorkflow, PayloadTooLarge
from perdure.history.actions import PublishMessage
from perdure.history.entities import hashed
from perdure.history.events import MessagePublished
from perdure.history.topics import message_of
from perdure.sdk.cloud_event import BYTES, payload_of
from perdure.sdk.options import checked_name, checked_seconds, checked_text
from perdure.sdk.run import Run, calling_line, current_run

if TYPE_CHECKING:
    from perdure.sdk.client import Client

TOPIC_CHARS_MAX = 200
"""Bound of the name of a topic."""
KEY_CHARS_MAX = 1_000
"""Bound of a message's id, source, key and type, each."""
MESSAGE_BYTES_MAX = 1024 * 1024
"""Bound of the data and extension attributes of one message; put larger data elsewhere and publish its address."""
EXTENSIONS_MAX = 64
"""Extension attributes of one message."""
OUTBOX_MAX = 1_000
"""Messages that one attempt or handler publishes."""


class Outbox:
    """What an attempt or a handler publishes while it runs, sent with its outcome or not at all."""

    __slots__ = ("_is_closed", "_writer", "messages")

    def __init__(self, writer: Writer) -> None:
        self._is_closed = False
        self._writer = writer
        self.messages: list[PublishMessage] = []

    def close(self) -> None:
        """Nothing more goes out with the outcome, because there is one."""
        self._is_closed = True

    def add(self, message: PublishMessage) -> None:
        if self._is_closed:
            raise InvalidArgument(f"what publishes to {message.topic!r} goes on after its attempt has ended; await it")
        if len(self.messages) == OUTBOX_MAX:
            raise InvalidArgument(f"one attempt publishes {OUTBOX_MAX:,} messages at most; publish from several")
        self.messages.append(message)

    @property
    def writer(self) -> Writer:
        return self._writer


OUTBOX: contextvars.ContextVar[Outbox] = contextvars.ContextVar("perdure_outbox")


class Publication:
    """A message that is on its way: it goes out with the turn, whether it is awaited or not. Awaiting gives its id."""

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id = id

    def __await__(self) -> Generator[Any, None, str]:
        yield from ()  # because `await` wants a generator
        return self.id

    def __repr__(self) -> str:
        return f"<publication {self.id or 'under an id of its turn'}>"


def publish(
    topic: str,
    data: Any = None,
    *,
    key: str | None = None,
    id: str | None = None,
    type: str = "perdure.message",
    source: str | None = None,
    ttl: float | timedelta | None = None,
    extensions: Mapping[str, str] | None = None,
) -> Publication:
    """Publish a message from a workflow, an activity or a handler: `await publish("orders", order, key=order.id)`.

    In a workflow it is sent with the commit of the turn; in an activity with the turn that takes the attempt's result,
    and never if that attempt fails or its result is lost; in a handler when the message in hand is done. So it is
    published once for each of these. Messages of one `key` stay in order. The same `source` and `id` again are the same
    event. After `ttl` seconds nobody needs it. A plain `def` writes it without `await`.

    Raises OnlyInWorkflow elsewhere: there `await client.publish(...)` publishes at once.
    """
    run = current_run()
    if run is not None:
        return _record(run, message(topic, _payload(run, data), key, id, type, source, ttl, extensions, run.now))
    outbox = OUTBOX.get(None)
    if outbox is None:
        raise OnlyInWorkflow(
            "publish works in a workflow, an activity that a workflow called, or a handler of a topic; "
            "elsewhere write `await client.publish(...)`"
        )
    asked = message(topic, _payload(outbox.writer, data), key, id, type, source, ttl, extensions, SystemClock().now())
    outbox.add(asked)
    return Publication(asked.id)


def _record(run: Run, asked: PublishMessage) -> Publication:
    number = run.next_number()
    identity = run.identity
    id = asked.id or hashed(f"{identity.execution}.{identity.generation}.{number}")
    run.record(replace(asked, id=id, number=number, line=calling_line()))
    return Publication(id)


def at_once(
    client: Client,
    topic: str,
    data: Any,
    key: str | None,
    id: str | None,
    type: str,
    source: str | None,
    ttl: float | timedelta | None,
    extensions: Mapping[str, str] | None,
) -> MessagePublished:
    """The message that a client publishes."""
    now = client.now()
    asked = message(topic, _payload(client.writer, data), key, id, type, source, ttl, extensions, now)
    return message_of(asked, now, source="client", id=client.fresh_key())


def message(
    topic: str,
    data: Payload,
    key: str | None,
    id: str | None,
    type: str,
    source: str | None,
    ttl: float | timedelta | None,
    extensions: Mapping[str, str] | None,
    now: int,
) -> PublishMessage:
    """What is asked for, checked. Raises InvalidArgument, PayloadTooLarge."""
    if extensions is not None and not isinstance(extensions, Mapping):
        raise InvalidArgument(f"extensions are texts by name, not {builtins.type(extensions).__name__}")
    asked = PublishMessage(
        topic=topic,
        id=id or "",
        data=data,
        content_type="application/octet-stream" if data.encoding == BYTES else "application/json",
        key=key,
        source=source or "",
        kind=type,
        expires=None if ttl is None else now + round(checked_seconds("ttl", ttl) * SECOND),
        extensions=dict(extensions) if extensions else None,
    )
    return checked_message(asked)


M = TypeVar("M", PublishMessage, MessagePublished)


def checked_message(message: M) -> M:
    """A message that a topic can take. Raises InvalidArgument, PayloadTooLarge."""
    checked_topic(message.topic)
    _check_extensions(message.extensions)
    size = memoryview(message.data.data).nbytes if message.data is not None else 0
    size += sum(len(name) + len(value.encode()) for name, value in (message.extensions or {}).items())
    if size > MESSAGE_BYTES_MAX:
        raise PayloadTooLarge(
            f"a message for {message.topic!r} has {size:,} bytes and the bound is {MESSAGE_BYTES_MAX:,}; "
            "put the data elsewhere and publish its address"
        )
    if message.key is not None:
        _checked_text("a message's key", message.key)
    if message.id or isinstance(message, MessagePublished):
        _checked_text("a message's id", message.id)
    if message.source:
        _checked_text("a message's source", message.source)
    _checked_text("a message's type", message.kind)
    return message


def checked_topic(topic: str) -> str:
    """A topic's name: 1 to TOPIC_CHARS_MAX printable characters."""
    checked_name(topic, "a topic's name")
    if len(topic) > TOPIC_CHARS_MAX:
        raise InvalidArgument(f"the topic {topic[:40]!r}... has {len(topic)} characters; at most {TOPIC_CHARS_MAX}")
    return topic


def _payload(writer: Writer | Run, data: Any) -> Payload:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return payload_of(bytes(data), "application/octet-stream")
    return writer.encode(data)


def _checked_text(what: str, text: str) -> None:
    checked_text(what, text)
    if len(text) > KEY_CHARS_MAX or not text:
        raise InvalidArgument(f"{what} has 1 to {KEY_CHARS_MAX:,} characters; {text[:40]!r} has {len(text):,}")


def _check_extensions(extensions: Mapping[str, str] | None) -> None:
    if not extensions:
        return
    if len(extensions) > EXTENSIONS_MAX:
        raise InvalidArgument(f"a message has {EXTENSIONS_MAX} extension attributes at most, not {len(extensions)}")
    for name, value in extensions.items():
        _checked_text("the name of an extension attribute", name)
        checked_text(f"the extension attribute {name!r}", value)
