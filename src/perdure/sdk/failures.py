"""Exceptions to failures and back: how an error crosses the durable boundary."""

from __future__ import annotations

import traceback

from perdure.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    ChildWorkflowFailed,
    OutcomeError,
    RemoteError,
    UpdateFailed,
    UpdateRefused,
)
from perdure.history.events import Failure

STACK_CHARACTERS_MAX = 8_000
MESSAGE_CHARACTERS_MAX = 8_000
CAUSES_MAX = 16


def to_failure(error: BaseException, depth: int = 0) -> Failure:
    """Type name, message, traceback and chain of causes of an exception, as text."""
    cause = error.__cause__ or _first_of_group(error) or (None if error.__suppress_context__ else error.__context__)
    return Failure(
        type=_storable(type_of(error)),
        message=_storable(_message(error))[:MESSAGE_CHARACTERS_MAX],
        stack=_stack(error),
        cause=to_failure(cause, depth + 1) if cause is not None and depth < CAUSES_MAX else None,
        non_retryable=isinstance(error, ApplicationError) and not error.retryable,
    )


def _first_of_group(error: BaseException) -> BaseException | None:
    """The first member of an exception group, because the group itself says nothing of what went wrong."""
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None


def type_of(error: BaseException) -> str:
    """The type name that retry policies and remote SDKs compare: the class's own name, or the one it carries."""
    if isinstance(error, (ApplicationError, RemoteError)):
        return error.type
    return type(error).__name__


def to_exception(failure: Failure) -> RemoteError:
    """The exception for a failure, with its causes as `__cause__`."""
    error = RemoteError(failure.type, failure.message, failure.stack or "")
    if failure.cause is not None:
        error.__cause__ = to_exception(failure.cause)
    return error


def activity_error(name: str, failure: Failure, attempt: int, timed_out: bool) -> ActivityFailed:
    kind = ActivityTimedOut if timed_out else ActivityFailed
    error = kind(
        f"activity {name} failed on attempt {attempt}: {failure.type}: {failure.message}", failure.type, attempt
    )
    error.__cause__ = to_exception(failure)
    return error


def child_error(name: str, instance: str, failure: Failure) -> ChildWorkflowFailed:
    which = f"{name} ({instance})" if instance else name  # because the engine has named it, unless the caller has
    error = ChildWorkflowFailed(
        f"child workflow {which} failed: {failure.type}: {failure.message}", failure.type, instance
    )
    error.__cause__ = to_exception(failure)
    return error


def update_error(name: str, failure: Failure, refused: bool) -> UpdateRefused | UpdateFailed:
    kind, how = (UpdateRefused, "was refused") if refused else (UpdateFailed, "failed")
    error = kind(f"update {name} {how}: {failure.type}: {failure.message}")
    error.__cause__ = to_exception(failure)
    return error


def _message(error: BaseException) -> str:
    if isinstance(error, RemoteError):
        return error.message
    if isinstance(error, OutcomeError):
        return Exception.__str__(error)
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 because code that cannot say why it failed has failed all the same
        return f"({type(error).__name__} has no text: its __str__ raised {type(broken).__name__})"


def _stack(error: BaseException) -> str | None:
    if isinstance(error, RemoteError):
        return error.stack or None
    lines = traceback.format_tb(error.__traceback__)
    return _storable("".join(lines))[-STACK_CHARACTERS_MAX:] or None


def _storable(text: str) -> str:
    """Text whose lone surrogates (names of files bring them) are escaped: a store takes valid Unicode alone."""
    return text.encode("utf-8", "backslashreplace").decode()
