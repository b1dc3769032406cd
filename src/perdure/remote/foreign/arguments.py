"""How arguments travel where a payload is text alone: other languages read one value, Perdure's own read all."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from perdure.codec import ARGUMENTS, JSON, Payload

MARK = "perdure:arguments"
"""The one key of a JSON object that holds a call's arguments when they are not exactly one positional."""


class _Marked(msgspec.Struct, forbid_unknown_fields=True):
    arguments: Raw = msgspec.field(name=MARK)


_read = msgspec.json.Decoder(_Marked)
_write = msgspec.json.Encoder().encode


def outward(payload: Payload | None) -> Payload | None:
    """The input of a call as other workers may read it."""
    if payload is None or payload.encoding != ARGUMENTS:
        return payload
    return Payload(JSON, None, Raw(_write(_Marked(payload.data))))


def inward(payload: Payload | None) -> Payload | None:
    """The input of a call again."""
    if payload is None or payload.encoding != JSON or MARK.encode() not in bytes(payload.data)[: len(MARK) + 4]:
        return payload
    try:
        return Payload(ARGUMENTS, None, _read.decode(payload.data).arguments)
    except msgspec.MsgspecError:
        return payload  # because somebody's own data may look like it
