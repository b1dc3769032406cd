"""Group commit: turns that finish, and items that are yielded, while a commit is in flight join the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from perdure.actors.docket import Docket, Taken
from perdure.cancellation import cancel_and_wait
from perdure.clock import SECOND, Clock
from perdure.errors import Fenced, StoreError, StoreFull, StoreUnavailable
from perdure.stores.contract import Append, Batch, Head, Lease, Outcome, Status, Store, Turn
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")
TURNS_PER_COMMIT_MAX = 1_000
"""Bound of one transaction: more turns wait for the next."""
APPENDS_PER_COMMIT_MAX = 1_000
"""Likewise of streams that get items in it."""
FULL_PAUSE_SECONDS = 0.5
"""Between tries to commit to a store that has no room. New instances are refused, turns of others wait."""
RETRY_SECONDS_MAX = 1.0
"""How far the pause grows between tries of a commit that the store did not take and did not answer."""
UNKNOWN_TRIES_MAX = 5
"""How often an unknown outcome is asked for before the lease is given up and recovery decides."""

REFUSED = (Outcome.CONFLICT, Outcome.EXISTS)
"""The condition of what was to be written did not hold."""

T = TypeVar("T")


class Committer:
    """Writes what is decided under all leases of a node, one transaction at a time."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics | None = None) -> None:
        self.commits = 0
        self.turns = 0
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._dockets: list[Docket] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._full_since: int | None = None
        self._began: int | None = None

    def docket(self, lease: Lease, lost: Callable[[str], None]) -> Docket:
        """Where to put what is to be written under the lease, until the docket is stopped or abandoned."""
        docket = Docket(lease, lost, self._work.set)
        self._dockets.append(docket)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="perdure-committer")
        return docket

    @property
    def full_since(self) -> int | None:
        """Since when something waits for room in the store, microseconds since 1970 UTC; None: nothing does."""
        return None if all(docket.is_idle for docket in self._dockets) else self._full_since

    @property
    def committing_since(self) -> int | None:
        """Since when the commit that is under way has been, with all of its tries, microseconds since 1970 UTC."""
        return self._began

    async def stop(self) -> None:
        """End without committing anything more."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait(task)

    async def _run(self) -> None:
        while True:
            taken = self._take()
            if not taken:
                self._work.clear()
                await self._work.wait()
                continue
            self._began = self._clock.now()
            try:
                await self._commit(list(taken))
            except Exception:
                log.exception("a commit of %d parts failed in a way that it must not", sum(map(len, taken)))
                for part in taken:
                    part.give_up("what was decided could not be written")
            self._began = None
            self.commits += 1

    def _take(self) -> list[Taken]:
        """The next transaction. Who gave last stands behind all others, so that no docket waits for ever."""
        turns_left, appends_left = TURNS_PER_COMMIT_MAX, APPENDS_PER_COMMIT_MAX
        taken: list[Taken] = []
        waiting: list[Docket] = []
        for docket in self._dockets:
            if not docket.is_open:
                continue
            if docket.is_empty or turns_left <= 0 or appends_left <= 0:
                waiting.append(docket)
                continue
            part = docket.take(turns_left, appends_left)
            turns_left -= len(part.turns)
            appends_left -= len(part.appends)
            taken.append(part)
        self._dockets = waiting + [part.docket for part in taken]
        return taken

    async def _commit(self, taken: list[Taken]) -> None:
        """Write all of it and tell the outcomes; what belongs to a lease that is lost is given up."""
        pause = 0.0
        is_repeated = False
        while taken:
            token = self._clock.token()
            try:
                outcomes = await self._written([part.batch() for part in taken], token)
            except StoreUnavailable as error:
                log.warning("commit of %d turns: %s", sum(map(len, taken)), error)
                taken = await self._not_written(taken, token)
                is_repeated = True
                await asyncio.sleep(pause)
                pause = min(2 * pause + 0.01, RETRY_SECONDS_MAX)
            except StoreFull as error:
                log.warning("commit of %d turns: %s; trying again until there is room", sum(map(len, taken)), error)
                self._full_since = self._full_since or self._clock.now()
                await asyncio.sleep(FULL_PAUSE_SECONDS)
                for part in taken:
                    part.settle(_without_room(part))
                return
            except StoreError as error:
                for part in taken:
                    part.give_up(f"the store refused a commit: {error}")
                return
            except Exception:  # noqa: BLE001 because whatever it is that one of them causes, the others are written
                await self._one_by_one(taken, is_repeated=is_repeated)
                return
            else:
                self._full_since = None
                await self._settle(taken, outcomes, is_repeated=is_repeated)
                return

    async def _written(self, batches: list[Batch], token: str) -> Sequence[Outcome]:
        """One transaction, timed."""
        metrics = self._metrics
        if metrics is None:
            return await self._store.commit(batches, token)
        time = asyncio.get_running_loop().time
        began = time()
        try:
            outcomes = await self._store.commit(batches, token)
        except BaseException:
            metrics.commits.of("failed").observe(round((time() - began) * SECOND))
            raise
        metrics.committed(self._clock.now(), round((time() - began) * SECOND), batches)
        return outcomes

    async def _settle(self, taken: list[Taken], outcomes: Sequence[Outcome], *, is_repeated: bool = False) -> None:
        begin = 0
        taken.reverse()
        while taken:
            part = taken.pop()
            own = outcomes[begin : begin + len(part)]
            begin += len(part)
            self.turns += len(part.turns)
            if own[0] == Outcome.FENCED:
                part.give_up("another node holds the shard now")
            else:
                part.settle(await self._recognised(part, part.batch(), own) if is_repeated else own)

    async def _one_by_one(self, taken: list[Taken], *, is_repeated: bool) -> None:
        """Commit each turn and append alone, to find the one that cannot be written."""
        for part in taken:
            batches = [Batch(part.lease, [], [append]) for append, _ in part.appends]
            appended = [await self._alone(part, batch, is_repeated=is_repeated) for batch in batches]
            batches = [Batch(part.lease, [turn]) for turn, _ in part.turns]
            written = [await self._alone(part, batch, is_repeated=is_repeated) for batch in batches]
            part.settle(written + appended)

    async def _alone(self, part: Taken, batch: Batch, *, is_repeated: bool) -> Outcome | None:
        """What becomes of a batch of one turn or one append; None if it has to be tried again, or the lease is lost."""
        pause = 0.0
        while part.docket.is_open:
            token = self._clock.token()
            try:
                (outcome,) = await self._written([batch], token)
            except StoreUnavailable:
                happened = await self._happened(part, token)
                if happened:
                    return next(iter(await self._read_back(part, batch)), None)
                is_repeated = True
                await asyncio.sleep(pause)
                pause = min(2 * pause + 0.01, RETRY_SECONDS_MAX)
            except StoreFull:
                return None
            except StoreError as error:
                part.give_up(f"the store refused a commit: {error}")
            except Exception:
                ids = [turn.id for turn in batch.turns] + [append.id for append in batch.appends]
                log.exception("what %r was to keep cannot be written", ids[0])
                return Outcome.UNWRITABLE
            else:
                if outcome != Outcome.FENCED:
                    told = await self._recognised(part, batch, [outcome]) if is_repeated else [outcome]
                    return next(iter(told), None)
                part.give_up("another node holds the shard now")
        return None

    # -- unknown outcomes -----------------------------------------------------------------------------------------

    async def _not_written(self, taken: list[Taken], token: str) -> list[Taken]:
        """Settle what was written though its answer was lost; the rest is to be written again."""
        again = []
        for part in taken:
            happened = await self._happened(part, token)
            if happened:
                part.settle(await self._read_back(part, part.batch()))
            elif part.docket.is_open:
                again.append(part)
            else:
                part.give_up("it was put away")
        return again

    async def _recognised(self, part: Taken, batch: Batch, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes of a commit that repeats one of which nothing was written when it was asked for. What it refuses
        is written if the first one has arrived since, as a request may that was given up."""
        if not any(outcome in REFUSED for outcome in outcomes):
            return list(outcomes)
        found = await self._read_back(part, batch)
        return [then if now in REFUSED else now for now, then in zip(outcomes, found, strict=False)]

    async def _happened(self, part: Taken, token: str) -> bool | None:
        return await self._answered(part, partial(self._store.settle_unknown, part.lease, token))

    async def _answered(self, part: Taken, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the store says about a commit of unknown outcome; None if it says nothing, and the lease is given up."""
        for number in range(UNKNOWN_TRIES_MAX):
            try:
                return await ask()
            except Fenced:
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05 * 2**number)
        part.give_up("the outcome of a commit could not be learned")
        return None

    async def _read_back(self, part: Taken, batch: Batch) -> list[Outcome]:
        """The outcome of each part of a batch that is known to be written; none if nobody says, and it is given up."""
        places = [(turn.shard, turn.id) for turn in batch.turns]
        found = await self._answered(part, partial(self._store.heads, places))
        lengths = [await self._answered(part, partial(self._length, append)) for append in batch.appends]
        if found is None or None in lengths:
            return []
        heads = {head.id: head for head in found}
        written = [append.after + len(append.values) for append in batch.appends]
        return [_outcome(turn, heads.get(turn.id)) for turn in batch.turns] + [
            Outcome.COMMITTED if length == last else Outcome.CONFLICT
            for length, last in zip(lengths, written, strict=True)
        ]

    async def _length(self, append: Append) -> int:
        """Of the stream, if its last item is of the same attempt; else 0."""
        item = await self._store.last_item(append.shard, append.id, append.generation, append.number)
        return item.offset if item is not None and item.attempt == append.attempt else 0

    def __repr__(self) -> str:
        return f"<Committer for {len(self._dockets)} leases, {self.commits} commits of {self.turns} turns>"


def _without_room(part: Taken) -> list[Outcome | None]:
    """Starts are refused; everything else waits until there is room."""
    starts: list[Outcome | None] = [Outcome.NO_ROOM if turn.expected is None else None for turn, _ in part.turns]
    return starts + [None] * len(part.appends)


def _outcome(turn: Turn, head: Head | None) -> Outcome:
    if head is not None and head.execution == turn.execution and head.sequence > (turn.expected or 0):
        is_renewed = head.status == Status.PENDING and turn.head is not None and turn.head.status != Status.PENDING
        return Outcome.CONFLICT if is_renewed else Outcome.COMMITTED
    return Outcome.EXISTS if turn.expected is None else Outcome.CONFLICT
