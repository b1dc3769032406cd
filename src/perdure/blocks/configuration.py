"""Settings that programs read and watch while they run: items by key, each with a version that grows with its value.

Those of one name are one value of a state store, so that a change of several is seen as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from perdure.errors import EtagMismatch, InvalidArgument
from perdure.stores.values.contract import Put, StateStore

OWN = "configuration.perdure"
"""The type of a component whose items are on the server's own store."""
SPACE = "configuration"
"""In which they are there."""
ITEMS_MAX = 10_000
KEY_CHARACTERS_MAX = 512
VALUE_BYTES_MAX = 64 * 1024
WHOLE_BYTES_MAX = 4 * 1024 * 1024
"""Of all items of one name."""
TRIES_MAX = 20
"""How often a change is made anew because another one came first."""


class Item(msgspec.Struct, frozen=True):
    """`version` is text, because other stores have versions of their own."""

    value: str
    version: str = ""
    metadata: Mapping[str, str] = {}


class Configurations(Protocol):
    """What the items of one name are read from."""

    async def items(self, keys: Sequence[str]) -> dict[str, Item]:
        """Those of the keys that are there; all, if no key is given. Raises StoreError."""
        ...


class KeptConfiguration:
    """The items of a name in a state store."""

    def __init__(self, store: StateStore, name: str) -> None:
        self._store = store
        self._name = name

    async def items(self, keys: Sequence[str] = ()) -> dict[str, Item]:
        found, _ = await self._read()
        return found if not keys else {key: found[key] for key in keys if key in found}

    async def change(self, values: Mapping[str, str | None]) -> None:
        """Give items new values, or take them away with None: all at once.

        Raises InvalidArgument, StoreError, and EtagMismatch if others change them all the time.
        """
        check(values)
        for left in reversed(range(TRIES_MAX)):
            found, etag = await self._read()
            data = msgspec.json.encode(changed(found, values))
            if len(data) > WHOLE_BYTES_MAX:
                raise InvalidArgument(f"the items of {self._name!r} would have more than {WHOLE_BYTES_MAX:,} bytes")
            try:
                await self._store.apply([Put(self._name, data, etag, first_write=etag is None)])
            except EtagMismatch:
                if not left:
                    raise
            else:
                return

    async def _read(self) -> tuple[dict[str, Item], str | None]:
        (kept,) = await self._store.get([self._name])
        return ({}, None) if kept is None else (msgspec.json.decode(kept.value, type=dict[str, Item]), kept.etag)


def check(values: Mapping[str, str | None]) -> None:
    """Raises InvalidArgument for what is no item. Pure."""
    for key, value in values.items():
        if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
            raise InvalidArgument(f"a key has 1 to {KEY_CHARACTERS_MAX} characters; this is {key[:80]!r}")
        if value is not None and len(value.encode("utf-8", "surrogatepass")) > VALUE_BYTES_MAX:
            raise InvalidArgument(f"the value of {key!r} has more than {VALUE_BYTES_MAX:,} bytes")


def changed(items: Mapping[str, Item], values: Mapping[str, str | None]) -> dict[str, Item]:
    """The items with other values; a version grows with each change and begins at 1. Raises InvalidArgument. Pure."""
    found = dict(items)
    for key, value in values.items():
        before = found.get(key)
        if value is None:
            found.pop(key, None)
        elif before is None or before.value != value:
            found[key] = Item(value, str(int(before.version) + 1 if before is not None else 1))
    if len(found) > ITEMS_MAX:
        raise InvalidArgument(f"there would be more than {ITEMS_MAX:,} items; use a second name")
    return found


def difference(before: Mapping[str, Item], after: Mapping[str, Item]) -> dict[str, Item]:
    """What a watcher is told: items that are new or other, and an empty one for each that is gone. Pure."""
    told = {key: item for key, item in after.items() if before.get(key) != item}
    return told | {key: Item("") for key in before if key not in after}
