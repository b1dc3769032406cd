"""What the client's errors mean, as errors of Perdure: a sentence that says what to do."""

from __future__ import annotations

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from perdure.errors import StoreCorrupt, StoreError, StoreFull, StoreNotUsable, StoreUnavailable

DUPLICATE = 11_000
_WRONG_NAME = (18, 11)
_NOT_PERMITTED = (13, 8_000)
_NO_ROOM = (14_031, 12_501)
_NO_JOURNAL = ("journaling", "journaled", "'j'")


def refusal(error: PyMongoError, place: str) -> StoreError:
    """What to raise for an error that nobody expected where it came up."""
    if isinstance(error, ServerSelectionTimeoutError):
        return unreachable(place, error)
    if isinstance(error, ConfigurationError):
        return StoreNotUsable(f"{place} cannot be used by this client ({_brief(error)}); use MongoDB 5.0 or newer")
    code = error.code if isinstance(error, OperationFailure) else None
    text = _brief(error)
    if code in _WRONG_NAME or "auth failed" in text.lower():
        return StoreNotUsable(
            f"{place} takes neither this name nor this password; put those of a user of it, and authSource if it is "
            "known in another database, into the address"
        )
    if code in _NOT_PERMITTED:
        return StoreNotUsable(f"the user of {place} may not do what a store needs ({text}); give it readWrite there")
    if code in _NO_ROOM:
        return StoreFull(f"{place} has no room on its disk ({text}); make room there, or purge finished instances")
    if code == 2 and any(word in text.lower() for word in _NO_JOURNAL):
        return StoreNotUsable(f"{place} keeps no journal ({text}); start mongod with one")
    if isinstance(error, (AutoReconnect, ConnectionFailure, ExecutionTimeout, WTimeoutError, WriteConcernError)):
        return unreachable(place, error)
    if isinstance(error, BulkWriteError) and error.details and error.details.get("writeConcernErrors"):
        return unreachable(place, error)
    return StoreCorrupt(f"{place} refused what a store asks: {text}; its collections may have been changed by others")


def unreachable(place: str, error: Exception) -> StoreUnavailable:
    why = _brief(error) or type(error).__name__
    return StoreUnavailable(f"{place} gives no answer ({why}); look whether the server runs and is reached")


def _brief(error: Exception) -> str:
    """Without the description of the whole topology that the client puts behind some messages."""
    return str(error).partition(", full error:")[0].partition(" (configured timeouts")[0][:300]
