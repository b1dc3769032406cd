"""Values on a server of Redis or Valkey: a hash for each, all of a space in one slot, and the server expires them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from perdure.errors import StoreVersion
from perdure.stores.redis.address import Address
from perdure.stores.redis.records import text
from perdure.stores.redis.server import Server
from perdure.stores.values.contract import FORMAT, Item, Operation, check_keys, check_operations, opened
from perdure.stores.values.plan import Step, mismatch, steps_of


class RedisValues:
    """One space of a server. Belongs to the event loop that opens it."""

    is_transactional = True

    def __init__(self, address: Address, space: str) -> None:
        self._address = address
        self._prefix = f"perdure:{{values-{space}}}:"
        self._server: Server | None = None
        self._pid = 0

    async def open(self) -> None:
        if self._server is not None:
            return
        self._pid = os.getpid()
        server = Server(self._address)
        try:
            await self._check_format(server)
        except BaseException:
            await server.close()
            raise
        self._server = server

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None and os.getpid() == self._pid:
            await server.close()

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        check_keys(keys)
        found = await self._opened.one("values_get", self._prefix, *keys)
        return [_item(key, one) for key, one in zip(keys, found, strict=True)]

    async def apply(self, operations: Sequence[Operation]) -> None:
        check_operations(operations)
        steps = steps_of(operations)
        refused = await self._opened.one("values_apply", self._prefix, *map(_told, steps))
        if refused:
            raise mismatch(steps[refused - 1])

    async def sweep(self) -> int:
        return 0  # because the server removes what has expired by itself

    async def _check_format(self, server: Server) -> None:
        """One number for each space, because a space is all that lies in one slot of a cluster."""
        found = int(await server.one("values_format", self._prefix, FORMAT))
        if found > FORMAT:
            raise StoreVersion(
                f"the values on {self._address} have format {found}, and this version has {FORMAT}; install a later "
                "perdure"
            )

    @property
    def _opened(self) -> Server:
        return opened(self._server, self._pid)

    def __repr__(self) -> str:
        return f"<values {self._prefix} on {self._address}>"


def _told(step: Step) -> list[object]:
    kind, key, etag = step.kind.value, step.key, step.etag
    return [kind, key, text(step.value), etag, step.content_type or "", step.ttl or 0, step.expected]


def _item(key: str, found: list[bytes | int]) -> Item | None:
    if not found:
        return None
    value, etag, content_type, left = found
    assert isinstance(value, bytes), "the script answers so"
    assert isinstance(etag, bytes), "the script answers so"
    assert isinstance(content_type, bytes), "the script answers so"
    expires = None if int(left) < 0 else (time.time_ns() // 1_000_000 + int(left)) * 1_000
    return Item(key, value, etag.decode(), content_type.decode() or None, expires)
