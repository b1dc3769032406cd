"""What a call was asked to be: retries and bounds, kept with it so that the engine can honour them alone."""

from __future__ import annotations

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How often and when a failed attempt is made again. Times in seconds; None: no bound."""

    max_attempts: int | None = None
    initial_interval: float = 1.0
    backoff: float = 2.0
    max_interval: float | None = None
    jitter: float = 0.0
    total_timeout: float | None = None
    non_retryable: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How much of a queue may run at once, in all and for each key, and how many may start within `per` microseconds.

    None: no bound.
    """

    concurrency: int | None = None
    per_key: int | None = None
    rate: int | None = None
    per: int = 0


class Place(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a call or a run waits for a slot: the queue with its limits as the author of the call knows them, for whom
    (`key`), and how urgently: a higher `priority` goes first."""

    queue: str
    limits: Limits
    key: str = ""
    priority: int = 0


class CallOptions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the engine must know of an activity call to run its attempts. Times in seconds."""

    retry: RetryPolicy | None = None
    timeout: float | None = None
    heartbeat_timeout: float | None = None
    place: Place | None = None


NO_OPTIONS = CallOptions()

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CallOptions)


def encode_options(options: CallOptions | None) -> bytes | None:
    """The options as JSON, for the wait's row."""
    return None if options is None else _encoder.encode(options)


def decode_options(data: bytes | None) -> CallOptions:
    """The options of a wait's row."""
    return NO_OPTIONS if data is None else _decoder.decode(data)


def place_of(data: bytes | None) -> Place | None:
    """The place in a queue that is written in a wait's row, None if it is in none."""
    return decode_options(data).place
