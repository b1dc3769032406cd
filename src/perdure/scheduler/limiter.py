"""The limiter of a queue: who may run next, from its limits, who runs, who waits and when the last ones started."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator

import msgspec

from perdure.clock import SECOND
from perdure.history.options import Limits

AGED_EVERY = 4
"""Every so many slots, one goes to who has waited longest, whatever the priorities, so that nobody starves."""
RETURNING = 1 << 40
"""The priority of those that have had a slot, and go before all others: above any that a caller can ask for."""
Address = tuple[str, str, int, int]
"""(instance id, execution, generation, number): which wait."""


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """Who waits: for whom, how urgently, and since when (microseconds since 1970 UTC)."""

    address: Address
    key: str
    priority: int
    since: int


class Limiter:
    """Pure: times come in as arguments, in microseconds since 1970 UTC.

    A slot goes to the highest priority; within one, keys take turns, and the tickets of a key go in the order in which
    they came. A key that has all of its own slots is passed over. A ticket before which n others wait goes after
    AGED_EVERY * (n + 1) slots at the latest that its key could have had.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._levels: dict[int, OrderedDict[str, OrderedDict[Address, Ticket]]] = {}
        self._waiting: dict[Address, Ticket] = {}
        self._running: dict[Address, str] = {}
        self._running_keys: Counter[str] = Counter()
        self._starts: deque[int] = deque()
        self._slots = 0

    def join(self, ticket: Ticket) -> None:
        """Wait for a slot, behind those of the same key and priority."""
        keys = self._levels.setdefault(ticket.priority, OrderedDict())
        keys.setdefault(ticket.key, OrderedDict())[ticket.address] = ticket
        self._waiting[ticket.address] = ticket

    def occupy(self, address: Address, key: str) -> None:
        """Take a slot that was given before, whether or not the limits would allow it now."""
        if address not in self._running:
            self._running[address] = key
            self._running_keys[key] += 1

    def recall(self, starts: Iterable[int]) -> None:
        """Count starts, oldest first, that an earlier owner of the queue has allowed."""
        self._starts.extend(starts)

    def leave(self, address: Address) -> None:
        """Wait no longer, or free a slot; nothing if neither."""
        ticket = self._waiting.get(address)
        if ticket is not None:
            self._forget(ticket)
        key = self._running.pop(address, None)
        if key is not None:
            self._running_keys[key] -= 1
            if not self._running_keys[key]:
                del self._running_keys[key]

    def admit(self, now: int) -> Ticket | None:
        """Give a slot to who is next; None if there is no slot, or nobody who may have it."""
        if not self._has_slot(now):
            return None
        self._slots += 1
        ticket = self._next()
        if ticket is not None:
            self._levels[ticket.priority].move_to_end(ticket.key)  # because its key has had its turn
            self._forget(ticket)
            self.occupy(ticket.address, ticket.key)
            if self.limits.rate is not None:
                self._starts.append(now)
        return ticket

    def count(self, now: int) -> bool:
        """Count another start of one that has a slot; False, and nothing is counted, if the rate allows none now."""
        if self._is_rated(now):
            return False
        self._starts.append(now)
        return True

    def pause(self, now: int) -> float | None:
        """Seconds until the rate allows a start for which somebody waits; None: no time will bring one."""
        if not self._waiting or self._is_full() or not self._is_rated(now):
            return None
        return max((self._starts[0] + self.limits.per - now) / SECOND, 0.001)

    def waits(self, address: Address) -> bool:
        return address in self._waiting

    def runs(self, address: Address) -> bool:
        return address in self._running

    def _has_slot(self, now: int) -> bool:
        return bool(self._waiting) and not self._is_full() and not self._is_rated(now)

    def _is_full(self) -> bool:
        bound = self.limits.concurrency
        return bound is not None and len(self._running) >= bound

    def _is_rated(self, now: int) -> bool:
        """Whether as many have started within the window as may."""
        if self.limits.rate is None:
            return False
        while self._starts and self._starts[0] + self.limits.per <= now:
            self._starts.popleft()
        return len(self._starts) >= self.limits.rate

    def _next(self) -> Ticket | None:
        if self._slots % AGED_EVERY == 0 and RETURNING not in self._levels:
            return min(self._first_ones(), key=lambda ticket: ticket.since, default=None)
        return next(self._first_ones(), None)

    def _first_ones(self) -> Iterator[Ticket]:
        """The first ticket of each key that has room, by priority, then by turns."""
        for priority in sorted(self._levels, reverse=True):
            for key, tickets in self._levels[priority].items():
                if self._has_room(key):
                    yield next(iter(tickets.values()))

    def _has_room(self, key: str) -> bool:
        bound = self.limits.per_key
        return bound is None or self._running_keys[key] < bound

    def _forget(self, ticket: Ticket) -> None:
        del self._waiting[ticket.address]
        keys = self._levels[ticket.priority]
        tickets = keys[ticket.key]
        del tickets[ticket.address]
        if not tickets:
            del keys[ticket.key]
        if not keys:
            del self._levels[ticket.priority]

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def __repr__(self) -> str:
        return f"<Limiter: {len(self._waiting)} wait, {len(self._running)} run>"


def in_order(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Those that wait in the order in which free slots would take them if nobody else came."""
    limiter = Limiter(Limits())
    for ticket in sorted(tickets, key=lambda ticket: ticket.since):
        limiter.join(ticket)
    found: list[Ticket] = []
    while (admitted := limiter.admit(0)) is not None:
        found.append(admitted)
    return found
