"""In which indexes of `find` an instance stands, and which of them answer a query. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.stores.contract import Head, Query, Status
from perdure.stores.redis.keys import digits

CLASSES = {"workflow": "workflow"}
OTHER = "other"
"""Instances that are no workflows are looked for apart, because there may be very many of them."""


def entries(head: Head) -> list[str]:
    """The instance's entries: 16 digits of its place in the order of the index, then the index."""
    created, of = digits(head.created), CLASSES.get(head.kind, OTHER)
    found = [f"{created}{of}:all", f"{created}{of}:status:{head.status}", f"{created}{of}:name:{head.name}"]
    found += [f"{created}{of}:tag:{key}={value}" for key, value in (head.tags or {}).items()]
    if head.parent is not None:
        found.append(f"{created}{of}:parent:{head.parent}")
    if head.suspended is not None:
        found.append(f"{created}{of}:suspended")
    if head.stalled is not None:
        found.append(f"{created}{of}:stalled")
    if head.finished is not None:
        found.append(f"{digits(head.finished)}{of}:end:{head.status}")
    return found


def alternatives(query: Query) -> list[list[str]]:
    """Sets of indexes that each have all that the query asks for; the smallest is the one to read."""
    if query.by_end:
        return [_of(query, *(f"end:{status}" for status in query.status or list(Status)))]
    if query.parent is not None:
        return [_of(query, f"parent:{query.parent}")]
    found = [_of(query, f"tag:{key}={value}") for key, value in (query.tags or {}).items()]
    found += [_of(query, name) for name in ("suspended", "stalled") if getattr(query, name)]
    if query.status:
        found.append(_of(query, *(f"status:{status}" for status in dict.fromkeys(query.status))))
    if query.name is not None:
        found.append(_of(query, f"name:{query.name}"))
    return found or [_of(query, "all")]


def _of(query: Query, *indexes: str) -> list[str]:
    classes = (CLASSES.get(query.kind, OTHER),) if query.kind is not None else (*CLASSES.values(), OTHER)
    return [f"{of}:{index}" for of in classes for index in indexes]


@dataclass(frozen=True, slots=True)
class Span:
    """The part of an index that is still to be read, as ZRANGEBYLEX takes its bounds."""

    low: bytes
    high: bytes


def span(query: Query) -> Span:
    """What of an index the query's times leave."""
    after, before = query.created_after, query.created_before
    if query.by_end:
        after, before = query.finished_after, query.finished_before
    return Span(
        b"-" if after is None else b"[" + digits(after).encode(),
        b"+" if before is None else b"(" + digits(before).encode(),
    )


def beyond(whole: Span, query: Query, place: int, id: str, *, inclusive: bool) -> Span:
    """What comes after an instance in the order of the query, with it if `inclusive`."""
    bound = (b"[" if inclusive else b"(") + digits(place).encode() + id.encode()
    if query.by_end:
        return Span(bound if whole.low == b"-" else max(whole.low, bound, key=_value), whole.high)
    return Span(whole.low, bound if whole.high == b"+" else min(whole.high, bound, key=_value))


def _value(bound: bytes) -> bytes:
    return bound[1:]
