"""Values in the memory of one process: the contract in its shortest form, and gone with the process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

from perdure.errors import NotOpen
from perdure.stores.values.contract import (
    SWEEP_ROWS,
    Item,
    Operation,
    check_keys,
    check_operations,
)
from perdure.stores.values.plan import Kind, Step, mismatch, steps_of

MICROSECONDS = 1_000


class MemoryValues:
    """One space. All that changes does so between two awaits, so that nobody sees half of it."""

    is_transactional = True

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._is_open = False

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        self._check_open()
        check_keys(keys)
        now = _now()
        return [_alive(self._items.get(key), now) for key in keys]

    async def apply(self, operations: Sequence[Operation]) -> None:
        self._check_open()
        check_operations(operations)
        now = _now()
        changed: dict[str, Item | None] = {}
        for step in steps_of(operations):
            there = _alive(changed[step.key] if step.key in changed else self._items.get(step.key), now)
            changed[step.key] = _after(step, there, now)
        for key, item in changed.items():
            if item is None:
                self._items.pop(key, None)
            else:
                self._items[key] = item

    async def sweep(self) -> int:
        now = _now()
        expired = [key for key, item in self._items.items() if _alive(item, now) is None]
        removed = list(islice(expired, SWEEP_ROWS))
        for key in removed:
            del self._items[key]
        return len(removed)

    def _check_open(self) -> None:
        if not self._is_open:
            raise NotOpen("the state store is not open; open it first")

    def __repr__(self) -> str:
        return f"<values in memory: {len(self._items)}>"


def _after(step: Step, there: Item | None, now: int) -> Item | None:
    """What is there after a step. Raises EtagMismatch."""
    wants_none = step.kind is Kind.PUT_FIRST
    if step.kind.is_conditional and (there is not None if wants_none else there is None or there.etag != step.expected):
        raise mismatch(step)
    if step.kind in (Kind.DELETE, Kind.DELETE_OF):
        return None
    expires = None if step.ttl is None else now + step.ttl * MICROSECONDS
    return Item(step.key, step.value, step.etag, step.content_type, expires)


def _alive(item: Item | None, now: int) -> Item | None:
    return None if item is None or (item.expires is not None and item.expires <= now) else item


def _now() -> int:
    return time.time_ns() // 1_000
