"""Options of calls and starts: what their authors write, checked, and in the form that the engine keeps."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta

import msgspec

from perdure.clock import to_microseconds
from perdure.codec import PAYLOAD_BYTES_MAX
from perdure.errors import InvalidArgument, PayloadTooLarge
from perdure.history.options import NO_OPTIONS, CallOptions, Place, RetryPolicy
from perdure.history.work import StartOptions

ID_BYTES_MAX = 1_024
DEFAULTS = StartOptions()
"""Of a start of which nothing is said."""
DEBOUNCES_MAX = 10
"""How many times its quiet time a debounced start is put off at most, unless debounce_max says otherwise."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NAME_CHARACTERS_MAX = 256
LARGEST = sys.float_info.max


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and when a failed attempt is made again. Times in seconds.

    `max_attempts` counts the first one; None retries without end. The delay before attempt n + 1 is
    `initial_interval * backoff ** (n - 1)`, at most `max_interval`, spread by plus or minus the share `jitter`.
    `total_timeout` bounds the time from scheduling to the start of the last attempt. `non_retryable` are exception
    classes or their names.
    """

    max_attempts: int | None = None
    initial_interval: float = 1.0
    backoff: float = 2.0
    max_interval: float | None = None
    jitter: float = 0.0
    total_timeout: float | None = None
    non_retryable: tuple[str | type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            checked_count("max_attempts", self.max_attempts, 1)  # because it counts the first attempt
        for name, least, most in (("initial_interval", 0.0, None), ("backoff", 1.0, None), ("jitter", 0.0, 1.0)):
            checked_number(name, getattr(self, name), least, most)
        for name in ("max_interval", "total_timeout"):
            if getattr(self, name) is not None:
                checked_number(name, getattr(self, name), 0.0)
        kinds = self.non_retryable
        if not isinstance(kinds, (tuple, list)) or not all(_is_error_kind(kind) for kind in kinds):
            raise InvalidArgument(f"non_retryable is {kinds!r}; give a tuple of exception classes or their names")

    def policy(self) -> RetryPolicy:
        names = tuple(kind if isinstance(kind, str) else kind.__name__ for kind in self.non_retryable)
        return RetryPolicy(
            max_attempts=self.max_attempts,
            initial_interval=self.initial_interval,
            backoff=self.backoff,
            max_interval=self.max_interval,
            jitter=self.jitter,
            total_timeout=self.total_timeout,
            non_retryable=names,
        )


def call_options(
    retry: Retry | None,
    timeout: float | timedelta | None,
    heartbeat_timeout: float | timedelta | None,
    base: CallOptions = NO_OPTIONS,
    place: Place | None = None,
) -> CallOptions:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidArgument(f"retry is a {type(retry).__name__}; write retry=Retry(max_attempts=...)")
    options = CallOptions(
        retry=retry.policy() if retry is not None else base.retry,
        timeout=checked_seconds("timeout", timeout) if timeout is not None else base.timeout,
        heartbeat_timeout=checked_seconds("heartbeat_timeout", heartbeat_timeout)
        if heartbeat_timeout is not None
        else base.heartbeat_timeout,
        place=place or base.place,
    )
    return NO_OPTIONS if options == NO_OPTIONS else options


def start_options(
    id: str | None,
    at: datetime | None,
    tags: dict[str, str] | None,
    app_id: str | None,
    if_exists: str | None,
    run_timeout: float | timedelta | None,
    place: Place | None = None,
    dedup_key: str | None = None,
    dedup_window: float | timedelta | None = None,
    debounce: float | timedelta | None = None,
    debounce_max: float | timedelta | None = None,
    base: StartOptions = DEFAULTS,
) -> StartOptions:
    """The options of a start, checked; None keeps what `base` says."""
    if id is not None:
        checked_id(id)
    if app_id is not None:
        checked_name(app_id, "app_id")
    if if_exists not in (None, "raise", "return"):
        raise InvalidArgument(f"if_exists is {if_exists!r}; it is 'raise' or 'return'")
    if at is not None:
        checked_moment("at", at)
    if tags is not None:
        checked_tags(tags)
    quiet = _micros("debounce", debounce)
    given = {
        "id": id,
        "at": to_microseconds(at) if at is not None else None,
        "app_id": app_id,
        "if_exists": if_exists,
        "run_timeout": _micros("run_timeout", run_timeout),
        "place": place,
        "dedup_key": dedup_key,
        "dedup_window": _micros("dedup_window", dedup_window),
        "debounce": quiet,
        "debounce_max": _micros("debounce_max", debounce_max) or (DEBOUNCES_MAX * quiet if quiet is not None else None),
    }
    options = msgspec.structs.replace(base, **{name: value for name, value in given.items() if value is not None})
    if tags is not None:
        options = msgspec.structs.replace(options, tags=dict(tags) or None)
    _check_dedup(options, has_window=dedup_window is not None or bool(options.dedup_window))
    return options


def _micros(what: str, duration: float | timedelta | None) -> int | None:
    return None if duration is None else round(checked_seconds(what, duration) * 1_000_000)


def _check_dedup(options: StartOptions, *, has_window: bool) -> None:
    """Raise what makes the options of a start that may be none contradict each other."""
    has_debounce = options.debounce is not None
    if not (options.dedup_key is not None or has_window or has_debounce or options.debounce_max):
        return
    if options.dedup_key is None:
        raise InvalidArgument("give dedup_key too: it says which starts are the same")
    checked_name(options.dedup_key, "dedup_key")
    if has_window == has_debounce:
        raise InvalidArgument("give dedup_window or debounce with dedup_key, one of them")
    if options.debounce_max and not has_debounce:
        raise InvalidArgument("debounce_max bounds what debounce delays; give debounce too")
    if options.id is not None:
        raise InvalidArgument("an id and a dedup_key exclude each other; with an id, if_exists='return' does the same")
    if options.at is not None and has_debounce:
        raise InvalidArgument("at and debounce exclude each other: both say when to begin")


def checked_id(id: str) -> str:
    """An instance id that can be stored and shown: 1 to 1,024 bytes of UTF-8 without control characters."""
    if not isinstance(id, str):
        raise InvalidArgument(f"an instance id is text, not {type(id).__name__}")
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"instance id {id[:40]!r} holds half a surrogate pair; give valid Unicode") from None
    if not 1 <= size <= ID_BYTES_MAX:
        raise InvalidArgument(f"an instance id has 1 to {ID_BYTES_MAX} bytes; {id[:40]!r}... has {size:,}")
    if _CONTROL.search(id):
        raise InvalidArgument(f"instance id {id[:40]!r} holds control characters; use printable ones")
    return id


def checked_name(name: str, what: str = "name") -> str:
    """A name of code, an app or an event: 1 to 256 printable characters."""
    checked_text(what, name)
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidArgument(f"{what} {name[:40]!r} must be 1 to {NAME_CHARACTERS_MAX} printable characters")
    return name


def checked_text(what: str, value: str) -> str:
    """Text that can be stored."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} is text, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} {value[:40]!r} holds half a surrogate pair; give valid Unicode") from None
    if size > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(f"{what} takes {size:,} bytes and the bound is {PAYLOAD_BYTES_MAX:,}; shorten it")
    return value


