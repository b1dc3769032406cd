"""The stream on which a worker is given messages of topics: what each end says, and how it is written."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from perdure.errors import MalformedMessage
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled
from perdure.remote.native.calls import WORKER

RECEIVE = f"/{WORKER}/Receive"
OPENED = b""
"""What the server says first: messages come from now on."""


class Receiving(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group of a topic whose code a worker has, and how many messages at the same time."""

    topic: str
    group: str
    in_hand_max: int


class Opening(msgspec.Struct, frozen=True, tag="opening"):
    """What a worker says first."""

    groups: list[Receiving]


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """What it made of a message."""

    id: int
    handled: Handled


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """It takes no more messages, and answers what it has."""


Said = Opening | Answered | Leaving


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message for a group, under a number of this stream; `attempt` counts from 1."""

    id: int
    group: str
    attempt: int
    message: MessagePublished


T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)
_given = msgspec.json.Decoder(Given)


def write(frame: Said | Given) -> bytes:
    """The bytes of either end's frame."""
    return _encode(frame)


def read_said(data: bytes) -> Said:
    """Raises MalformedMessage."""
    return _read(_said, data)


def read_given(data: bytes) -> Given:
    """Raises MalformedMessage."""
    return _read(_given, data)


def _read(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"a frame of {RECEIVE} cannot be read: {error}") from None
