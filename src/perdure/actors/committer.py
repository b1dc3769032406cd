"""Group commit: turns that finish, and items that are yielded, while a commit is in flight join the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from perdure.clock import Clock
from perdure.errors import Fenced, StoreError, StoreFull, StoreUnavailable
from perdure.stores.contract import Append, Head, Lease, Outcome, Store, Turn

log = logging.getLogger("perdure")
TURNS_PER_COMMIT_MAX = 1_000
"""Bound of one transaction: more turns wait for the next."""
APPENDS_PER_COMMIT_MAX = 1_000
"""Likewise of streams that get items in it."""
PENDING_TURNS_MAX = 100_000
"""Bound of turns that wait for a commit; see `Committer.is_full`."""
FULL_PAUSE_SECONDS = 0.5
"""Between tries to commit to a store that has no room. New instances are refused, turns of others wait."""
RETRY_SECONDS_MAX = 1.0
"""How far the pause grows between tries of a commit that the store did not take and did not answer."""
UNKNOWN_TRIES_MAX = 5
"""How often an unknown outcome is asked for before the lease is given up and recovery decides."""

Settled = Callable[[Outcome], None]
T = TypeVar("T")


class Committer:
    """Writes the turns of one lease, one transaction at a time. `lost` is called once if the lease must be given up."""

    def __init__(self, store: Store, lease: Lease, clock: Clock, lost: Callable[[str], None]) -> None:
        self.commits = 0
        self.turns = 0
        self._store = store
        self._lease = lease
        self._clock = clock
        self._lost = lost
        self._pending: deque[tuple[Turn, Settled]] = deque()
        self._appends: deque[tuple[Append, Settled]] = deque()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._in_flight = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="perdure-committer")

    def submit(self, turn: Turn, settled: Settled) -> None:
        """Queue a turn; `settled` hears its outcome once that is known. Turns of one instance go one by one."""
        self._pending.append((turn, settled))
        self._work.set()

    def append(self, append: Append, settled: Settled) -> None:
        """Queue items likewise. Those of one call go one by one; a turn that is queued later is written later."""
        self._appends.append((append, settled))
        self._work.set()

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= PENDING_TURNS_MAX

    @property
    def is_idle(self) -> bool:
        return not self._pending and not self._appends and not self._in_flight

    async def stop(self, seconds: float) -> None:
        """Commit what is queued, as far as the store takes it within `seconds`, then end."""
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while not self.is_idle and self._task is not None and not self._task.done() and now() < deadline:
            await asyncio.sleep(0.001)
        await self.abandon()

    async def abandon(self) -> None:
        """End without committing what is queued."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pending, appends, work = self._pending, self._appends, self._work
        while True:
            if not pending and not appends:
                work.clear()
                await work.wait()
            # the appends first, because a turn that was queued before an append may wait for the next commit
            appended = _taken(appends, APPENDS_PER_COMMIT_MAX) if appends else []
            batch = _taken(pending, TURNS_PER_COMMIT_MAX)
            self._in_flight = len(batch) + len(appended)
            outcomes = await self._commit([turn for turn, _ in batch], [append for append, _ in appended])
            if outcomes is None:
                return
            self.commits += 1
            self.turns += len(batch)
            _settle(pending, batch, outcomes[: len(batch)])
            if appended:
                _settle(appends, appended, outcomes[len(batch) :])
            self._in_flight = 0

    async def _commit(self, turns: list[Turn], appends: list[Append]) -> Sequence[Outcome | None] | None:
        """The outcome of each turn and append (None: try it again); None if the lease is lost."""
        pause = 0.0
        while True:
            token = self._clock.token()
            try:
                outcomes = await self._store.commit(self._lease, turns, token, appends)
            except StoreUnavailable as error:
                log.warning("commit of %d turns: %s", len(turns), error)
                happened = await self._answered(partial(self._store.settle_unknown, self._lease, token))
                if happened:
                    return await self._read_back(turns, appends)
                if self._task is None:
                    return None
                await asyncio.sleep(pause)
                pause = min(2 * pause + 0.01, RETRY_SECONDS_MAX)
                continue
            except StoreFull as error:
                log.warning("commit of %d turns: %s; trying again until there is room", len(turns), error)
                await asyncio.sleep(FULL_PAUSE_SECONDS)
                return [Outcome.NO_ROOM if turn.expected is None else None for turn in turns] + [None] * len(appends)
            except StoreError as error:
                self._give_up(f"the store refused a commit: {error}")
                return None
            except Exception:
                if len(turns) + len(appends) > 1:
                    return await self._one_by_one(turns, appends)
                log.exception("what %r was to keep cannot be written", turns[0].id if turns else appends[0].id)
                return [Outcome.UNWRITABLE]
            if outcomes and outcomes[0] == Outcome.FENCED:
                self._give_up("another node holds the shard now")
                return None
            return outcomes

    async def _one_by_one(self, turns: list[Turn], appends: list[Append]) -> Sequence[Outcome | None] | None:
        """Commit each turn and append of a batch alone, to find the one that cannot be written."""
        appended = await self._alone([], [[append] for append in appends])
        written = await self._alone([[turn] for turn in turns], []) if appended is not None else None
        return written + appended if written is not None and appended is not None else None

    async def _alone(self, turns: list[list[Turn]], appends: list[list[Append]]) -> list[Outcome | None] | None:
        found: list[Outcome | None] = []
        for turn, append in [*((turn, []) for turn in turns), *(([], append) for append in appends)]:
            outcome = await self._commit(turn, append)
            if outcome is None:
                return None
            found.extend(outcome)
        return found

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the store says about a commit of unknown outcome; None if it says nothing, and the lease is given up."""
        for number in range(UNKNOWN_TRIES_MAX):
            try:
                return await ask()
            except Fenced:
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05 * 2**number)
        self._give_up("the outcome of a commit could not be learned")
        return None

    async def _read_back(self, turns: list[Turn], appends: list[Append]) -> list[Outcome] | None:
        """The outcome of each part of a batch that is known to be written, though its answer was lost."""
        found = await self._answered(partial(self._store.heads, self._lease.shard, [turn.id for turn in turns]))
        lengths = [await self._answered(partial(self._length, append)) for append in appends]
        if found is None or None in lengths:
            return None
        heads = {head.id: head for head in found}
        written = [append.after + len(append.values) for append in appends]
        return [_outcome(turn, heads.get(turn.id)) for turn in turns] + [
            Outcome.COMMITTED if length == last else Outcome.CONFLICT
            for length, last in zip(lengths, written, strict=True)
        ]

    async def _length(self, append: Append) -> int:
        """Of the stream, if its last item is of the same attempt; else 0."""
        item = await self._store.last_item(append.shard, append.id, append.generation, append.number)
        return item.offset if item is not None and item.attempt == append.attempt else 0

    def _give_up(self, why: str) -> None:
        self._task = None
        self._lost(why)

    def __repr__(self) -> str:
        lease = self._lease
        done = f"{len(self._pending)} turns and {len(self._appends)} appends wait, {self.commits} commits"
        return f"<Committer of shard {lease.shard} epoch {lease.epoch}: {done}>"


def _outcome(turn: Turn, head: Head | None) -> Outcome:
    if head is not None and head.execution == turn.execution and head.sequence > (turn.expected or 0):
        return Outcome.COMMITTED
    return Outcome.EXISTS if turn.expected is None else Outcome.CONFLICT


Part = TypeVar("Part")


def _taken(queue: deque[Part], count_max: int) -> list[Part]:
    """The first of a queue, so many at most."""
    return [queue.popleft() for _ in range(min(len(queue), count_max))]


def _settle(
    queue: deque[tuple[Part, Settled]], batch: list[tuple[Part, Settled]], outcomes: Sequence[Outcome | None]
) -> None:
    """Tell each part of a batch its outcome; those without one are queued again, in front."""
    for (_, settled), outcome in zip(batch, outcomes, strict=True):
        if outcome is not None:
            settled(outcome)
    queue.extendleft(pair for pair, outcome in zip(reversed(batch), reversed(outcomes), strict=True) if outcome is None)
