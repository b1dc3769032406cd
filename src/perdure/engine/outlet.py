"""What one attempt yields, on its way to the store: in order, and only a few items ahead of what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.actors.docket import Settled
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.attempts import Address
from perdure.errors import PayloadTooLarge, PerdureError, StoreError, StoreUnavailable, StreamRefused, StreamTooLong
from perdure.stores.contract import STREAM_ITEMS_MAX, Append, Item, Outcome, Store

STREAM_AHEAD_MAX = 16
"""Items that a generator may be ahead of what is durable of them; it is held at its `yield` while there are more."""
LOOK_AGAIN_SECONDS = 0.1
"""Between tries to read where a stream stands, while the store gives no answer."""


class StreamOutlet:
    """Takes the items of one attempt. `appended` is called whenever some are durable.

    One append is under way at a time; what is yielded meanwhile goes into the next one.
    """

    __slots__ = (
        "_address",
        "_appended",
        "_attempt",
        "_clock",
        "_in_flight",
        "_refusal",
        "_room",
        "_shard",
        "_store",
        "_submit",
        "_waiting",
        "last",
        "offset",
    )

    def __init__(
        self,
        store: Store,
        clock: Clock,
        shard: int,
        address: Address,
        attempt: int,
        submit: Callable[[Append, Settled], None],
        appended: Callable[[], None],
    ) -> None:
        self.offset = 0
        self.last: Payload | None = None
        self._store = store
        self._clock = clock
        self._shard = shard
        self._address = address
        self._attempt = attempt
        self._submit = submit
        self._appended = appended
        self._waiting: list[Payload] = []
        self._in_flight: list[Payload] = []
        self._room: asyncio.Future[None] | None = None
        self._refusal: PerdureError | None = None

    async def begin(self) -> None:
        """Learn from the store where the stream stands; as long as that takes."""
        item = await self._last_item()
        if item is not None:
            self.offset, self.last = item.offset, item.value

    async def _last_item(self) -> Item | None:
        id, _, generation, number = self._address
        while True:
            try:
                return await self._store.last_item(self._shard, id, generation, number)
            except StoreUnavailable:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def put(self, value: Payload) -> None:
        """Take an item, and return when at most STREAM_AHEAD_MAX are not durable. Raises what stands against it."""
        self._check()
        if self.offset + self._ahead >= STREAM_ITEMS_MAX:
            raise _too_long(self._address)
        self._waiting.append(value)
        self._go_on()
        await self._until_ahead(STREAM_AHEAD_MAX)

    async def flush(self) -> int:
        """Return when every item is durable: how many the stream has. Raises what stands against it."""
        await self._until_ahead(0)
        self._check()
        return self.offset

    def close(self) -> None:
        """The attempt is over: no more items."""
        self._waiting.clear()
        self._refusal = self._refusal or _refused(self._address)
        self._wake()

    @property
    def _ahead(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    async def _until_ahead(self, count: int) -> None:
        while self._refusal is None and self._ahead > count:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)  # because others may wait too, and this one be cancelled

    def _check(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _go_on(self) -> None:
        if not self._waiting or self._in_flight:
            return
        self._in_flight, self._waiting = self._waiting, []
        id, execution, generation, number = self._address
        append = Append(
            self._shard,
            id,
            execution,
            generation,
            number,
            self._attempt,
            self.offset,
            self._clock.now(),
            self._in_flight,
        )
        self._submit(append, self._settled)

    def _settled(self, outcome: Outcome) -> None:
        written, self._in_flight = self._in_flight, []
        if outcome == Outcome.COMMITTED:
            self.offset, self.last = self.offset + len(written), written[-1]
            self._go_on()
            self._appended()
        else:
            self._refusal = self._refusal or _refusal(outcome, self._address)
            self._waiting.clear()
        self._wake()

    def _wake(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def __repr__(self) -> str:
        return f"<StreamOutlet {self._address} attempt {self._attempt}: {self.offset} items, {self._ahead} ahead>"


def _refusal(outcome: Outcome, address: Address) -> PerdureError:
    """Why the store did not take items."""
    match outcome:
        case Outcome.TOO_LARGE:
            return PayloadTooLarge("an item is larger than the store can take; yield the address of large values")
        case Outcome.CONFLICT:
            return _refused(address)
        case _:
            return StoreError(f"an item of {address[0]!r} cannot be written; the log has the error")


def _refused(address: Address) -> StreamRefused:
    id, _, _, number = address
    return StreamRefused(f"call {number} of {id!r} takes no more items from this attempt, because it has ended")


def _too_long(address: Address) -> StreamTooLong:
    id, _, _, number = address
    return StreamTooLong(
        f"the stream of call {number} of {id!r} has {STREAM_ITEMS_MAX:,} items, which is the bound; yield larger ones, "
        "or divide the work among several calls"
    )
