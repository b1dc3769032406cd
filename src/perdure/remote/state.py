"""What callers of either protocol do with the state stores of an app: read, save, delete, and several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from perdure.blocks.resources.records import Resources
from perdure.blocks.state.prefixes import checked
from perdure.blocks.state.stores import Shelf, StateStores
from perdure.clock import to_datetime
from perdure.errors import InvalidArgument, NotSupportedByServer
from perdure.stores.values.contract import KEYS_MAX, Delete, Item, Operation, Put, StateStore

TTL = "ttlInSeconds"
CONTENT_TYPE = "contentType"
EXPIRES = "ttlExpireTime"
"""Metadata of a value, in the words of Dapr: what a writer gives, and what a reader is told."""
BULK_KEYS_MAX = 10_000
"""Keys of one bulk request, which is answered in one message."""

SHELVES_MAX = 10_000
"""State stores of apps that are known by their names, because each call asks for one; others are looked for each time.
"""


class Write(msgspec.Struct, frozen=True):
    """A value that a caller saves, None to remove it. `etag` "" is none; with `last_write` it does not count."""

    key: str
    value: bytes | None = None
    etag: str = ""
    first_write: bool = False
    last_write: bool = False
    metadata: Mapping[str, str] = {}


class StateDesk:
    """The state stores of all apps of a server, by their names."""

    def __init__(self, stores: StateStores, resources: Callable[[str], Resources]) -> None:
        self._stores = stores
        self._resources = resources
        self._shelves: dict[tuple[str, str], Shelf] = {}

    async def own(self, space: str) -> StateStore:
        """A space of the server's own store, beside those of the apps. Raises StoreError."""
        return await self._stores.own(space)

    async def close(self) -> None:
        self._shelves.clear()
        await self._stores.close()

    async def get(self, app: str, store: str, key: str) -> Item | None:
        """Raises StateStoreNotFound, InvalidArgument, StoreError; so do the others."""
        shelf = await self._shelf(app, store)
        (found,) = await shelf.store.get([shelf.prefix + checked(key)])
        return found

    async def get_many(self, app: str, store: str, keys: Sequence[str]) -> list[Item | None]:
        """In the order of the keys."""
        if len(keys) > BULK_KEYS_MAX:
            raise InvalidArgument(f"{len(keys):,} keys are more than {BULK_KEYS_MAX:,}; ask in several calls")
        shelf = await self._shelf(app, store)
        named = [shelf.prefix + checked(key) for key in keys]
        found: list[Item | None] = []
        for first in range(0, len(named), KEYS_MAX):
            found += await shelf.store.get(named[first : first + KEYS_MAX])
        return found

    async def save(self, app: str, store: str, writes: Sequence[Write]) -> None:
        """Save or remove values: together where the store can, else one after the other.

        Raises EtagMismatch; together nothing is written then.
        """
        shelf = await self._shelf(app, store)
        operations = [_operation(write, shelf) for write in writes]
        if shelf.store.is_transactional or len(operations) == 1:
            await shelf.store.apply(operations)
        else:
            for one in operations:
                await shelf.store.apply([one])

    async def transact(self, app: str, store: str, writes: Sequence[Write]) -> None:
        """Save and remove values together. Raises EtagMismatch, and InvalidArgument if the store cannot."""
        shelf = await self._shelf(app, store)
        await shelf.store.apply([_operation(write, shelf) for write in writes])

    async def _shelf(self, app: str, store: str) -> Shelf:
        known = self._shelves.get((app, store))
        if known is not None:
            return known
        components = self._resources(app).block("state")
        if not components:
            raise NotSupportedByServer(
                "state store is not configured; put a component of a type such as state.redis into a resource folder"
            )
        found = await self._stores.shelf(components, store, app)
        if len(self._shelves) < SHELVES_MAX:
            self._shelves[app, store] = found
        return found


def metadata_of(item: Item) -> dict[str, str]:
    """What a reader is told beside the value."""
    expires = {} if item.expires is None else {EXPIRES: to_datetime(item.expires).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return expires if item.content_type is None else {**expires, CONTENT_TYPE: item.content_type}


def _operation(write: Write, shelf: Shelf) -> Operation:
    key = shelf.prefix + checked(write.key)
    etag = None if write.last_write else write.etag or None
    if write.value is None:
        return Delete(key, etag)
    content_type = write.metadata.get(CONTENT_TYPE) or None
    return Put(key, write.value, etag, write.first_write, _ttl(write.metadata, shelf.ttl), content_type)


def _ttl(metadata: Mapping[str, str], usual: float | None) -> float | None:
    """Seconds; -1 says that the value stays, whatever is usual."""
    text = metadata.get(TTL)
    if not text:
        return usual
    if text == "-1":
        return None
    if not (text.isascii() and text.isdecimal()) or not int(text[:12]) > 0:
        raise InvalidArgument(f"{TTL} is {text[:40]!r}; give a number of seconds from 1, or -1 for a value that stays")
    return float(text[:12])
