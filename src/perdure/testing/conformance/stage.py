"""The stage that stores are put on: how one is made, and how a test is played with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from perdure.errors import PerdureError
from perdure.stores.contract import EngineStore
from perdure.testing.conformance.scene import Scene

Scenario = Callable[[Any, Scene], Awaitable[None]]


def scenario(test: Scenario) -> Callable[[Any, Path], None]:
    """A test that is a plain function, of a coroutine that is told its scene."""

    def run(self: Stage, tmp_path: Path) -> None:
        asyncio.run(self.play(tmp_path, test))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def raised(kind: type[PerdureError], call: Awaitable[Any]) -> PerdureError:
    """The error that the call must raise."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class Stage:
    """How a suite comes to its stores, and what it plays on them; each topic of the suite derives from it."""

    row_bytes_max: int | None = None
    """From which size of a row the store made here answers TOO_LARGE; None if it takes any."""

    async def make(self, directory: Path) -> EngineStore:
        """A store on a new database, not yet opened; files may lie in the directory."""
        raise NotImplementedError

    async def succeed(self, store: EngineStore) -> EngineStore:
        """A store on the same database, not yet opened, after the process that had this one is gone."""
        raise NotImplementedError

    async def arrived(self, store: EngineStore) -> None:
        """Return when what commits have sent to other shards has arrived; at once, for a store that spans shards."""

    async def play(self, directory: Path, test: Scenario) -> None:
        scene = await Scene.of(await self.make(directory), arrived=self.arrived)
        try:
            await test(self, scene)
        finally:
            await scene.store.close()

    async def heir(self, scene: Scene) -> Scene:
        return await Scene.of(await self.succeed(scene.store), "second owner", arrived=self.arrived)
