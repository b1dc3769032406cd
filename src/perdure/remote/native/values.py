"""The state stores of a server, as an app that works for it reaches them: by the calls of Dapr's own API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from perdure.clock import to_microseconds
from perdure.remote.native.channel import Channel
from perdure.remote.state import CONTENT_TYPE, EXPIRES, TTL
from perdure.remote.wire.schema import RUNTIME_SCHEMA
from perdure.remote.wire.state import DELETE, UPSERT
from perdure.stores.values.contract import Delete, Item, Operation, Put, check_keys, check_operations

_SERVICE = "/dapr.proto.runtime.v1.Dapr/"
_FIRST_WRITE = 1


class ServedValues:
    """A state store of a server by its name. The server puts its prefix before the keys, and sweeps.

    Whole seconds are all that a time to live can say here; parts of one are rounded up.
    """

    is_transactional = True

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name

    async def open(self) -> None:
        """The channel is open already."""

    async def close(self) -> None:
        """The channel belongs to the app's connection."""

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        check_keys(keys)
        request = RUNTIME_SCHEMA.GetBulkStateRequest(store_name=self._name, keys=keys)
        data = await self._channel.send(f"{_SERVICE}GetBulkState", request.SerializeToString())
        items = RUNTIME_SCHEMA.parse("GetBulkStateResponse", data).items
        found = {item.key: _item(item) for item in items}
        return [found.get(key) for key in keys]

    async def apply(self, operations: Sequence[Operation]) -> None:
        check_operations(operations)
        told = [_told(operation) for operation in operations]
        request = RUNTIME_SCHEMA.ExecuteStateTransactionRequest(storeName=self._name, operations=told)
        await self._channel.send(f"{_SERVICE}ExecuteStateTransaction", request.SerializeToString())

    async def sweep(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"<values {self._name!r} of {self._channel!r}>"


def _item(message: Any) -> Item | None:
    if not message.etag:
        return None
    metadata = dict(message.metadata)
    expires = metadata.get(EXPIRES)
    moment = None if expires is None else to_microseconds(datetime.fromisoformat(expires.replace("Z", "+00:00")))
    return Item(message.key, message.data, message.etag, metadata.get(CONTENT_TYPE), moment)


def _told(operation: Operation) -> dict[str, Any]:
    etag = {"etag": {"value": operation.etag}} if operation.etag is not None else {}
    if isinstance(operation, Delete):
        return {"operationType": DELETE, "request": {"key": operation.key, **etag}}
    request = {"key": operation.key, "value": operation.value, "metadata": _metadata(operation), **etag}
    if operation.first_write:
        request["options"] = {"concurrency": _FIRST_WRITE}
    return {"operationType": UPSERT, "request": request}


def _metadata(put: Put) -> dict[str, str]:
    ttl = {} if put.ttl is None else {TTL: str(math.ceil(put.ttl))}
    return ttl if put.content_type is None else {**ttl, CONTENT_TYPE: put.content_type}
