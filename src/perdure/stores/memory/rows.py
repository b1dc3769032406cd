"""The plain dicts that everything is kept in, and who is told when something was written."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from perdure.clock import SECOND
from perdure.stores.contract import Lease, Member, Permit, Posted, Reservation, shard_number
from perdure.stores.instance import Instance
from perdure.stores.rules import lost, reserved_for
from perdure.stores.watchers import Watchers


@dataclass(slots=True)
class Shard:
    """Who may write to the instances of one shard, and the newest commit."""

    app: str
    number: int
    epoch: int = 0
    owner: str | None = None
    token: str | None = None
    until: int | None = None
    life: int | None = None
    deaths: dict[str, int] = field(default_factory=dict)
    accused: dict[str, int] = field(default_factory=dict)
    accused_at_death: dict[str, int] = field(default_factory=dict)
    permits: list[Permit] = field(default_factory=list)
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)
    reservation: Reservation | None = None

    def forget(self, id: str) -> None:
        """It is no suspect any more."""
        self.deaths.pop(id, None)
        self.accused.pop(id, None)
        self.accused_at_death.pop(id, None)

    def forget_claims(self, id: str) -> None:
        """The rows of the instance go, and what it has claimed with them."""
        if self.claims:
            self.claims = {name: held for name, held in self.claims.items() if held[0] != id}


class Rows:
    """What every part of the store stands on."""

    spans_shards = True

    def __init__(
        self,
        shard_count: int = 1,
        lease_seconds: float | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._shard_count = shard_count
        self._now = now
        self._shards: dict[int, Shard] = {}
        self._instances: dict[int, dict[str, Instance]] = {}
        self._members: dict[str, dict[str, Member]] = {}
        self._abouts: dict[tuple[str, str], bytes] = {}
        self._notices: dict[int, dict[int, tuple[Posted, int]]] = {}
        self._notice_numbers = itertools.count(1)
        self._audits: dict[str, list[bytes]] = {}
        self._audit_digests: dict[str, str] = {}
        self._watchers = Watchers()

    def __repr__(self) -> str:
        return f"<MemoryStore of {sum(map(len, self._instances.values()))} instances>"

    async def open(self) -> None:
        self._watchers.begin()

    async def close(self) -> None:
        self._hint()

    async def shards(self, app: str) -> list[int]:
        return self._shards_of(app)

    async def apps(self) -> list[str]:
        return sorted({shard.app for shard in self._shards.values()})

    def watch(self) -> AsyncIterator[None]:
        return self._watchers.watch()

    def _hint(self) -> None:
        self._watchers.tell()

    def _shards_of(self, app: str) -> list[int]:
        found = [id for id, shard in self._shards.items() if shard.app == app]
        if not found:
            first = len(self._shards) + 1
            found = list(range(first, first + self._shard_count))
            for number, id in enumerate(found):
                self._shards[id] = Shard(app, number)
                self._instances[id] = {}
        return found

    def _home(self, app: str, id: str) -> int:
        shards = self._shards_of(app)
        return shards[shard_number(id, len(shards))]

    def _of(self, shard: int, ids: Sequence[str]) -> list[Instance]:
        instances = self._instances[shard]
        return [instances[id] for id in dict.fromkeys(ids) if id in instances]

    def _unfinished(self, shard: int) -> Iterator[tuple[str, Instance]]:
        return ((id, found) for id, found in sorted(self._instances[shard].items()) if not found.finished)

    def _held(self, lease: Lease) -> Shard:
        shard = self._shards[lease.shard]
        if not is_held(shard, lease):
            raise lost(lease)
        return shard

    def _check_free(self, shard: int) -> None:
        """Raises AppReserved while the app of the shard is kept for a move."""
        found = self._shards[shard]
        if found.reservation is not None:
            raise reserved_for(found.app, found.reservation)

    def _ends(self, seconds: float | None = None) -> int | None:
        """When what begins now for so long is over; None for a lease that does not run out."""
        lasts = self.lease_seconds if seconds is None else seconds
        return None if lasts is None else self._now() + round(lasts * SECOND)


def is_held(shard: Shard, lease: Lease) -> bool:
    """Whether nobody has taken the shard since, nor its holder let it go. One that ran out holds until somebody takes
    it."""
    return shard.epoch == lease.epoch and shard.owner is not None
