"""What a store of values does, whatever it is kept in: the records, the bounds, and what each call promises."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from perdure.errors import ForkedEngine, InvalidArgument, NotOpen

T = TypeVar("T")
FORMAT = 1
"""Of the tables of values, which go their own way beside those of workflows."""
KEY_BYTES_MAX = 1_024
VALUE_BYTES_MAX = 8 * 1024 * 1024
"""Of one value; a document of MongoDB holds no more than twice as much."""
CONTENT_TYPE_CHARACTERS_MAX = 255
KEYS_MAX = 1_000
"""Keys of one get."""
OPERATIONS_MAX = 1_000
"""Operations that are applied together."""
BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Of all values that are applied together, or got by one call."""
TTL_SECONDS_MAX = 100 * 366 * 86_400.0
SWEEP_ROWS = 500
"""Expired values that one sweep removes, so that it holds up nobody for long."""
SWEEP_SECONDS = 60.0
"""Between two sweeps that have left nothing behind."""
DEFAULT_SPACE = "statestore"
SPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)


class Item(msgspec.Struct, frozen=True):
    """A value that is there. `etag` is another one after each write, and never comes again. `expires`: microseconds
    since 1970 UTC by the clock of the store, None for never."""

    key: str
    value: bytes
    etag: str
    content_type: str | None = None
    expires: int | None = None


class Put(msgspec.Struct, frozen=True):
    """Write a value. With an `etag` only in place of that which has it; with `first_write` and none only where no value
    is. `ttl`: seconds until it expires, None for never."""

    key: str
    value: bytes
    etag: str | None = None
    first_write: bool = False
    ttl: float | None = None
    content_type: str | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove a value, with an `etag` only that which has it. Where none is, there is nothing to do."""

    key: str
    etag: str | None = None


Operation: TypeAlias = Put | Delete


class StateStore(Protocol):
    """Values by key in one space of a database; spaces know nothing of each other.

    A value that has expired is not there, for every call. What `apply` has returned from survives the process.
    Calls hold nothing that others wait for once they have returned. Raises StoreError where the database fails, and
    ForkedEngine in a process that has inherited an open store.
    """

    is_transactional: bool
    """Whether `apply` takes several operations at once."""

    async def open(self) -> None:
        """Make the tables if there are none. Raises StoreVersion if a later version has made them."""
        ...

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        """The values of up to KEYS_MAX keys, in their order, None where there is none."""
        ...

    async def apply(self, operations: Sequence[Operation]) -> None:
        """Do up to OPERATIONS_MAX operations, those of one key in their order: all or none of them.

        Raises EtagMismatch, and nothing is written, if a value is not as an operation wants it.
        """
        ...

    async def sweep(self) -> int:
        """Remove up to SWEEP_ROWS expired values; how many they were."""
        ...

    async def close(self) -> None:
        """Let go of the database. What was not answered may be done or not."""
        ...


def opened(connection: T | None, process: int) -> T:
    """What a store works with that this process has opened. Raises NotOpen, and ForkedEngine in any other process."""
    if connection is None:
        raise NotOpen("the state store is not open; open it first")
    if os.getpid() != process:
        raise ForkedEngine("the state store was open when this process was forked; open one of its own")
    return connection


def new_etag() -> str:
    return secrets.token_hex(8)


def checked_space(space: str) -> str:
    """Raises InvalidArgument."""
    if not isinstance(space, str) or not SPACE.fullmatch(space):
        raise InvalidArgument(
            f"{str(space)[:80]!r} is no name of a state store; use letters, digits, and -_. between them"
        )
    return space


def check_keys(keys: Sequence[str]) -> None:
    """Raises InvalidArgument."""
    if len(keys) > KEYS_MAX:
        raise InvalidArgument(f"{len(keys):,} keys are more than {KEYS_MAX:,}; ask in several calls")
    for key in keys:
        check_key(key)


def check_key(key: str) -> None:
    """Raises InvalidArgument."""
    try:
        length = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"key {key!r} is not valid Unicode") from None
    if not 1 <= length <= KEY_BYTES_MAX or "\0" in key:
        raise InvalidArgument(f"a key has 1 to {KEY_BYTES_MAX:,} bytes and no zero among them; this is {key[:80]!r}")


def check_operations(operations: Sequence[Operation]) -> None:
    """Raises InvalidArgument."""
    if len(operations) > OPERATIONS_MAX:
        raise InvalidArgument(f"{len(operations):,} operations are more than {OPERATIONS_MAX:,}; apply them in parts")
    total = 0
    for one in operations:
        check_key(one.key)
        if isinstance(one, Put):
            _check_put(one)
            total += len(one.value)
    if total > BATCH_BYTES_MAX:
        raise InvalidArgument(f"the values have {total:,} bytes, and {BATCH_BYTES_MAX:,} fit; apply them in parts")


def _check_put(put: Put) -> None:
    if len(put.value) > VALUE_BYTES_MAX:
        raise InvalidArgument(
            f"the value of {put.key[:80]!r} has {len(put.value):,} bytes, and {VALUE_BYTES_MAX:,} fit; keep it in a "
            "place for large objects, and its address here"
        )
    if put.ttl is not None and not (_is_number(put.ttl) and 0.001 <= put.ttl <= TTL_SECONDS_MAX):
        raise InvalidArgument(f"a time to live of {put.ttl!r} seconds is none; give 0.001 to {TTL_SECONDS_MAX:,.0f}")
    if put.content_type is not None and len(put.content_type) > CONTENT_TYPE_CHARACTERS_MAX:
        raise InvalidArgument(f"a content type has up to {CONTENT_TYPE_CHARACTERS_MAX} characters")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
