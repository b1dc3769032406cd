"""Carries what commits send to other shards, in the background: in order, and at least once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Raw

from perdure.errors import PerdureError
from perdure.stores.carrier import Carrier
from perdure.stores.redis.batches import Letter
from perdure.stores.redis.keys import digits, number_of, shard_keys
from perdure.stores.redis.server import Ask, Server

LETTERS_MAX = 10_000
"""Bound of letters that are kept in memory; what comes beyond it is read from the store again."""
PAGE = 500
"""Letters that one call reads for one receiver, or delivers to it."""
BYTES_PER_CALL_MAX = 32 * 1024 * 1024
"""Bytes of letters that one call reads for one receiver, or delivers; a larger letter goes alone."""


class Outbox:
    """Delivers what this process committed, and what it finds in the outboxes of shards that it took over.

    A letter is deleted when its delivery has returned, so a crash between the two delivers it again. `channel` says
    where a shard is told of its mail, '' if it is this process that has to look; `arrived` is called then.
    """

    def __init__(self, server: Server, channel: Callable[[int], str], arrived: Callable[[], None]) -> None:
        self._server = server
        self._channel = channel
        self._arrived = arrived
        self._letters: list[tuple[int, Letter]] = []
        self._unread: set[int] = set()
        self._carrier = Carrier(lambda: bool(self._letters or self._unread), self._work)

    def add(self, sender: int, letters: Sequence[Letter], *, more: bool = False) -> None:
        """Carry letters that the sender's shard has in its outbox, in the order of their numbers; `more` are there."""
        if more or len(self._letters) + len(letters) > LETTERS_MAX:
            self._unread.add(sender)
        elif sender not in self._unread:
            self._letters += [(sender, letter) for letter in letters]
        if letters or more:
            self._carrier.wake()

    def read(self, shards: Iterable[int]) -> None:
        """Look what is in the outboxes of these shards, and carry it."""
        self._unread.update(shards)
        self._carrier.wake()

    async def emptied(self) -> None:
        """Return when all that this process knows of has arrived."""
        await self._carrier.emptied()

    async def close(self) -> None:
        await self._carrier.close()
        self._letters.clear()
        self._unread.clear()

    async def _work(self) -> None:
        letters, self._letters = self._letters, []
        unread, self._unread = self._unread, set()
        try:
            await self._carry([one for one in letters if one[0] not in unread])
            await self._read(unread)
        except PerdureError:
            # because what has not arrived is in the store, and a letter may come twice
            self._unread |= unread | {sender for sender, _ in letters}
            self._letters = [one for one in self._letters if one[0] not in self._unread]
            raise

    async def _read(self, shards: set[int]) -> None:
        """Carry a page of each outbox; those that have more are read again."""
        senders = sorted(shards)
        pages = await self._server.run(
            "outbox", [(shard_keys(sender), [PAGE, BYTES_PER_CALL_MAX]) for sender in senders]
        )
        letters: list[tuple[int, Letter]] = []
        for sender, page in zip(senders, pages, strict=True):
            for receiver, numbers, records, has_more in page:
                found = zip(map(number_of, numbers), records, strict=True)
                letters += [(sender, Letter(int(receiver), n, Raw(record), len(record))) for n, record in found]
                if has_more:
                    self._unread.add(sender)
        await self._carry(letters)

    async def _carry(self, letters: list[tuple[int, Letter]]) -> None:
        some: list[tuple[int, Letter]] = []
        size = 0
        for sender, letter in letters:
            if some and (len(some) == PAGE or size + letter.size > BYTES_PER_CALL_MAX):
                await self._carry_some(some)
                some, size = [], 0
            some.append((sender, letter))
            size += letter.size
        if some:
            await self._carry_some(some)

    async def _carry_some(self, letters: list[tuple[int, Letter]]) -> None:
        arriving: dict[int, list[Any]] = {}
        newest: dict[int, dict[int, int]] = {}
        for sender, letter in letters:
            arriving.setdefault(letter.receiver, []).append(letter.record)
            newest.setdefault(sender, {})[letter.receiver] = letter.number
        asks: list[Ask] = []
        for receiver, records in arriving.items():
            asks.append((shard_keys(receiver), [receiver, self._channel(receiver), records]))
        refused = await self._server.run("receive", asks)
        self._unread |= {receiver for receiver, has_refused in zip(arriving, refused, strict=True) if has_refused}
        self._arrived()
        await self._server.run(
            "forget",
            [
                (shard_keys(sender), [[str(receiver), digits(number)] for receiver, number in numbers.items()])
                for sender, numbers in newest.items()
            ],
        )
