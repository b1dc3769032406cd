"""A store in memory whose transactions end at a shard: what turns send to other shards leaves through an outbox."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from perdure.stores.contract import Creation, Delivery, Lease, Mail
from perdure.stores.memory import MemoryStore

DELIVERED_AT_ONCE_MAX = 5
"""What the forwarder delivers before it deletes, and so what comes twice if it dies between."""


class OutboxStore(MemoryStore):
    """Keeps what goes from one shard to another until `forward` has delivered it: in order for each pair of shards, at
    least once. `told` hears of each creation that is delivered."""

    spans_shards = False

    def __init__(
        self,
        shard_count: int,
        lease_seconds: float | None,
        now: Callable[[], int],
        told: Callable[[Creation], None] = lambda creation: None,
    ) -> None:
        super().__init__(shard_count, lease_seconds, now)
        self._told = told
        self._parcels: dict[tuple[int, int], deque[tuple[Lease, Mail | Creation]]] = {}

    @property
    def waiting(self) -> int:
        """How much has not been deleted yet."""
        return sum(map(len, self._parcels.values()))

    def is_sent(self, lease: Lease, creation: Creation) -> bool:
        """Whether a creation goes to another shard than that of the turn that asks for it."""
        return self._home(creation.head.app, creation.head.id) != lease.shard

    def forward(self, chance: random.Random, *, dies: bool = False) -> int:
        """Deliver some of what one shard sends to another, then delete it, unless the forwarder `dies` before; how
        much was delivered."""
        pairs = [pair for pair, parcels in self._parcels.items() if parcels]
        if not pairs:
            return 0
        parcels = self._parcels[chance.choice(pairs)]
        count = chance.randint(1, min(len(parcels), DELIVERED_AT_ONCE_MAX))
        for lease, what in list(parcels)[:count]:
            self._deliver_parcel(lease, what)
        if not dies:
            self._delete(parcels, count)
        self._hint()
        return count

    def _deliver_parcel(self, lease: Lease, what: Mail | Creation) -> None:
        if isinstance(what, Mail):
            super()._send(lease, what)
            return
        self._told(what)
        there = self._home(what.head.app, what.head.id)
        super()._create_for(replace(lease, shard=there), what)  # so that a refusal goes back through the other outbox

    def _delete(self, parcels: deque[tuple[Lease, Mail | Creation]], count: int) -> None:
        for _ in range(count):
            parcels.popleft()

    def _create_for(self, lease: Lease, creation: Creation) -> bool:
        if not self.is_sent(lease, creation):
            return super()._create_for(lease, creation)
        self._post(lease, self._home(creation.head.app, creation.head.id), creation)
        return False

    def _send(self, lease: Lease, mail: Mail) -> Delivery:
        home = self._home(mail.app or lease.app, mail.instance)
        if home == lease.shard:
            return super()._send(lease, mail)
        self._post(lease, home, mail)
        return Delivery.DELIVERED

    def _post(self, lease: Lease, home: int, what: Mail | Creation) -> None:
        self._parcels.setdefault((lease.shard, home), deque()).append((lease, what))

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        purged = await super().purge(shard, ids)
        gone = set(purged)
        for parcels in self._parcels.values():
            kept = [parcel for parcel in parcels if _receiver(parcel[1]) not in gone]
            if len(kept) < len(parcels):  # because what was delivered and not deleted would bring it back
                parcels.clear()
                parcels.extend(kept)
        return purged

    def __repr__(self) -> str:
        return f"<OutboxStore: {self.waiting} on their way, {super().__repr__()}>"


def _receiver(what: Mail | Creation) -> str:
    return what.instance if isinstance(what, Mail) else what.head.id
