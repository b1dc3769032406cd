"""What a client is told when a request fails: the status, the error code and the sentence of every error."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from perdure.errors import (
    BlobsUnavailable,
    EtagMismatch,
    Fenced,
    InstanceError,
    InstanceExists,
    InstanceNotFound,
    MailboxFull,
    NotAuthenticated,
    NotDecodable,
    NotOpen,
    NotPermitted,
    PayloadTooLarge,
    PerdureError,
    PubsubNotFound,
    StateStoreNotFound,
    StoreFull,
    StoreOwned,
    StoreUnavailable,
    UsageError,
)

API_UNKNOWN = "ERR_API_UNIMPLEMENTED"
BAD_REQUEST = "ERR_BAD_REQUEST"
BODY_UNREAD = "ERR_BODY_READ"
INTERNAL = "ERR_INTERNAL"
INSTANCE_UNKNOWN = "ERR_INSTANCE_ID_NOT_FOUND"
STATE_STORE_UNKNOWN = "ERR_STATE_STORE_NOT_FOUND"
PUBSUB_UNKNOWN = "ERR_PUBSUB_NOT_FOUND"
MALFORMED = "ERR_MALFORMED_REQUEST"
FORBIDDEN = "ERR_PERMISSION_DENIED"
TOKEN_WRONG = "ERR_API_TOKEN_INVALID"  # noqa: S105 because it is the name of an error
SERVER_ERRORS = 500
"""From this status on it is the server's fault: the client hears our sentence, the log the error's own."""

log = logging.getLogger("perdure")


class Fault(msgspec.Struct, frozen=True):
    """The answer to a request that failed."""

    status: int
    code: str
    message: str


class Refused(Exception):
    """Ends a request with a fault."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(status, code, message)


class _Rule(msgspec.Struct, frozen=True):
    """How an error is answered. Without a code it is the operation's, without a sentence the error's."""

    status: int
    code: str | None = None
    sentence: str | None = None


_STOPPING = "the server stops; ask whether it was done before you send it again"
_RULES: dict[type[BaseException], _Rule] = {
    UsageError: _Rule(400, MALFORMED),
    NotAuthenticated: _Rule(401, TOKEN_WRONG),
    NotPermitted: _Rule(403, FORBIDDEN),
    InstanceNotFound: _Rule(404, INSTANCE_UNKNOWN),
    PubsubNotFound: _Rule(404, PUBSUB_UNKNOWN),
    InstanceError: _Rule(409),
    MailboxFull: _Rule(429),
    EtagMismatch: _Rule(409),
    StateStoreNotFound: _Rule(400, STATE_STORE_UNKNOWN),
    PayloadTooLarge: _Rule(413, BODY_UNREAD),
    NotDecodable: _Rule(500, None, "what is stored of the instance cannot be read here; see the log of the server"),
    NotOpen: _Rule(503, None, "the server starts or stops; send it again in a moment"),
    StoreUnavailable: _Rule(503, None, "the store does not answer, so it may or may not be done; send it again"),
    StoreOwned: _Rule(503, None, "another process holds the store; send it there, or here again"),
    Fenced: _Rule(503, None, "another process took the store over; send it again"),
    BlobsUnavailable: _Rule(503, None, "the place of large payloads does not answer; send it again"),
    StoreFull: _Rule(507, None, "the store has no room left; nothing was written"),
    PerdureError: _Rule(500, None, "the server could not do it; see its log"),
    asyncio.CancelledError: _Rule(503, None, _STOPPING),
    BaseException: _Rule(500, INTERNAL, "the server has a defect; see its log"),
}


def fault_of(error: BaseException, code: str) -> Fault:
    """The answer to an error of an operation, `code` being what the operation's own errors are called."""
    if isinstance(error, Refused):
        return error.fault
    rule = next(_RULES[kind] for kind in type(error).__mro__ if kind in _RULES)
    sentence = rule.sentence or str(error)
    if isinstance(error, PerdureError) and rule.sentence is not None:
        sentence = f"{sentence} [{error.code}]"
    if isinstance(error, InstanceExists):
        sentence = f"an active workflow with ID '{error.instance_id}' already exists [{error.code}]"
    return Fault(rule.status, rule.code or code, sentence)


def record(error: BaseException, fault: Fault, what: str) -> None:
    """Log what the client is not told: the stack of a defect, the message of what the server could not do."""
    if isinstance(error, PerdureError | asyncio.CancelledError | Refused):
        if fault.status >= SERVER_ERRORS:
            log.warning("%s was answered with %d: %s", what, fault.status, error or "cancelled")
    elif fault.status >= SERVER_ERRORS:
        log.error("%s was answered with %d because of a defect", what, fault.status, exc_info=error)
