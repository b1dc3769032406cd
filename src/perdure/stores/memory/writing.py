"""What is written to instances: creations, turns, mail, reports, and the end of all rows."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import (
    NOBODY,
    Append,
    Batch,
    Creation,
    Delivery,
    Holder,
    Lease,
    Mail,
    Notice,
    Outcome,
    Posted,
    Report,
    Turn,
    Wait,
)
from perdure.stores.instance import Instance, has_offers
from perdure.stores.memory.rows import Rows, is_held
from perdure.stores.rules import PENDING, holds, rolled_back, taken


class Writing(Rows):
    async def create(self, shard: int, creation: Creation) -> Holder | None:
        self._check_free(shard)
        claim, claims = creation.claim, self._shards[shard].claims
        if claim is not None and claim.name in claims:
            id, until = claims[claim.name]
            head = self._instances[shard][id].head
            if holds(claim, head.execution, head.status, until, creation):
                return Holder(id, head.execution, head.sequence, head.created)
        if not self._created(shard, creation):
            raise taken(creation.head.id)
        if claim is not None:
            claims = self._shards[shard].claims
            claims[claim.name] = (creation.head.id, claim.until)
        self._hint()
        return None

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        self._check_free(shard)
        found = self._instances[shard].get(holder.id)
        if found is None or not found.renew(holder, mail, wait, at):
            return False
        self._hint()
        return True

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        for batch in batches:
            lease, epoch = batch.lease, self._shards[batch.lease.shard].epoch
            if epoch < lease.epoch:
                raise rolled_back(lease.shard, lease.app, epoch, lease.epoch)
        outcomes: list[list[Outcome]] = []
        committed: list[tuple[Lease, Turn]] = []
        for batch in batches:
            outcomes.append(self._write(batch, token))
            written = zip(batch.turns, outcomes[-1], strict=False)
            committed += [(batch.lease, turn) for turn, outcome in written if outcome is Outcome.COMMITTED]
        for lease, turn in committed:
            made = [self._create_for(lease, creation) for creation in turn.created]
            turn.is_all_new = all(made)
        for lease, turn in committed:
            for mail in turn.mail:
                self._send(lease, mail)
        if any(turn.mail or turn.created or has_offers(turn) for _, turn in committed):
            self._hint()
        return [outcome for found in outcomes for outcome in found]

    def _write(self, batch: Batch, token: str) -> list[Outcome]:
        """Write the rows of the batch's own instances; the outcomes of its turns, then of its appends."""
        shard = self._shards[batch.lease.shard]
        if not is_held(shard, batch.lease):
            return [Outcome.FENCED] * (len(batch.turns) + len(batch.appends))
        shard.token = token
        appended = [self._append(batch.lease.shard, append) for append in batch.appends]
        return [self._turn(batch.lease.shard, turn) for turn in batch.turns] + appended

    def _turn(self, shard: int, turn: Turn) -> Outcome:
        """Write the rows of the turn's own instance if its condition holds."""
        instances = self._instances[shard]
        found = instances.get(turn.id)
        if turn.expected is None:
            if found is not None and not found.makes_room(turn):
                return Outcome.EXISTS
            instances[turn.id] = Instance.started(turn)
            self._shards[shard].forget(turn.id)
            self._shards[shard].forget_claims(turn.id)
        elif found is None or found.take(turn) is not Outcome.COMMITTED:
            return Outcome.CONFLICT
        if turn.permits:
            self._keep_permits(shard, turn)
        self._keep_notices(shard, turn.notices)
        return Outcome.COMMITTED

    def _append(self, shard: int, append: Append) -> Outcome:
        found = self._instances[shard].get(append.id)
        return found.append(append) if found is not None else Outcome.CONFLICT

    def _keep_permits(self, shard: int, turn: Turn) -> None:
        kept = self._shards[shard].permits
        queues = {permit.queue for permit in turn.permits}
        kept[:] = [permit for permit in kept if permit.queue not in queues or permit.until > turn.at]
        kept.extend(turn.permits)

    def _keep_notices(self, shard: int, notices: Sequence[Notice]) -> None:
        for notice in notices:
            number = next(self._notice_numbers)
            posted = Posted(number, notice.instance, notice.event)
            self._notices.setdefault(shard, {})[number] = posted, PENDING

    def _create_for(self, lease: Lease, creation: Creation) -> bool:
        """Create what a turn of the lease's shard asks for, or send its refusal; whether that joins, or is new."""
        if creation.joins and self._send(lease, creation.mail) not in NOBODY:
            return True
        home = self._home(creation.head.app, creation.head.id)
        is_new = creation.head.id not in self._instances[home]
        if not self._created(home, creation) and creation.refusal is not None:
            self._send(lease, creation.refusal)
        return creation.joins or is_new

    def _created(self, shard: int, creation: Creation) -> bool:
        """Insert the instance; False if its id is taken."""
        head = creation.head
        found = self._instances[shard].get(head.id)
        if found is not None:
            if found.repeats(creation):
                return True
            if not found.admits(creation):
                return False
        self._instances[shard][head.id] = Instance.created(creation)
        self._shards[shard].forget(head.id)
        self._shards[shard].forget_claims(head.id)
        return True

    def _send(self, lease: Lease, mail: Mail) -> Delivery:
        return self._deliver(self._home(mail.app or lease.app, mail.instance), mail)

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        return self._held(lease).token == token

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        self._check_free(shard)
        deliveries = [self._deliver(shard, message) for message in mail]
        self._hint()
        return deliveries

    def _deliver(self, shard: int, mail: Mail) -> Delivery:
        found = self._instances[shard].get(mail.instance)
        return Delivery.NO_INSTANCE if found is None else found.deliver(mail)

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        self._check_free(shard)
        outcomes = [self._report(shard, told) for told in reports]
        self._hint()
        return outcomes

    def _report(self, shard: int, told: Report) -> Outcome:
        found = self._instances[shard].get(told.mail.instance)
        return Outcome.CONFLICT if found is None else found.report(told)

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        self._check_free(shard)
        purged = [found.head.id for found in self._of(shard, ids) if found.finished or found.is_unused]
        for id in purged:
            del self._instances[shard][id]
            self._shards[shard].forget(id)
            self._shards[shard].forget_claims(id)
        return purged
