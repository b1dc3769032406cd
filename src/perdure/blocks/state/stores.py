"""The state stores that an app may use by name, each opened when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from perdure.blocks.resources.records import Component
from perdure.blocks.state.places import Place, place_of
from perdure.blocks.state.prefixes import prefix_of
from perdure.blocks.state.sweeping import Sweeper
from perdure.cancellation import cancel_and_wait
from perdure.errors import InvalidArgument, StateStoreNotFound
from perdure.stores.values.contract import StateStore
from perdure.stores.values.opening import open_values

STORES_MAX = 1_000
"""State stores that one process has open."""


class Shelf(msgspec.Struct, frozen=True):
    """A state store as one app sees it: what its keys begin with, and how long its values live if nothing is said."""

    store: StateStore
    prefix: str
    ttl: float | None


class StateStores:
    """The open stores of a process, shared by the apps that name the same place. `own` is the address of the process's
    own store. Belongs to the event loop that first asks."""

    def __init__(self, own: str, *, namespace: str = "") -> None:
        self._own = own
        self._namespace = namespace
        self._opened: dict[tuple[str, str], tuple[StateStore, Sweeper | None]] = {}
        self._opening: dict[tuple[str, str], asyncio.Task[StateStore]] = {}

    async def shelf(self, components: Iterable[Component], name: str, app_id: str) -> Shelf:
        """The state store of that name among the components of an app.

        Raises StateStoreNotFound, InvalidArgument, and StoreError if it cannot be reached.
        """
        component = next((one for one in components if one.name == name and one.block == "state"), None)
        if component is None:
            raise StateStoreNotFound(f"state store {name} is not found")
        place = place_of(component)
        prefix = prefix_of(place.key_prefix, app_id=app_id, store=name, namespace=self._namespace)
        return Shelf(await self._store(place), prefix, place.ttl)

    async def own(self, space: str) -> StateStore:
        """A space of the process's own store, in which what is kept never expires. Raises StoreError."""
        return await self._store(Place(address=None, space=space, sweep_seconds=None))

    async def close(self) -> None:
        opening, self._opening = list(self._opening.values()), {}
        await cancel_and_wait(*opening)
        opened, self._opened = list(self._opened.values()), {}
        for store, sweeper in opened:
            if sweeper is not None:
                await sweeper.stop()
            await store.close()

    async def _store(self, place: Place) -> StateStore:
        """Only those wait for a store that want this one, because another may have a server that does not answer."""
        key = (place.address or self._own, place.space)
        if key in self._opened:
            return self._opened[key][0]
        opening = self._opening.get(key)
        if opening is None:
            if len(self._opened) + len(self._opening) >= STORES_MAX:
                raise InvalidArgument(f"{STORES_MAX:,} state stores are open already; use fewer")
            opening = self._opening[key] = asyncio.get_running_loop().create_task(self._open(key, place))
            opening.add_done_callback(lambda task: self._has_ended(key, task))
        return await asyncio.shield(opening)

    def _has_ended(self, key: tuple[str, str], opening: asyncio.Task[StateStore]) -> None:
        self._opening.pop(key, None)
        if not opening.cancelled():
            opening.exception()  # looked at, because whoever asked may have gone

    async def _open(self, key: tuple[str, str], place: Place) -> StateStore:
        store = open_values(*key)
        await store.open()
        sweeper = None if place.sweep_seconds is None else Sweeper(store, place.sweep_seconds)
        if sweeper is not None:
            sweeper.start()
        self._opened[key] = (store, sweeper)
        return store
