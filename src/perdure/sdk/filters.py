"""Filters: the conditions on which instances are found, as a client takes them and as a store does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from perdure.clock import to_microseconds
from perdure.errors import InvalidArgument
from perdure.sdk.options import checked_flag, checked_moment, checked_tags, checked_text
from perdure.stores.contract import Query, Status


def query_of(
    *,
    name: str | None = None,
    status: str | Sequence[str] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    finished_after: datetime | None = None,
    finished_before: datetime | None = None,
    tags: dict[str, str] | None = None,
    parent: str | None = None,
    text: str | None = None,
    suspended: bool | None = None,
    stalled: bool | None = None,
) -> Query:
    """The conditions as a store takes them. Raises InvalidArgument."""
    return Query(
        name=some_text("name", name),
        status=_statuses(status),
        created_after=micros("created_after", created_after),
        created_before=micros("created_before", created_before),
        finished_after=micros("finished_after", finished_after),
        finished_before=micros("finished_before", finished_before),
        tags=checked_tags(tags) if tags is not None else None,
        parent=some_text("parent", parent),
        text=some_text("text", text),
        suspended=checked_flag("suspended", suspended),
        stalled=checked_flag("stalled", stalled),
    )


FILTERS = frozenset(query_of.__kwdefaults__ or ())
"""What may be given to it."""


def _statuses(status: str | Sequence[str] | None) -> tuple[str, ...]:
    if status is None:
        return ()
    given = (status,) if isinstance(status, str) or not isinstance(status, Sequence) else tuple(status)
    for one in given:
        if not isinstance(one, str) or one.lower() not in set(Status):
            raise InvalidArgument(f"status {one!r} is none of {', '.join(Status)}")
    return tuple(one.lower() for one in given)


def micros(what: str, at: datetime | None) -> int | None:
    """A moment that may be left out, in microseconds since 1970 UTC. Raises InvalidArgument."""
    return to_microseconds(checked_moment(what, at)) if at is not None else None


def some_text(what: str, value: str | None) -> str | None:
    """A text that may be left out. Raises InvalidArgument."""
    return checked_text(what, value) if value is not None else None
