"""The configuration stores of the apps of a server: items are read, and watched by looking again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

import msgspec

from perdure.blocks.configuration import OWN, Configurations, Item, difference
from perdure.blocks.resources import Resources
from perdure.errors import ComponentNotFound, NotSupportedByServer, PerdureError, ServerUnavailable
from perdure.remote.configuration import Own, opened

log = logging.getLogger("perdure")
LOOK_SECONDS = 0.5
"""How often it is looked for changes on behalf of each subscription."""
SUBSCRIPTIONS_MAX = 1_000
"""Subscriptions of one server that are open at once."""


class Change(msgspec.Struct, frozen=True):
    """What is new to a subscription; nothing at first, which only tells its id."""

    id: str
    items: Mapping[str, Item] = {}


Tell = Callable[[Change], Awaitable[None]]
"""Tells a program of a change. Raises ServerUnavailable if it does not listen."""


class ConfigurationDesk:
    """Asked by the calls and routes of configuration. `token` makes ids."""

    def __init__(self, resources_of: Callable[[str], Resources], own: Own, token: Callable[[], str]) -> None:
        self._resources_of = resources_of
        self._own = own
        self._token = token
        self._over: dict[tuple[str, str], asyncio.Event] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def items(self, app: str, store: str, keys: Sequence[str]) -> dict[str, Item]:
        """Those of the keys that are there; all, if no key is given. Raises ComponentNotFound, StoreError."""
        return await (await self._store(app, store)).items(keys)

    async def changes(self, app: str, store: str, keys: Sequence[str]) -> AsyncGenerator[Change]:
        """Those from now on, until somebody ends the subscription; the first one tells its id.

        Raises ComponentNotFound, StoreError.
        """
        watched = await self._store(app, store)
        if len(self._over) >= SUBSCRIPTIONS_MAX:
            raise NotSupportedByServer(f"{SUBSCRIPTIONS_MAX:,} subscriptions are open, which are all; end one first")
        id = self._token()
        over = self._over[app, id] = asyncio.Event()
        try:
            known = await watched.items(keys)
            yield Change(id)
            while not await _waited(over, LOOK_SECONDS):
                found = await watched.items(keys)
                if told := difference(known, found):
                    yield Change(id, told)
                known = found
        finally:
            del self._over[app, id]

    async def watch(self, app: str, store: str, keys: Sequence[str], tell: Tell) -> str:
        """Tell a program of changes from now on; the id of the subscription. Raises ComponentNotFound, StoreError."""
        changes = self.changes(app, store, keys)
        first = await anext(changes)
        task = asyncio.get_running_loop().create_task(_told(changes, tell, f"{store} of app {app}"))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return first.id

    def end(self, app: str, id: str) -> bool:
        """End a subscription; whether there was one of the app."""
        over = self._over.get((app, id))
        if over is not None:
            over.set()
        return over is not None

    def close(self) -> None:
        """Tell nobody any more."""
        for task in self._telling:
            task.cancel()

    async def _store(self, app: str, name: str) -> Configurations:
        found = {one.name: one for one in self._resources_of(app).block("configuration")}
        if name not in found:
            there = ", ".join(sorted(found)) or f"none; declare one of the type {OWN}"
            raise ComponentNotFound(f"app {app!r} has no configuration store {name[:80]!r}; there are: {there}")
        return await opened(found[name], self._own)

    def __repr__(self) -> str:
        return f"<ConfigurationDesk: {len(self._over)} subscriptions>"


async def _told(changes: AsyncGenerator[Change], tell: Tell, what: str) -> None:
    try:
        async with aclosing(changes):
            async for change in changes:
                try:
                    await tell(change)
                except ServerUnavailable as error:
                    log.warning("a change of the configuration %s is not heard: %s", what, error)
    except PerdureError as error:
        log.error("the configuration %s is watched no more: %s", what, error)


async def _waited(over: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return False
    return True
