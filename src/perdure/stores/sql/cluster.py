"""An SQL store on a server that many nodes share: its leases are rows that run out by the server's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from perdure.gathering import Gathering
from perdure.stores.contract import (
    OFFERED,
    Batch,
    Beat,
    Creation,
    Delivery,
    Holder,
    Lease,
    Loaded,
    Mail,
    Member,
    OpenCall,
    Outcome,
    Report,
    Reservation,
    ShardState,
    Touch,
    Turn,
    Wait,
)
from perdure.stores.rules import owned, rolled_back
from perdure.stores.sql import claims, instances, lives, moving, reads, statements
from perdure.stores.sql.connection import Connection, Database, Step, in_transaction
from perdure.stores.sql.hints import Hints
from perdure.stores.sql.ownership import Mark
from perdure.stores.sql.runner import Runner, ThreadRunner
from perdure.stores.sql.store import Session, SqlStore, shards_of, told

T = TypeVar("T")


class ClusterDatabase(Database, Protocol):
    """A database of a dialect with row locks and a clock, by which all of these count. Each is one call of the server,
    or few."""

    def hint(self, connection: Connection, shards: frozenset[int]) -> None:
        """Tell other nodes that these shards have something new, as far as the server can."""

    def hints(self) -> AsyncIterator[frozenset[int]]:
        """The shards of which other nodes tell, none for all. It may end, where the server tells nothing."""

    def shut_out(self, connection: Connection, app: str) -> None:
        """Wait until nobody writes to the app, and let nobody until the transaction ends."""

    def take(
        self, connection: Connection, app: str, owner: str, limit: int | None
    ) -> list[tuple[int, int, int | None]]:
        """Lease to the owner shards of the app that are free or whose lease ran out, up to `limit`, passing over those
        that another node takes at the same moment.

        The shard, its new epoch, and its life if the one before has not ended in good order.
        """

    def beat(
        self, connection: Connection, app: str, member: Member, leases: Sequence[Lease]
    ) -> tuple[Beat, dict[int, int]]:
        """As `Leases.beat`, and the epochs of the shards, by shard."""

    def claim(
        self, connection: Connection, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        """As `Wake.claim`, passing over calls that another node claims at the same moment. Raises AppReserved."""

    def touch(self, connection: Connection, touches: Sequence[Touch], seconds: float) -> list[bool]:
        """As `Wake.touch`."""


class OwnedByRows:
    """The part of a `Database` that is empty where leases are rows: nothing beside it is locked or marked."""

    def own(self, owner: str) -> bool:
        return True

    def disown(self) -> None:
        """Leases say who owns what."""

    def owner(self) -> str | None:
        return None

    def marks(self) -> dict[int, Mark]:
        return {}

    def mark(self, marks: dict[int, Mark]) -> None:
        """Nothing beside the server knows how far it is."""


class ClusterStore(SqlStore):
    """An `EngineStore` on a server."""

    def __init__(self, database: ClusterDatabase, runner: Callable[[str], Runner] = ThreadRunner) -> None:
        super().__init__(database, runner)
        self._server = database
        self._hints = Hints(self._send_hint)
        self._letters: Gathering[tuple[int, Mail], Delivery | Exception] = Gathering(self._deliver)
        self._reports: Gathering[tuple[int, Report], Outcome | Exception] = Gathering(self._report)
        self._loads: Gathering[tuple[int, str], Loaded | None] = Gathering(self._load)
        self._guests: Session | None = None

    async def close(self) -> None:
        await self._hints.stop()
        guests, self._guests = self._guests, None
        if guests is not None:
            await guests.close()
        await super().close()

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        """On a connection of its own, because the commits of others need not wait for a caller's work."""
        self._session(self._writer)
        if self._guests is None:
            self._guests = Session(self._server, self._runner("perdure-store-guests"), write=True)
        return await self._guests.run_once(in_transaction, True, self._transact, lease, id, number, attempt, work)

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        made = await super().create(shard, creation)
        self._tell([shard])
        return made

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        renewed = await self._guarded(shard, claims.renew, holder, mail, wait, at)
        self._tell([shard])
        return renewed

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        return await self._guarded(shard, instances.purge, ids)

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        self._session(self._reader)
        found = await self._loads.add_all([(shard, id) for id in dict.fromkeys(ids)])
        return [loaded for loaded in found if loaded is not None]

    async def _load(self, places: Sequence[tuple[int, str]]) -> Sequence[Loaded | None]:
        found = await self._read(reads.load, places)
        return [found.get(place) for place in places]

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        self._session(self._writer)
        delivered = await self._letters.add_all([(shard, one) for one in mail])
        self._tell([shard])
        return [told(delivery) for delivery in delivered]

    async def _deliver(self, letters: Sequence[tuple[int, Mail]]) -> Sequence[Delivery | Exception]:
        return await self._together(self._deliver_all, letters)

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        self._session(self._writer)
        outcomes = await self._reports.add_all([(shard, one) for one in reports])
        self._tell([shard])
        return [told(outcome) for outcome in outcomes]

    async def _report(self, reports: Sequence[tuple[int, Report]]) -> Sequence[Outcome | Exception]:
        return await self._together(self._report_all, reports)

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        outcomes = await super().commit(batches, token)
        self._tell(self._receivers(batches))
        if any(_offers(turn) for batch in batches for turn in batch.turns):
            self._hints.tell_all()
        return outcomes

    async def watch(self) -> AsyncIterator[None]:
        async for shards in self._server.hints():
            if not shards or not self._leases.keys().isdisjoint(shards):
                yield

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        return await self._session(self._writer).run(self._beat, app, member, leases)

    def heart(self) -> ClusterHeart:
        return ClusterHeart(Session(self._server, self._runner("perdure-store-heart"), write=True), self._beat)

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        await self._write(_tell, app, owner, about)

    async def leave(self, app: str, owner: str) -> None:
        await self._write(_leave, app, owner)

    async def members(self, app: str) -> list[Member]:
        return await self._ask(_members, app)

    async def shard_states(self, app: str) -> list[ShardState]:
        return await self._ask(_shard_states, app)

    async def holder(self, app: str) -> str | None:
        return await self._ask(_holder, app)

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        return await self._session(self._writer).run(self._server.claim, app, owner, token, names, limit, seconds)

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        return await self._session(self._writer).run(self._server.touch, touches, seconds)

    # Hints

    def _tell(self, shards: Iterable[int]) -> None:
        """Let others know, but for what this node looks after itself."""
        self._hints.tell(shard for shard in shards if shard not in self._leases)

    def _receivers(self, batches: Sequence[Batch]) -> set[int]:
        """The shards that get mail from the turns."""
        turns = [turn for batch in batches for turn in batch.turns if turn.mail or turn.created]
        app = batches[0].lease.app if batches else ""
        created = {self._home(creation.head.app, creation.head.id) for turn in turns for creation in turn.created}
        return created | {self._home(mail.app or app, mail.instance) for turn in turns for mail in turn.mail}

    async def _send_hint(self, shards: frozenset[int]) -> None:
        await self._session(self._reader).run(self._server.hint, shards)

    # On the runner of the connection

    def _beat(self, connection: Connection, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        beat, epochs = self._server.beat(connection, app, member, leases)
        for lease in leases:
            epoch = epochs.get(lease.shard, 0)
            if epoch < lease.epoch:
                raise rolled_back(lease.shard, lease.app, epoch, lease.epoch)
        held = {(lease.shard, lease.epoch) for lease in beat.held}
        self._forget([lease for lease in leases if (lease.shard, lease.epoch) not in held])
        return beat

    def _forget(self, lost: Sequence[Lease]) -> None:
        """What is looked after elsewhere from now on. A new dict each time, because other threads read it."""
        gone = {(lease.shard, lease.epoch) for lease in lost}
        self._leases = {shard: lease for shard, lease in self._leases.items() if (shard, lease.epoch) not in gone}

    def _acquire(self, connection: Connection, app: str, owner: str, at: int | None, limit: int | None) -> list[Lease]:
        leases = in_transaction(connection, True, self._take, app, owner, at, limit)
        others = {shard: lease for shard, lease in self._leases.items() if lease.app != app}
        self._leases = others | {lease.shard: lease for lease in leases}
        self._epochs.update({lease.shard: lease.epoch for lease in leases})
        return leases

    def _take(self, connection: Connection, app: str, owner: str, at: int | None, limit: int | None) -> list[Lease]:
        taken = self._server.take(connection, app, owner, limit) if limit is None or limit > 0 else []
        epochs = {shard: epoch for shard, epoch, _ in taken}
        leases = []
        for shard, number, epoch, holder, until in connection.rows(statements.SELECT_LEASES, (app,)):
            known = self._epochs.get(shard, 0)
            if epoch - (shard in epochs) < known:
                raise rolled_back(shard, app, epoch, known)
            if holder == owner:
                leases.append(Lease(shard, app, number, owner, epoch, until))
        if at is not None:
            died = [(shard, epoch) for shard, epoch, life in taken if life is not None]
            begun = Step(statements.BEGIN_LIFE, [(shard,) for shard, *_ in taken])
            connection.run([*(lives.death_steps(died, at) if died else ()), begun])
        return leases

    async def _guarded(self, shard: int, work: Callable[..., T], *args: Any) -> T:
        """Write to a shard whose app is not kept for a move, in a transaction."""
        writer = self._session(self._writer)
        return await writer.run(moving.unless_reserved, [shard], in_transaction, True, work, shard, *args)

    def _create_all(
        self, connection: Connection, asked: Sequence[tuple[int, Creation]]
    ) -> Sequence[Holder | Exception | None]:
        return moving.unless_reserved(connection, {shard for shard, _ in asked}, claims.create_all, asked)

    def _deliver_all(self, connection: Connection, letters: Sequence[tuple[int, Mail]]) -> list[Delivery]:
        return moving.unless_reserved(connection, shards_of(letters), instances.deliver, letters)

    def _report_all(self, connection: Connection, reports: Sequence[tuple[int, Report]]) -> list[Outcome]:
        return moving.unless_reserved(connection, shards_of(reports), instances.report, reports)

    def _reserve_unowned(self, connection: Connection, app: str, reservation: Reservation) -> None:
        self._server.shut_out(connection, app)
        super()._reserve_unowned(connection, app, reservation)
        owner = connection.row(statements.SELECT_OWNERS, (app,))
        if owner is not None:
            raise owned(app, owner[0])

    def _release(self, connection: Connection, leases: Sequence[Lease]) -> None:
        held = sorted((lease.shard, lease.epoch) for lease in leases)
        connection.run(
            [Step(sql, held) for sql in (statements.FREE_SHARD, statements.FORGET_LIFE, statements.END_LIFE)]
        )
        self._forget(leases)


class ClusterHeart:
    """Beats through a connection of their own."""

    def __init__(self, session: Session, beat: Callable[..., Beat]) -> None:
        self._session = session
        self._beat = beat

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        return await self._session.run(self._beat, app, member, leases)

    async def close(self) -> None:
        await self._session.close()


def _tell(connection: Connection, app: str, owner: str, about: bytes) -> None:
    connection.change(statements.FORGET_ABOUTS, (app, owner))
    connection.change(statements.INSERT_MEMBERS_ABOUT, (app, owner, about.decode()))


def _offers(turn: Turn) -> bool:
    """Whether any node may claim a call from now on."""
    return any(wait.state == OFFERED for waits in (turn.opened, turn.changed) for wait in waits)


def _leave(connection: Connection, app: str, owner: str) -> None:
    connection.change(statements.LEAVE, (app, owner))
    connection.change(statements.FORGET_ABOUTS, (app, owner))


def _members(connection: Connection, app: str) -> list[Member]:
    return [_member(*row) for row in connection.rows(statements.SELECT_MEMBERS, (app,))]


def _member(owner: str, has_code: bool, slots: int, busy: int, until: int, about: str | None) -> Member:
    return Member(owner, bool(has_code), slots, busy, until, None if about is None else about.encode())


def _shard_states(connection: Connection, app: str) -> list[ShardState]:
    return [ShardState(*row) for row in connection.rows(statements.SELECT_LEASES, (app,))]


def _holder(connection: Connection, app: str) -> str | None:
    row: Any = connection.row(statements.SELECT_FIRST_HOLDER, (app,))
    return None if row is None else row[0]
