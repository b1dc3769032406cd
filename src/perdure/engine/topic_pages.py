"""Pages of a partition's log, read from the store for those who need them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from perdure.engine.handlers import Handlers
from perdure.errors import StoreUnavailable
from perdure.history.topic_log import Log, Page, decode_page, name_of
from perdure.stores.contract import EngineStore

log = logging.getLogger("perdure")
READ_AGAIN_SECONDS = 0.5
"""Between two reads of a page while the store does not answer."""
Fed = Callable[[str | None, "dict[int, Page | None]"], None]


class Services(Protocol):
    """What reading needs."""

    @property
    def shard(self) -> int: ...
    @property
    def store(self) -> EngineStore: ...
    @property
    def handlers(self) -> Handlers: ...


class Pages:
    """One read at a time for each group. `fed` is told what was found; the group is None for a read of the first page.

    A page that cannot be read is told in the log, and its group stands still until the partition is loaded again.
    """

    __slots__ = ("_base", "_fed", "_id", "_reading", "_services", "_stuck")

    def __init__(self, services: Services, id: str, fed: Fed) -> None:
        self._services = services
        self._id = id
        self._fed = fed
        self._reading: set[str | None] = set()
        self._stuck: set[str | None] = set()
        self._base: tuple[int, int] = (0, 0)

    @property
    def is_reading(self) -> bool:
        return bool(self._reading)

    @property
    def is_reading_first(self) -> bool:
        return None in self._reading

    def base_of(self, log: Log) -> int | None:
        """How many messages were appended before the first page that is kept; None: that is being read."""
        if log.first == log.next:
            return log.count
        if self._base[0] == log.first:
            return self._base[1]
        self.read(None, log, [log.first])
        return None

    def read(self, group: str | None, log: Log, numbers: Sequence[int]) -> None:
        """Read these pages, unless the group reads already."""
        if numbers and group not in self._reading and group not in self._stuck:
            self._reading.add(group)
            names = {name_of(log, number): number for number in numbers}
            self._services.handlers.run(self._read(group, names))

    async def _read(self, group: str | None, names: dict[str, int]) -> None:
        found = await self._published(list(names))
        try:
            pages = {number: decode_page(found.get(name, b"[]")) for name, number in names.items()}
        except ValueError as error:
            self._stuck.add(group)
            log.error("pages of %s cannot be read, so %s stands still: %s", self._id, group or "a new group", error)
            pages = {}
        self._reading.discard(group)
        if group is None:
            for number, page in pages.items():
                self._base = (number, page.base if page is not None else 0)
        self._fed(group, pages)

    async def _published(self, names: list[str]) -> dict[str, bytes]:
        while True:
            try:
                return await self._services.store.published(self._services.shard, self._id, names)
            except StoreUnavailable:
                await asyncio.sleep(READ_AGAIN_SECONDS)

    def __repr__(self) -> str:
        return f"<Pages of {self._id}: {len(self._reading)} reads>"
