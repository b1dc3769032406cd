"""The protocol of what an owner must look at, and of calls that any node may run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from perdure.stores.contract.mail import Letter
from perdure.stores.contract.nodes import Backlog, Lease
from perdure.stores.contract.turns import Touch
from perdure.stores.contract.waits import Due, OpenCall


class Wake(Protocol):
    """What the owner of a shard must look at.

    Pages go on until one is empty: a shorter one is not the last, because rows that cannot be read are left out.
    """

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        """Open activity calls of runs that are neither finished nor suspended, by (instance, number), after the
        instance `after`.

        A page ends between two instances, so it may exceed `limit`.
        """

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        """Mail to runs of these shards that are not finished: by shard, by instance and in order of arrival, after the
        instance `after` of that shard.

        What is present and not consumed is returned each time, never by a high-water mark; `after` only
        pages, so that the mail of an instance that consumes none (suspended, stalled) hides nobody else's. A
        page ends between two instances, so it may exceed `limit`.
        """

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        """Waits of unfinished runs of these shards with due <= until, but for calls that are OUT, by (due, shard,
        instance, number), after that key."""

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        """Ids, in order and after `after`, of instances that something may have been deleted of.

        They are no entities, neither finished, suspended nor stalled, and have a wait that is endless (see
        `is_endless`), or neither wait nor mail. Asked once when a shard is taken up.
        """

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        """Take up to `limit` calls of these activities that are OFFERED, or whose claim ran out, to run an attempt of
        each for the next `seconds`; no lease.

        Of runs that are neither finished nor suspended, and calls whose `due`, if any, has come; those first that were
        scheduled first, as nearly as the store can. Atomic per call: it is CLAIMED, by `owner`, under `token`, and
        nobody else gets it. A crash of the store may undo that. One whose claim ran out keeps its attempt's number, as
        a repetition of a held attempt does, and its `lapses` go up by one.
        """

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        """Attempts that were claimed live: each claim lasts for `seconds` from now, and the details it brings are kept.
        With 0 seconds the calls are let go: they are OFFERED again.

        False for one that is not CLAIMED under its token any more, or whose run is another or finished: its attempt is
        for nobody. No lease.
        """

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        """How much the app has to do by the time `until`, as nearly as the store can count it cheaply.

        Due is what is due by then; without it nothing is.
        """

    def watch(self) -> AsyncIterator[None]:
        """Hints that another process may have written. Losing all of them harms nothing: polling finds the
        same."""
