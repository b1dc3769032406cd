"""The protocol of owning shards and living."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from perdure.stores.contract.nodes import Beat, Lease, Member, Suspect


class Heart(Protocol):
    """A node's beats through a connection of their own, which the first one opens."""

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        """As `Leases.beat`."""

    async def close(self) -> None:
        """Let go of the connection. May be called twice."""


class Leases(Protocol):
    """Who owns which shard, and which nodes live."""

    @property
    def lease_seconds(self) -> float | None:
        """How long a lease lasts after it was taken, or after the last beat, by the store's clock. None: until its
        holder lets go, or dies."""

    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        """Take up to `limit` (None: all) of the app's shards that are free or whose lease ran out, each with an epoch
        higher than any before.

        Returns what `owner` now holds; what it held before keeps its epoch. Empty: somebody else owns them;
        ask again later. Raises StoreRolledBack if the store's epoch is lower than one that this object has
        seen.

        With `at` (now) the owner *lives* on the shards that it takes, until they are released. If the life before on a
        shard was not, its owner has died: in the same transaction each run of the shard that is not finished and could
        have been running becomes a suspect or, if it is one, has one death more: a run, or an entity, with an
        activity call that is IN_FLIGHT and not due later than `at` (unless it is suspended), with another wait that is
        due by `at`, or with mail (unless a wait of kind START is due later or QUEUED). Other suspects are forgotten.
        Without `at` the owner runs no code: lives, deaths and suspects stay as they are.
        """

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give shards back at once. From now on a commit under them is FENCED; lost ones are ignored.

        A life on them ends in good order, and nobody is a suspect any more.
        """

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        """A node lives: it is a member of the app, and those of the leases that still hold, for `lease_seconds` more.

        A lease that ran out holds again if nobody has taken the shard meanwhile. Members that have not beaten for
        `lease_seconds` are forgotten. Raises StoreRolledBack as `acquire` does.
        """

    def heart(self) -> Heart:
        """For a thread with an event loop of its own, so that leases hold while the engine's loop is busy."""

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        """Keep what a member tells of itself, in place of what it told before, for as long as it is one.

        Where no leases run out, it is kept of the owner of the app's shards, until another one tells.
        """

    async def leave(self, app: str, owner: str) -> None:
        """The node is no member any more; its leases stay as they are."""

    async def members(self, app: str) -> list[Member]:
        """Who lives, by owner, with what each has told of itself."""

    async def suspects(self, shard: int) -> list[Suspect]:
        """Who could have been running when the last owners died, by instance id. No lease is needed to look."""

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        """Note that this suspect may run from now on, beside those accused before it; durable when it returns.

        One that is no suspect is ignored. Raises Fenced.
        """

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        """Forget these suspects, their deaths and accusations. Those that are none are ignored. Raises Fenced."""

    async def holder(self, app: str) -> str | None:
        """Who owns the app's first shard, for people to read. None: nobody."""
