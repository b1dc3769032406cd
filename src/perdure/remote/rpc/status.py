"""What a caller is told when a call fails: a status of gRPC's, and a sentence; never a stack."""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import NamedTuple

from perdure.errors import (
    ActorFailed,
    ActorReentered,
    EtagMismatch,
    EventNotRerunnable,
    InstanceExists,
    InstanceFinished,
    InstanceNotFinished,
    InstanceNotFound,
    MailboxFull,
    ModelUnavailable,
    NotAuthenticated,
    NotOpen,
    NotPermitted,
    PerdureError,
    PubsubNotFound,
    ServerUnavailable,
    StateStoreNotFound,
    StoreError,
    ToolServerUnavailable,
    UsageError,
)

log = logging.getLogger("perdure")


class Status(IntEnum):
    """The numbers of gRPC's status codes."""

    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Refusal(NamedTuple):
    status: Status
    text: str


_STATUS: tuple[tuple[type[Exception], Status], ...] = (
    (NotAuthenticated, Status.UNAUTHENTICATED),
    (NotPermitted, Status.PERMISSION_DENIED),
    (InstanceNotFound, Status.NOT_FOUND),
    (InstanceExists, Status.ALREADY_EXISTS),
    (ActorFailed, Status.INTERNAL),  # because that is what Dapr's SDKs hear of a method that raised
    (ActorReentered, Status.FAILED_PRECONDITION),
    (InstanceNotFinished, Status.FAILED_PRECONDITION),
    (InstanceFinished, Status.FAILED_PRECONDITION),
    (EventNotRerunnable, Status.NOT_FOUND),
    (MailboxFull, Status.UNAVAILABLE),  # because RESOURCE_EXHAUSTED tells a worker that its message was too large
    (EtagMismatch, Status.ABORTED),
    (StateStoreNotFound, Status.INVALID_ARGUMENT),
    (NotOpen, Status.UNAVAILABLE),
    (ServerUnavailable, Status.UNAVAILABLE),
    (ToolServerUnavailable, Status.UNAVAILABLE),
    (ModelUnavailable, Status.UNAVAILABLE),
    (UsageError, Status.INVALID_ARGUMENT),
    (PubsubNotFound, Status.INVALID_ARGUMENT),  # as Dapr has it
    (StoreError, Status.UNAVAILABLE),
    (TimeoutError, Status.DEADLINE_EXCEEDED),
)
"""The first that fits."""


def refusal_of(error: Exception, call: str) -> Refusal:
    """What the caller is told of an error. One that nobody foresaw is logged, and not told."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Refusal(status, _text(error))
    if isinstance(error, PerdureError):
        return Refusal(Status.FAILED_PRECONDITION, _text(error))
    log.error("the call %s failed", call, exc_info=error)
    return Refusal(Status.INTERNAL, "the server failed at this call; its log has the error")


def _text(error: Exception) -> str:
    # because SDKs look for these words
    known = "no such instance exists: " if isinstance(error, InstanceNotFound) else ""
    return f"{known}{error}"
