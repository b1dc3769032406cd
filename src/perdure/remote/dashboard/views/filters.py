"""The filters of a list: from the address of a page, to a query of the store, and back into addresses."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from perdure.clock import SECOND
from perdure.stores.contract import Query, Status

TEXT_CHARACTERS_MAX = 200
"""Length of what is looked for."""
CURSOR_CHARACTERS_MAX = 2_000
SPANS = {"5m": 300, "1h": 3_600, "24h": 86_400, "7d": 604_800}
"""Ages by which a list is cut, in seconds."""
STANDING = ("stalled", "suspended")
"""What is no status of its own, and is chosen beside them."""
STATUSES: tuple[str, ...] = tuple(Status)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to. `state` is a status, "stalled" or "suspended"; empty fields are no condition."""

    state: str = ""
    name: str = ""
    tag: str = ""
    text: str = ""
    since: str = ""
    parent: str = ""
    cursor: str = ""

    def query(self, now: int) -> Query:
        """The same for the store."""
        key, _, value = self.tag.partition("=")
        return Query(
            name=self.name or None,
            status=(self.state,) if self.state in STATUSES else (),
            tags={key.strip(): value.strip()} if key.strip() else None,
            text=self.text or None,
            parent=self.parent or None,
            created_after=now - SPANS[self.since] * SECOND if self.since else None,
            suspended=True if self.state == "suspended" else None,
            stalled=True if self.state == "stalled" else None,
        )

    def words(self, **changes: str) -> str:
        """The filters as the query of an address, with some changed; another filter begins at the first page."""
        told = msgspec.structs.asdict(self) | ({} if "cursor" in changes else {"cursor": ""}) | changes
        return urlencode({name: value for name, value in told.items() if value})

    @property
    def is_empty(self) -> bool:
        return self == Filters(cursor=self.cursor)


def filters_of(given: Mapping[str, str]) -> Filters:
    """The filters in the query of an address. What is no filter, or too long to be one, is left out or cut."""

    def text(name: str, most: int = TEXT_CHARACTERS_MAX) -> str:
        return given.get(name, "").strip()[:most]

    state, since = text("state"), text("since")
    return Filters(
        state=state if state in STATUSES or state in STANDING else "",
        name=text("name"),
        tag=text("tag"),
        text=text("text"),
        since=since if since in SPANS else "",
        parent=text("parent"),
        cursor=text("cursor", CURSOR_CHARACTERS_MAX),
    )
