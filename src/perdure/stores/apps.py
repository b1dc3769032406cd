"""Which apps a store has, where it gives them numbers: the number of each, and how many shards it has for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from perdure.errors import StoreNotUsable
from perdure.stores.contract import shard_number
from perdure.stores.options import SHARDS
from perdure.stores.shard_ids import shard_id

LookUp: TypeAlias = Callable[[str, int, bool], Awaitable[tuple[int, int]]]
"""Asks the database for an app's number and how many shards it has, (0, 0) if it is not there; it is made, with so many
shards, if that is said."""


class Apps:
    """The apps of one store, as far as this process has asked for them.

    `place` is where the store is, `wanted` how many shards its address asks for, None for as many as an app has.
    `learned` is told when one more is known.
    """

    def __init__(self, place: object, wanted: int | None, look_up: LookUp, learned: Callable[[], None]) -> None:
        self._place = place
        self._wanted = wanted
        self._look_up = look_up
        self._learned = learned
        self._known: dict[str, tuple[int, int]] = {}

    async def shards(self, app: str, *, make: bool = True) -> list[int]:
        """The ids of its shards. An app that is not there is made if `make`, else it has none.

        Raises StoreNotUsable if the address asks for another number of them.
        """
        number, count = await self._about(app, make)
        return [shard_id(number, place) for place in range(count)]

    async def number(self, app: str) -> int:
        """That of the app, from 1, which is made if it is not there. Raises as `shards` does."""
        return (await self._about(app, True))[0]

    async def learn(self, apps: Iterable[str]) -> None:
        """Know where the instances of these apps are. Raises as `shards` does."""
        for app in set(apps) - self._known.keys():
            await self._about(app, True)

    def home(self, app: str, id: str) -> int:
        """The shard of an instance of an app that is known."""
        number, count = self._known[app]
        return shard_id(number, shard_number(id, count))

    def numbers(self) -> set[int]:
        """Those of the apps that are known."""
        return {number for number, _ in self._known.values()}

    async def _about(self, app: str, make: bool) -> tuple[int, int]:
        if app not in self._known:
            found = await self._look_up(app, self._wanted or SHARDS, make)
            if not found[0]:
                return found
            if self._wanted is not None and found[1] != self._wanted:
                raise StoreNotUsable(
                    f"app {app!r} has {found[1]} shards at {self._place} for ever; "
                    f"leave shards={self._wanted} out of the address"
                )
            self._known[app] = found
            self._learned()
        return self._known[app]
