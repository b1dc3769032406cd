"""The state stores that lie in an app's own store, from the first use of one until the app closes."""

from __future__ import annotations

import os

from perdure.blocks.resources.records import Component
from perdure.blocks.state.places import OWN
from perdure.blocks.state.stores import Shelf, StateStores
from perdure.errors import ForkedEngine, InvalidArgument


class OwnStates:
    """Those of one app. `address` is that of its store, None for a store that somebody made by hand."""

    def __init__(self, app_id: str, address: str | None) -> None:
        self._app_id = app_id
        self._address = address
        self._pid = os.getpid()
        self._stores = StateStores(address or "")

    async def shelf(self, name: str) -> Shelf:
        """Raises InvalidArgument, ForkedEngine, StoreError."""
        if self._address is None:
            raise InvalidArgument(
                f"app {self._app_id!r} was given a store object, which has no place for state; give it the store's "
                "address"
            )
        if self._pid != os.getpid():
            raise ForkedEngine(f"app {self._app_id!r} was opened before a fork; open it in the child process instead")
        component = Component(name=name, type=OWN, version="v1")
        return await self._stores.shelf([component], name, self._app_id)

    async def close(self) -> None:
        """Close those that are open, if they are this process's."""
        if self._pid == os.getpid():
            await self._stores.close()
