"""Which step of a database does which operation, and what has to be true of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from perdure.errors import EtagMismatch
from perdure.stores.values.contract import Operation, Put, new_etag

MILLISECONDS = 1_000


class Kind(StrEnum):
    """Each kind is one statement of a database. All but two have to change a row, or the operation was refused."""

    PUT = "put"
    """Write, whatever is there."""
    PUT_FIRST = "put_first"
    """Write where nothing is that has not expired."""
    PUT_OVER = "put_over"
    """Write over the value that has the etag and has not expired."""
    DELETE = "delete"
    """Remove, whatever is there."""
    DELETE_OF = "delete_of"
    """Remove the value that has the etag and has not expired."""

    @property
    def is_conditional(self) -> bool:
        return self in (Kind.PUT_FIRST, Kind.PUT_OVER, Kind.DELETE_OF)


class Step(msgspec.Struct, frozen=True):
    """One operation as a database does it. `ttl` in milliseconds; `expected` is the etag that has to be there."""

    kind: Kind
    key: str
    value: bytes = b""
    etag: str = ""
    content_type: str | None = None
    ttl: int | None = None
    expected: str = ""


def steps_of(operations: Sequence[Operation]) -> list[Step]:
    """The steps, ordered by key so that two transactions never wait for each other; those of one key as they came."""
    return [_step(one) for one in sorted(operations, key=lambda one: one.key)]


def _step(one: Operation) -> Step:
    if not isinstance(one, Put):
        return Step(Kind.DELETE if one.etag is None else Kind.DELETE_OF, one.key, expected=one.etag or "")
    if one.etag is not None:
        kind = Kind.PUT_OVER
    else:
        kind = Kind.PUT_FIRST if one.first_write else Kind.PUT
    ttl = None if one.ttl is None else max(1, round(one.ttl * MILLISECONDS))
    return Step(kind, one.key, one.value, new_etag(), one.content_type, ttl, one.etag or "")


def mismatch(step: Step) -> EtagMismatch:
    """Why a conditional step has found nothing to change."""
    if step.kind is Kind.PUT_FIRST:
        return EtagMismatch(f"key {step.key!r} has a value already; read it, and write over its etag", step.key)
    etag = str(step.expected)[:80]
    return EtagMismatch(f"key {step.key!r} has no value of etag {etag!r}; read it and try again", step.key)
