"""The actors of all apps of a server: whose are those of a type, and which programs are looked after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from perdure.clock import Clock
from perdure.engine.operations import Operations
from perdure.remote.actors.actors import AppActors
from perdure.remote.actors.http_host import Looking
from perdure.remote.app_channel import AppChannel


class ActorApps:
    """`operations` gives those of an app's engine; `changed` is told of an app whose actors have or lack a host now."""

    def __init__(
        self, operations: Callable[[str], Awaitable[Operations]], clock: Clock, changed: Callable[[str], None]
    ) -> None:
        self._operations = operations
        self._clock = clock
        self._changed = changed
        self._apps: dict[str, AppActors] = {}
        self._looking: list[Looking] = []

    def of(self, app: str) -> AppActors:
        """The actors of an app."""
        actors = self._apps.get(app)
        if actors is None:
            actors = self._apps[app] = AppActors(
                app, lambda: self._operations(app), self._clock, lambda: self._changed(app)
            )
        return actors

    def hosting(self, type: str, app: str) -> AppActors:
        """Those of the app whose program hosts the type now; of the given one if there is none."""
        found = [actors for actors in self._apps.values() if actors.hosts(type) is not None]
        own = self.of(app)
        return own if own in found or not found else found[0]

    def counts(self, app: str) -> dict[str, int] | None:
        """Active actors of an app by type, None if it hosts none."""
        actors = self._apps.get(app)
        return actors.counts() if actors is not None and actors.is_hosted else None

    def look_after(self, app: str, channel: AppChannel) -> None:
        """See from now on whether the program of an app hosts actors."""
        actors = self.of(app)
        self._looking.append(Looking(channel, actors.host_came, actors.host_went))

    def pause(self) -> None:
        """Begin no operation any more; those under way may end."""
        for actors in self._apps.values():
            actors.is_paused = True

    @property
    def is_out(self) -> bool:
        """Whether a program has something to do."""
        return any(actors.is_out for actors in self._apps.values())

    async def close(self) -> None:
        for looking in self._looking:
            await looking.stop()
        for actors in self._apps.values():
            await actors.close()

    def __repr__(self) -> str:
        return f"<ActorApps {', '.join(self._apps)}>"
