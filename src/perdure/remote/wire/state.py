"""The messages about state of Dapr's own API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.errors import InvalidArgument
from perdure.remote.state import Write, metadata_of
from perdure.remote.wire.schema import RUNTIME_SCHEMA
from perdure.stores.values.contract import Item

_FIRST_WRITE, _LAST_WRITE = 1, 2
UPSERT, DELETE = "upsert", "delete"


def read_get(data: bytes) -> tuple[str, str]:
    """The store and the key of a GetStateRequest. Raises MalformedMessage, as do the others."""
    message = RUNTIME_SCHEMA.parse("GetStateRequest", data)
    return message.store_name, message.key


def read_get_bulk(data: bytes) -> tuple[str, list[str]]:
    """The store and the keys of a GetBulkStateRequest."""
    message = RUNTIME_SCHEMA.parse("GetBulkStateRequest", data)
    return message.store_name, list(message.keys)


def read_save(data: bytes) -> tuple[str, list[Write]]:
    """The store and the values of a SaveStateRequest."""
    message = RUNTIME_SCHEMA.parse("SaveStateRequest", data)
    return message.store_name, [_write(one, one.value) for one in message.states]


def read_delete(data: bytes) -> tuple[str, list[Write]]:
    """The store and the removal of a DeleteStateRequest."""
    message = RUNTIME_SCHEMA.parse("DeleteStateRequest", data)
    return message.store_name, [_write(message, None)]


def read_delete_bulk(data: bytes) -> tuple[str, list[Write]]:
    """The store and the removals of a DeleteBulkStateRequest."""
    message = RUNTIME_SCHEMA.parse("DeleteBulkStateRequest", data)
    return message.store_name, [_write(one, None) for one in message.states]


def read_transaction(data: bytes) -> tuple[str, list[Write]]:
    """The store and the operations of an ExecuteStateTransactionRequest. Raises InvalidArgument for other kinds."""
    message = RUNTIME_SCHEMA.parse("ExecuteStateTransactionRequest", data)
    usual = dict(message.metadata)
    return message.storeName, [_operation(one.operationType, one.request, usual) for one in message.operations]


def write_got(item: Item | None) -> bytes:
    """A GetStateResponse, empty if there is no value."""
    if item is None:
        return b""
    return _bytes(RUNTIME_SCHEMA.GetStateResponse(data=item.value, etag=item.etag, metadata=metadata_of(item)))


def write_got_bulk(keys: Sequence[str], found: Sequence[Item | None]) -> bytes:
    """A GetBulkStateResponse, with the key alone where there is no value."""
    items = [
        RUNTIME_SCHEMA.BulkStateItem(key=key)
        if item is None
        else RUNTIME_SCHEMA.BulkStateItem(key=key, data=item.value, etag=item.etag, metadata=metadata_of(item))
        for key, item in zip(keys, found, strict=True)
    ]
    return _bytes(RUNTIME_SCHEMA.GetBulkStateResponse(items=items))


def kind_of(word: str) -> str:
    """The kind of an operation in a transaction. Raises InvalidArgument."""
    if word.lower() not in (UPSERT, DELETE):
        raise InvalidArgument(f"operation type {word[:40]!r} is not supported; there are {UPSERT} and {DELETE}")
    return word.lower()


def _operation(word: str, message: Any, usual: dict[str, str]) -> Write:
    return _write(message, message.value if kind_of(word) == UPSERT else None, usual)


def _write(message: Any, value: bytes | None, usual: dict[str, str] | None = None) -> Write:
    return Write(
        key=message.key,
        value=value,
        etag=message.etag.value,
        first_write=message.options.concurrency == _FIRST_WRITE,
        last_write=message.options.concurrency == _LAST_WRITE,
        metadata={**(usual or {}), **message.metadata},
    )


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
