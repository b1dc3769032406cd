"""Options of calls and starts: what their authors write, checked, and in the form that the engine keeps."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from perdure.clock import to_microseconds
from perdure.errors import InvalidArgument
from perdure.history.actions import NO_OPTIONS, CallOptions, RetryPolicy
from perdure.history.work import StartOptions

ID_BYTES_MAX = 1_024
NAME_CHARACTERS_MAX = 256


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
        if self.max_attempts is not None and self.max_attempts < 1:
            raise InvalidArgument(f"max_attempts is {self.max_attempts}; it counts the first attempt, so give 1 or more")
        if not 0 <= self.initial_interval < float("inf") or self.backoff < 1 or not 0 <= self.jitter <= 1:
            raise InvalidArgument("Retry needs initial_interval >= 0, backoff >= 1 and 0 <= jitter <= 1")
        for name in ("max_interval", "total_timeout"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidArgument(f"{name} is {value}; give seconds, 0 or more, or None for no bound")

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
) -> CallOptions:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidArgument(f"retry is a {type(retry).__name__}; write retry=Retry(max_attempts=...)")
    options = CallOptions(
        retry=retry.policy() if retry is not None else base.retry,
        timeout=_seconds("timeout", timeout) if timeout is not None else base.timeout,
        heartbeat_timeout=_seconds("heartbeat_timeout", heartbeat_timeout)
        if heartbeat_timeout is not None
        else base.heartbeat_timeout,
    )
    return NO_OPTIONS if options == NO_OPTIONS else options


def start_options(
    id: str | None,
    at: datetime | None,
    tags: dict[str, str] | None,
    app_id: str | None,
    if_exists: str,
    run_timeout: float | timedelta | None,
) -> StartOptions:
    if id is not None:
        checked_id(id)
    if if_exists not in ("raise", "return"):
        raise InvalidArgument(f"if_exists is {if_exists!r}; it is 'raise' or 'return'")
    if at is not None and not isinstance(at, datetime):
        raise InvalidArgument(f"at is a {type(at).__name__}; give a datetime, best one with a time zone")
    if tags is not None and not all(isinstance(k, str) and isinstance(v, str) for k, v in tags.items()):
        raise InvalidArgument("tags map text to text")
    return StartOptions(
        id=id,
        at=to_microseconds(at) if at is not None else None,
        tags=dict(tags) if tags else None,
        app_id=app_id,
        if_exists=if_exists,
        run_timeout=round(_seconds("run_timeout", run_timeout) * 1_000_000) if run_timeout is not None else None,
    )


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
    if any(ord(character) < 32 or ord(character) == 127 for character in id):
        raise InvalidArgument(f"instance id {id[:40]!r} holds control characters; use printable ones")
    return id


def checked_name(name: str) -> str:
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidArgument(f"name {name[:40]!r} must be 1 to {NAME_CHARACTERS_MAX} printable characters")
    return name


def _seconds(name: str, value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise InvalidArgument(f"{name} is {value!r}; give seconds above 0, or a timedelta")
    return float(seconds)