def checked_count(what: str, value: int, least: int) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgument(f"{what} is {value!r}; give a whole number, {least} or more")
    return value


def checked_number(what: str, value: float, least: float, most: float | None = None) -> float:
    """A finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= LARGEST:
        raise InvalidArgument(f"{what} is {value!r}; give a number, {least:g} or more")
    if most is not None and value > most:
        raise InvalidArgument(f"{what} is {value!r}; give a number from {least:g} to {most:g}")
    return value


def checked_moment(what: str, value: datetime, wanted: str = "a datetime, best one with a time zone") -> datetime:
    """A point in time; a naive one means UTC."""
    if not isinstance(value, datetime):
        raise InvalidArgument(f"{what} is a {type(value).__name__}; give {wanted}")
    return value


def checked_tags(tags: dict[str, str]) -> dict[str, str]:
    """A mapping of text to text."""
    if not isinstance(tags, dict):
        raise InvalidArgument(f"tags are a dict of text to text, not a {type(tags).__name__}")
    for key, value in tags.items():
        checked_text("a key of tags", key)
        checked_text(f"the value of tags[{key!r}]", value)
    return tags


def checked_flag(what: str, value: bool | None) -> bool | None:
    """The value, if it is True, False or left out. Raises InvalidArgument."""
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"{what} is {value!r}; give True or False")
    return value


def checked_seconds(what: str, value: float | timedelta) -> float:
    """A duration above 0, in seconds."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds <= LARGEST:
        raise InvalidArgument(f"{what} is {value!r}; give seconds above 0, or a timedelta")
    return float(seconds)


def _is_error_kind(kind: object) -> bool:
    return isinstance(kind, str) or (isinstance(kind, type) and issubclass(kind, BaseException))
