"""State as an app's code meets it: Python values by key, one name for each store of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

import msgspec
from msgspec import Raw

from perdure.blocks.state.prefixes import checked
from perdure.blocks.state.stores import Shelf
from perdure.codec import JSON, PLAIN, Codec, Payload, decode, is_packed
from perdure.errors import EtagMismatch, InvalidArgument, NotDecodable, NotInWorkflow
from perdure.sdk.loop import running_loop
from perdure.stores.values.contract import KEYS_MAX, Delete, Item, Operation, Put

T = TypeVar("T")

UPDATE_TRIES_MAX = 20
"""How often `update` reads and writes again because somebody else was faster."""
UPDATE_PAUSE_SECONDS = 0.001
UPDATE_PAUSE_SECONDS_MAX = 0.2
"""Before the first of these tries, at most, and how far that grows, twofold each time; the pause is drawn from it,
because of many that come at the same moment one alone is faster each time."""
JSON_TYPE = "application/json"
PACKED_TYPE = "application/vnd.perdure.payload+json"
"""The content type of a value that a codec has compressed, encrypted or offloaded."""


class Found(msgspec.Struct, Generic[T], frozen=True):
    """A value with its `etag`, which the next write of it may name. `expires`: microseconds since 1970 UTC."""

    value: T
    etag: str
    expires: int | None = None


class Change:
    """Writes that are collected in `async with state.transaction() as change`, and done together at its end."""

    def __init__(self, put: Callable[..., Awaitable[Put]], key: Callable[[str], str]) -> None:
        self._put = put
        self._key = key
        self._is_over = False
        self.operations: list[Operation] = []

    async def set(
        self,
        key: str,
        value: object,
        *,
        etag: str | None = None,
        first_write: bool = False,
        ttl: float | timedelta | None = None,
    ) -> None:
        """As `State.set`, at the end."""
        self._check()
        self.operations.append(await self._put(key, value, etag=etag, first_write=first_write, ttl=ttl))

    async def delete(self, key: str, *, etag: str | None = None) -> None:
        """As `State.delete`, at the end."""
        self._check()
        self.operations.append(Delete(self._key(key), etag))

    def close(self) -> None:
        """The block has ended: what comes now would be written by nobody."""
        self._is_over = True

    def _check(self) -> None:
        if self._is_over:
            raise InvalidArgument("the block of this transaction has ended; write inside it, or begin another one")


class State:
    """The values of one state store, which survive the program. `App.state(name)` makes it.

    Values are stored as JSON, as clients of Dapr read them, unless the app's codec packs them. Workflow code cannot use
    it, because what it would read is no part of the history: raises NotInWorkflow there. Raises StoreError where the
    database fails.
    """

    def __init__(self, name: str, shelf: Callable[[], Awaitable[Shelf]], codec: Codec | None = None) -> None:
        self.name = name
        self._shelf = shelf
        self._codec = codec
        self._writer = PLAIN if codec is None else codec.writer

    # -- reading ---------------------------------------------------------------------------------------------------

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, type: type[T]) -> T | None: ...
    async def get(self, key: str, type: Any = Any) -> Any:
        """The value, None if there is none. Raises NotDecodable if it does not fit the type."""
        found = await self.find(key, type)
        return None if found is None else found.value

    @overload
    async def find(self, key: str) -> Found[Any] | None: ...
    @overload
    async def find(self, key: str, type: type[T]) -> Found[T] | None: ...
    async def find(self, key: str, type: Any = Any) -> Any:
        """The value with its ETag, None if there is none."""
        return (await self._found([key], type)).get(key)

    @overload
    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]: ...
    @overload
    async def get_many(self, keys: Sequence[str], type: type[T]) -> dict[str, T]: ...
    async def get_many(self, keys: Sequence[str], type: Any = Any) -> dict[str, Any]:
        """The values of those keys that have one."""
        return {key: found.value for key, found in (await self._found(keys, type)).items()}

    # -- writing ---------------------------------------------------------------------------------------------------

    async def set(
        self,
        key: str,
        value: object,
        *,
        etag: str | None = None,
        first_write: bool = False,
        ttl: float | timedelta | None = None,
    ) -> None:
        """Write a value, whatever was there; the last write wins.

        With an `etag` only over the value that has it, with `first_write` only where none is: else raises EtagMismatch.
        `ttl`: seconds until it expires. Raises NotEncodable.
        """
        shelf = await self._opened()
        await shelf.store.apply([await self._put(shelf, key, value, etag=etag, first_write=first_write, ttl=ttl)])

    async def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove a value, if there is one; with an `etag` only that which has it: else raises EtagMismatch."""
        shelf = await self._opened()
        await shelf.store.apply([Delete(shelf.prefix + checked(key), etag)])

    async def set_many(self, values: Mapping[str, object], *, ttl: float | timedelta | None = None) -> None:
        """Write several values together, or none of them."""
        async with self.transaction() as change:
            for key, value in values.items():
                await change.set(key, value, ttl=ttl)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Change]:
        """Collect writes, and do all of them, or none, when the block ends; none if it raises.

        Raises EtagMismatch, and InvalidArgument on a MongoDB without a replica set, which has no transactions.
        """
        shelf = await self._opened()

        async def put(key: str, value: object, **options: Any) -> Put:
            return await self._put(shelf, key, value, **options)

        change = Change(put, lambda key: shelf.prefix + checked(key))
        try:
            yield change
        finally:
            change.close()
        if change.operations:
            await shelf.store.apply(change.operations)

    @overload
    async def update(self, key: str, change: Callable[[Any], T]) -> T: ...
    @overload
    async def update(self, key: str, change: Callable[[T | None], T], type: type[T]) -> T: ...
    async def update(self, key: str, change: Callable[[Any], Any], type: Any = Any) -> Any:
        """Write what `change` makes of the value (None if there is none), and again if somebody else was faster.

        Raises EtagMismatch if that was so UPDATE_TRIES_MAX times.
        """
        for tries in range(UPDATE_TRIES_MAX - 1):
            try:
                return await self._update_once(key, change, type)
            except EtagMismatch:
                bound = min(UPDATE_PAUSE_SECONDS * 2.0**tries, UPDATE_PAUSE_SECONDS_MAX)
                await asyncio.sleep(random.uniform(0, bound))
        return await self._update_once(key, change, type)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _update_once(self, key: str, change: Callable[[Any], Any], type: Any) -> Any:
        found: Found[Any] | None = await self.find(key, type)
        value = change(None if found is None else found.value)
        await self.set(key, value, etag=None if found is None else found.etag, first_write=found is None)
        return value

    async def _found(self, keys: Sequence[str], type: Any) -> dict[str, Found[Any]]:
        shelf = await self._opened()
        found: dict[str, Found[Any]] = {}
        for first in range(0, len(keys), KEYS_MAX):
            page = keys[first : first + KEYS_MAX]
            items = await shelf.store.get([shelf.prefix + checked(key) for key in page])
            for key, item in zip(page, items, strict=True):
                if item is not None:
                    found[key] = Found(await self._value(item, type), item.etag, item.expires)
        return found

    async def _value(self, item: Item, type: Any) -> Any:
        if item.content_type != PACKED_TYPE:
            return decode(Payload(JSON, None, Raw(item.value)), type)
        if self._codec is None:
            raise NotDecodable(f"the value of {item.key!r} was packed by a codec; give the app the codec that it had")
        return decode(await self._codec.unpacked(msgspec.json.decode(item.value, type=Payload)), type)

    async def _put(
        self,
        shelf: Shelf,
        key: str,
        value: object,
        *,
        etag: str | None = None,
        first_write: bool = False,
        ttl: float | timedelta | None = None,
    ) -> Put:
        payload, content_type = self._writer.encode(value), JSON_TYPE
        if self._codec is not None:
            # in one piece, because nothing would sweep what lies elsewhere when the value goes
            payload = await self._codec.packed(payload, self._codec.key_for(None, None), offloads=False)
        data = bytes(payload.data)
        if is_packed(payload):
            data, content_type = msgspec.json.encode(payload), PACKED_TYPE
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        lives = shelf.ttl if seconds is None else seconds
        return Put(shelf.prefix + checked(key), data, etag, first_write, lives, content_type)

    async def _opened(self) -> Shelf:
        if running_loop() is not None:
            raise NotInWorkflow(
                "workflow code cannot use a state store, whose answers are no part of its history; use it in an "
                "activity"
            )
        return await self._shelf()

    def __repr__(self) -> str:
        return f"<State {self.name!r}>"
