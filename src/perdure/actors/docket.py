"""What waits to be written under one lease, and who hears what became of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from perdure.stores.contract import Append, Batch, Lease, Outcome, Turn

LOOK_SECONDS = 0.001

Settled = Callable[[Outcome], None]
Part = TypeVar("Part")


class Docket:
    """Turns and appends of one lease, in the order in which they came. `lost` is called once if it must be given up."""

    def __init__(self, lease: Lease, lost: Callable[[str], None], wake: Callable[[], None]) -> None:
        self.lease = lease
        self.is_open = True
        self._lost = lost
        self._wake = wake
        self._turns: deque[tuple[Turn, Settled]] = deque()
        self._appends: deque[tuple[Append, Settled]] = deque()
        self._is_in_flight = False

    def submit(self, turn: Turn, settled: Settled) -> None:
        """Queue a turn; `settled` hears its outcome once that is known. Turns of one instance go one by one."""
        self._turns.append((turn, settled))
        self._wake()

    def append(self, append: Append, settled: Settled) -> None:
        """Queue items likewise. Those of one call go one by one; a turn that is queued later is written later."""
        self._appends.append((append, settled))
        self._wake()

    @property
    def is_empty(self) -> bool:
        return not self._turns and not self._appends

    @property
    def is_idle(self) -> bool:
        return self.is_empty and not self._is_in_flight

    async def stop(self, seconds: float) -> None:
        """Let what is queued be committed, as far as the store takes it within `seconds`, then end."""
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while not self.is_idle and self.is_open and now() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
        await self.abandon()

    async def abandon(self) -> None:
        """End without committing what is queued; nothing of it is being written any more afterwards."""
        self._close()
        while self._is_in_flight:
            await asyncio.sleep(LOOK_SECONDS)

    def give_up(self, why: str) -> None:
        """The lease is lost, or nobody knows: nothing more may be written."""
        self._is_in_flight = False
        if self.is_open:
            self._close()
            self._lost(why)

    def _close(self) -> None:
        self.is_open = False
        self._turns.clear()
        self._appends.clear()

    def take(self, turns_max: int, appends_max: int) -> Taken:
        """The next that may be written together. All of it is settled before more is taken."""
        self._is_in_flight = True
        # the appends first, because a turn that was queued before an append may wait for the next commit
        appends = _taken(self._appends, appends_max)
        return Taken(self, _taken(self._turns, turns_max), appends)

    def settle(self, taken: Taken, outcomes: Sequence[Outcome | None]) -> None:
        """Tell each part its outcome; those without one (None) are queued again, in front."""
        self._is_in_flight = False
        if self.is_open:
            count = len(taken.turns)
            _settle(self._turns, taken.turns, outcomes[:count])
            if taken.appends:
                _settle(self._appends, taken.appends, outcomes[count:])

    def __repr__(self) -> str:
        waits = f"{len(self._turns)} turns and {len(self._appends)} appends wait"
        return f"<Docket of shard {self.lease.shard} epoch {self.lease.epoch}: {waits}>"


class Taken:
    """Parts of one docket that are written together, in one transaction."""

    __slots__ = ("appends", "docket", "turns")

    def __init__(
        self, docket: Docket, turns: list[tuple[Turn, Settled]], appends: list[tuple[Append, Settled]]
    ) -> None:
        self.docket = docket
        self.turns = turns
        self.appends = appends

    @property
    def lease(self) -> Lease:
        return self.docket.lease

    def batch(self) -> Batch:
        return Batch(self.lease, [turn for turn, _ in self.turns], [append for append, _ in self.appends])

    def settle(self, outcomes: Sequence[Outcome | None]) -> None:
        self.docket.settle(self, outcomes)

    def give_up(self, why: str) -> None:
        self.docket.give_up(why)

    def __len__(self) -> int:
        return len(self.turns) + len(self.appends)

    def __repr__(self) -> str:
        return f"<Taken from {self.docket!r}: {len(self.turns)} turns, {len(self.appends)} appends>"


def _taken(queue: deque[Part], count_max: int) -> list[Part]:
    """The first of a queue, so many at most."""
    if len(queue) > count_max:
        return [queue.popleft() for _ in range(count_max)]
    taken = list(queue)
    queue.clear()
    return taken


def _settle(
    queue: deque[tuple[Part, Settled]], batch: list[tuple[Part, Settled]], outcomes: Sequence[Outcome | None]
) -> None:
    again: list[tuple[Part, Settled]] = []
    batch.reverse()
    for outcome in outcomes:
        part = batch.pop()  # because a run that has ended is freed before the next one is touched
        if outcome is None:
            again.append(part)
        else:
            part[1](outcome)
    queue.extendleft(reversed(again))
