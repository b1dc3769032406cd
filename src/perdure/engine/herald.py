"""Tells a receiver what happened to instances: in order for each, again until it was heard, or given up in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import msgspec

from perdure.actors.rounds import Rounds
from perdure.stores.contract import EngineStore, Notices, Posted

log = logging.getLogger("perdure")
PAGE = 200
"""Notices of a shard that are looked at in one read."""
PAGES_MAX = 10
"""Pages of a shard in one round: notices of instances that wait for another try must not hide those of others."""
SENDS_MAX = 32
"""Notices of different instances that are on their way at once."""
KEPT = 10_000
"""Notices of a shard that are kept after they were told, for streams that go on from an earlier event; and as many that
were given up."""
TRIM_EVERY = 1_000
"""After how many notices that were told the older ones are forgotten."""
LOOK_SECONDS = 1.0
"""How often it is looked for notices of which nobody has told."""
PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 300.0
"""Between two tries: the first pause, and how far it grows, twofold each time."""
FAILURE_CHARACTERS_MAX = 500
"""What is kept of why a notice was given up."""
WAITING_MAX = 10_000
"""Instances that are known to wait for another try; those beyond are tried when they come."""


class NotHeard(Exception):
    """The receiver has not taken an event; `again` is after how many seconds it wants to be asked, if it said so."""

    def __init__(self, why: str, again: float | None = None) -> None:
        super().__init__(why)
        self.again = again


class Receiver(Protocol):
    """Who is told."""

    attempts: int
    """How often one event is tried before it is given up."""

    async def tell(self, event: bytes) -> None:
        """Returns once it was taken. Raises NotHeard."""

    async def close(self) -> None: ...


class Owned(Protocol):
    """Which shards are this node's."""

    store: EngineStore

    @property
    def owned(self) -> Mapping[int, object]: ...


class _Waiting(msgspec.Struct):
    tries: int
    again: float


class Herald:
    """The notices of the shards that this node owns. Without a receiver they count as told, and streams read them."""

    def __init__(self, node: Owned, receiver: Receiver | None) -> None:
        self.told = 0
        self._node = node
        self._store = cast(Notices, node.store)
        self._receiver = receiver
        self._waiting: dict[tuple[int, str], _Waiting] = {}
        self._untrimmed: dict[int, int] = {}
        self._is_deaf = False
        self._room = asyncio.Semaphore(SENDS_MAX)
        self._rounds = Rounds("herald", self._round)

    def start(self) -> None:
        self._rounds.start()

    def wake(self) -> None:
        """A notice was written."""
        self._rounds.wake()

    async def stop(self) -> None:
        """Tell nothing any more. What was on its way and is not known to have been heard is told again by the next."""
        await self._rounds.stop()
        if self._receiver is not None:
            await self._receiver.close()

    async def _round(self) -> float | None:
        self._waiting = {key: one for key, one in self._waiting.items() if key[0] in self._node.owned}
        more = await asyncio.gather(*(self._of_shard(shard) for shard in list(self._node.owned)))
        if any(more):
            return 0
        now = asyncio.get_running_loop().time()
        return max(min((one.again - now for one in self._waiting.values()), default=LOOK_SECONDS), 0.0) or LOOK_SECONDS

    async def _of_shard(self, shard: int) -> bool:
        """Tell what is pending, as far as it may be tried now; whether there is more."""
        after, heard = 0, 0
        held_up: set[str] = set()
        for _ in range(PAGES_MAX):
            page = await self._store.notices(shard, after, PAGE, pending=True)
            if not page:
                return False
            after = page[-1].number
            heard += await self._tell(shard, page, held_up)
        return heard > 0

    async def _tell(self, shard: int, page: Sequence[Posted], held_up: set[str]) -> int:
        """How many of a page were told.

        What follows a notice that was not heard has to wait for it, also on a later page: `held_up` are its instances.
        """
        groups: dict[str, list[Posted]] = {}
        for posted in page:
            if posted.instance not in held_up:
                groups.setdefault(posted.instance, []).append(posted)
        heard = await asyncio.gather(*(self._in_order(shard, group) for group in groups.values()))
        for (instance, group), numbers in zip(groups.items(), heard, strict=True):
            if len(numbers) < len(group):
                held_up.add(instance)
        numbers = sorted(number for group in heard for number in group)
        if numbers:
            await self._store.told(shard, numbers)
            await self._trim(shard, len(numbers))
        return len(numbers)

    async def _in_order(self, shard: int, group: Sequence[Posted]) -> list[int]:
        """Tell the notices of one instance until one is not heard; the numbers of those that were."""
        heard: list[int] = []
        receiver, key = self._receiver, (shard, group[0].instance)
        if receiver is None:
            return [posted.number for posted in group]
        for posted in group:
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.again > asyncio.get_running_loop().time():
                break
            if shard not in self._node.owned:
                break  # because another node tells it now
            try:
                async with self._room:
                    await receiver.tell(posted.event)
            except NotHeard as error:
                if not await self._not_heard(key, posted, error, receiver.attempts):
                    break
                continue
            self._waiting.pop(key, None)
            self._is_deaf = False
            self.told += 1
            heard.append(posted.number)
        return heard

    async def _not_heard(self, key: tuple[int, str], posted: Posted, error: NotHeard, attempts: int) -> bool:
        """Whether it is given up, so that the next one may be told; else it is tried again later."""
        known = self._waiting.pop(key, None)
        tries = 1 if known is None else known.tries + 1
        if tries >= attempts:
            log.error("event %d of %r is given up after %d tries: %s", posted.number, posted.instance, tries, error)
            await self._store.give_up(key[0], posted.number, str(error)[:FAILURE_CHARACTERS_MAX])
            return True
        pause = min(PAUSE_SECONDS * 2.0 ** min(tries - 1, 20), PAUSE_SECONDS_MAX)
        if error.again is not None:
            pause = min(max(pause, error.again), PAUSE_SECONDS_MAX)
        if tries == 1:
            # once, because while a receiver is down there may be as many as there are instances
            level = logging.INFO if self._is_deaf else logging.WARNING
            self._is_deaf = True
            log.log(level, "event %d of %r was not heard, and is told again: %s", posted.number, posted.instance, error)
        if len(self._waiting) < WAITING_MAX:
            self._waiting[key] = _Waiting(tries, asyncio.get_running_loop().time() + pause)
        return False

    async def _trim(self, shard: int, count: int) -> None:
        untrimmed = self._untrimmed.get(shard, TRIM_EVERY) + count
        if untrimmed >= TRIM_EVERY:
            await self._store.trim(shard, KEPT)
            untrimmed = 0
        self._untrimmed[shard] = untrimmed

    def __repr__(self) -> str:
        return f"<Herald to {self._receiver!r}: {self.told} told, {len(self._waiting)} instances wait>"
