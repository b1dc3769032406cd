"""What a call was asked to be: retries and bounds, kept with it so that the engine can honour them alone."""
# without `annotations` from `__future__`, as `events` says

import msgspec

from perdure.codec import Example


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


class Trace(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """W3C trace context, carried and never read."""

    parent: str = ""
    span: str = ""
    state: str | None = None


class Label(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a remote SDK gave with an activity call, handed on with each attempt. `key` is its own idempotency key.

    `run_version` is that of the run, by which a worker is chosen for a call that names no `version`; `propagation`
    tells how much of the run's history the call hands on.
    """

    version: str | None = None
    tags: dict[str, str] | None = None
    key: str | None = None
    trace: Trace | None = None
    run_version: str | None = None
    propagation: int | None = None


class CallOptions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the engine must know of an activity call to run its attempts. Times in seconds. `app` is that of a child."""

    retry: RetryPolicy | None = None
    timeout: float | None = None
    heartbeat_timeout: float | None = None
    place: Place | None = None
    label: Label | None = None
    app: str | None = None


NO_OPTIONS = CallOptions()
NO_LABEL = Label()

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CallOptions)
_example_decoder = msgspec.json.Decoder(Example)


def labelled(options: CallOptions | None, label: Label) -> CallOptions | None:
    """The options of a call with what came beside them, if anything did."""
    if label == NO_LABEL:
        return options
    return msgspec.structs.replace(options or NO_OPTIONS, label=label)


def encode_options(options: CallOptions | None) -> bytes | None:
    """The options as JSON, for the wait's row."""
    return None if options is None else _encoder.encode(options)


def decode_options(data: bytes | None) -> CallOptions:
    """The options of a wait's row."""
    return NO_OPTIONS if data is None else _decoder.decode(data)


def encode_example(example: Example | None) -> bytes | None:
    """What the data of an event looks like as JSON, for the row of a wait for it."""
    return None if example is None else _encoder.encode(example)


def example_in(data: bytes | None) -> Example | None:
    """What the data of an event looks like by the row of a wait for it."""
    return None if data is None else _example_decoder.decode(data)


def app_of(data: bytes | None) -> str | None:
    """The app of a child by its wait's row, None for the parent's."""
    return decode_options(data).app


def place_of(data: bytes | None) -> Place | None:
    """The place in a queue that is written in a wait's row, None if it is in none."""
    return decode_options(data).place
