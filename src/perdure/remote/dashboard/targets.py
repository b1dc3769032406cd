"""The stores and servers that a dashboard shows: what is open, what is down, and who may do what there."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol

from perdure.errors import InvalidArgument, PerdureError, ServerUnavailable, StoreUnavailable
from perdure.sdk.client import Client
from perdure.sdk.role import Role

OPEN_WAIT_SECONDS = 3.0
"""How long a page waits for a target to open; it goes on opening behind the page that says so."""
RETRY_SECONDS = 5.0
"""How long a target that is down is left alone before it is opened again."""
TARGETS_MAX = 100
"""Targets of one dashboard."""
LOST = (StoreUnavailable, ServerUnavailable, OSError)
"""Errors by which a target is known to have ceased to answer."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Place(Protocol):
    """A store or server that is open."""

    async def apps(self) -> Sequence[str]:
        """The apps that are there, by name."""

    async def client(self, app: str) -> Client:
        """The client of one of them. Raises InvalidArgument if it is not there."""

    async def close(self) -> None:
        """Hang up."""


class Target:
    """One store or server by its name. `words` are the options by which commands find it again."""

    def __init__(
        self,
        name: str,
        open: Callable[[], Awaitable[Place]],
        *,
        role: Role = Role.ADMIN,
        words: str = "",
        patience: float = OPEN_WAIT_SECONDS,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"target {name[:60]!r} is no name; use letters, digits, dots and dashes, 40 at most")
        self.name = name
        self.role = role
        self.words = words
        self.reason: str | None = None
        """Why it is down, as far as is known; None: it is up, or has not been asked."""
        self._open = open
        self._patience = patience
        self._place: Place | None = None
        self._opening: asyncio.Task[Place] | None = None
        self._failed_at = float("-inf")

    @property
    def is_up(self) -> bool:
        return self._place is not None

    async def place(self) -> Place:
        """What is behind it. Raises ServerUnavailable while that cannot be reached."""
        if self._place is not None:
            return self._place
        if self._opening is None:
            if self.reason is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise self._down()
            self._opening = asyncio.ensure_future(self._open())
        opening = self._opening
        await asyncio.wait({opening}, timeout=self._patience)
        if not opening.done():
            self.reason = self.reason or "it does not answer"
            raise self._down()
        self._opening = None
        try:
            self._place, self.reason = opening.result(), None
        except (PerdureError, OSError, TimeoutError) as error:
            self._fail(error)
            raise self._down() from error
        return self._place

    def slow(self) -> None:
        """It has not answered a page in time, which may be the page's fault: it stays open."""
        self.reason = "it does not answer in time"

    def answered(self) -> None:
        """It has answered."""
        self.reason = None

    async def lost(self, error: Exception) -> ServerUnavailable:
        """It has ceased to answer: let go of what is open, so that it is opened anew later."""
        self._fail(error)
        place, self._place = self._place, None
        if place is not None:
            await _closed(place)
        return self._down()

    async def close(self) -> None:
        """Hang up. It opens again when it is asked."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled() and opening.exception() is None:
                await _closed(opening.result())
        place, self._place = self._place, None
        if place is not None:
            await _closed(place)

    def _fail(self, error: Exception) -> None:
        self.reason = _told(error)
        self._failed_at = time.monotonic()

    def _down(self) -> ServerUnavailable:
        return ServerUnavailable(f"target {self.name!r} is down: {self.reason}")

    def __repr__(self) -> str:
        return (
            f"<Target {self.name}: {self.role.word}, {'up' if self.is_up else 'down' if self.reason else 'not asked'}>"
        )


class Targets:
    """The targets of a dashboard, in the order in which they were given. Raises InvalidArgument."""

    def __init__(self, targets: Iterable[Target]) -> None:
        given = list(targets)
        self._by_name = {target.name: target for target in given}
        if not given or len(given) > TARGETS_MAX:
            raise InvalidArgument(f"a dashboard has {len(given)} targets; give 1 to {TARGETS_MAX}")
        if len(self._by_name) != len(given):
            raise InvalidArgument("two targets have one name; each has to differ")

    def __iter__(self) -> Iterator[Target]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Target | None:
        return self._by_name.get(name)

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(target.close() for target in self))

    def __repr__(self) -> str:
        return f"<Targets {', '.join(self._by_name)}>"


async def _closed(place: Place) -> None:
    try:
        await place.close()
    except (PerdureError, OSError):
        return  # because what is lost has nobody to hang up on


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not isinstance(error, PerdureError):
        return "it does not answer"
    return str(error.args[0]) if error.args else type(error).__name__
