"""What a run shows to those who look: under which names, and in which form."""

from __future__ import annotations

import msgspec

from perdure.codec import Payload

encode_payload = msgspec.json.Encoder().encode
"""One payload as JSON bytes."""
_decoder = msgspec.json.Decoder(Payload)


def state_name(name: str) -> str:
    """Where a state that code set under `name` is published."""
    return f"state:{name}"


def answer_name(key: str) -> str:
    """Where the answer to the update `key` is published."""
    return f"answer:{key}"


def decode_payload(data: bytes) -> Payload:
    """Raises ValueError if the bytes are no payload."""
    return _decoder.decode(data)
