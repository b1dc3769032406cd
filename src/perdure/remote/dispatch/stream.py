"""One worker's stream: what it takes, what is on its way to it, and what it has not answered yet."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping

from perdure.remote.codec import Codec
from perdure.remote.dispatch.work import Kind, Need, Work
from perdure.remote.requests import Capability, Filters, Flavour, OpenStream
from perdure.remote.security import Grant

IN_FLIGHT_MAX = 100
"""Items of one kind that a worker has at once, unless it or the server names a smaller bound."""
IN_FLIGHT_ONE_QUEUE_MAX = 50
"""Likewise of a worker that keeps one queue for turns and attempts, and drops what is beyond 110."""
IN_FLIGHT_OWN_MAX = 1_000
"""Likewise of Perdure's own workers, which drop none."""
UNSENT_BYTES_MAX = 16 * 1024 * 1024
"""What may wait for a slow reader; work beyond it goes to another worker, or waits."""
REMEMBERED_RUNS_MAX = 10_000
"""Runs whose history one worker is believed to have; beyond it the oldest get theirs in full."""
ITEM_BYTES_MAX = 64 * 1024 * 1024
ITEM_BYTES_UNTOLD_MAX = 4 * 1024 * 1024 * 95 // 100
"""Of one item, to a worker that may have its library's bound of 4 MiB: beyond it the stream would break, and the same
item break the next one."""


class WorkerStream:
    """A worker that is connected."""

    is_relay = False

    def __init__(
        self,
        app: str,
        codec: Codec,
        opened: OpenStream,
        *,
        grant: Grant | None = None,
        items_max: int = IN_FLIGHT_MAX,
        item_bytes_max: int = ITEM_BYTES_MAX,
        reserved: tuple[str, ...] = (),
        is_inner: bool = False,
    ) -> None:
        self.app = app
        self.codec = codec
        self.worker = opened.worker
        self.grant = grant or Grant(app, frozenset((app,)))
        self.item_bytes_max = item_bytes_max
        self.is_stateful = Capability.STATEFUL_HISTORY in opened.capabilities
        self.fetches_history = Capability.HISTORY_STREAMING in opened.capabilities
        # because a Dapr worker that does not say so takes a ping for nonsense, and the others leave without one
        self.is_pinged = codec.flavour == Flavour.MICROSOFT or Capability.HEALTH_PING in opened.capabilities
        self.is_closed = False
        self.is_mute = False
        """Whether a lease of its has run out since it last answered: it may be frozen, or its machine gone."""
        self.is_let_go = False
        """Whether the server has ended the connection, so that nothing is to blame for that."""
        self.is_lane = False
        """Whether a suspect has it alone."""
        self.cleared_since: float | None = None
        """Since when it gets nothing more, so that a suspect can have it alone; None: it does."""
        self.quiet_since = 0.0
        self.in_flight: dict[str, Work] = {}
        self.is_inner = is_inner
        """Whether it is the server's own, which has the code of all reserved names and no other."""
        self._reserved = reserved
        self._filters = None if is_inner else opened.filters
        self._takes_leave = False
        most = IN_FLIGHT_OWN_MAX if codec.flavour is Flavour.PERDURE else items_max
        self._room = {
            Kind.TURN: _bound(opened.turns_max, most),
            Kind.ACTIVITY: _bound(opened.activities_max, most),
            Kind.ENTITY: _bound(opened.entities_max, most),
        }
        self._remembered: OrderedDict[object, int] = OrderedDict()
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()

    # -- what it takes --------------------------------------------------------------------------------------------

    def accepts(self, need: Need) -> bool:
        """Whether the worker says that it has the code."""
        if need.kind == Kind.ENTITY and self.codec.flavour is Flavour.DAPR:
            return False  # because its protocol has none
        if need.flavour and need.flavour != self.codec.flavour:
            return False
        if need.name.startswith(self._reserved) is not self.is_inner:
            return False
        if need.workflow:
            return need.app == self.app and self.codec.flavour is Flavour.PERDURE and need.workflow in self.workflows
        return need.app == self.app and (self._filters is None or _passes(self._filters, need))

    def has_room(self, kind: Kind) -> bool:
        is_there = not (self.is_closed or self._takes_leave)
        return is_there and self._room[kind] > 0 and self._unsent_bytes < UNSENT_BYTES_MAX

    def room_for(self, kind: Kind) -> int:
        """How many items more of a kind it could have at once."""
        return max(self._room[kind], 0) if self.has_room(kind) else 0

    @property
    def workflows(self) -> Collection[str]:
        """Names of the workflows that the worker says it has, none if it does not say."""
        return () if self._filters is None else self._filters.workflows

    @property
    def activities(self) -> Collection[str] | None:
        """Names of the activities that the worker says it has for calls of no version, None if it does not say."""
        if self._filters is None:
            return None
        return [name for name, versions in self._filters.activities.items() if not versions or "" in versions]

    def named(self, kind: Kind) -> Mapping[str, Collection[str]] | None:
        """Names of a kind that the worker says it has, each with its versions (none: any). None if it does not say."""
        filters = self._filters
        if filters is None:
            return None
        entities = dict.fromkeys(filters.entities, ())
        return {Kind.TURN: filters.workflows, Kind.ACTIVITY: filters.activities, Kind.ENTITY: entities}[kind]

    def take_leave(self) -> None:
        """The worker takes no more work, and will answer what it has."""
        self._takes_leave = True

    @property
    def ended_in_peace(self) -> bool:
        """Whether it ended as was agreed, if it has ended."""
        return self._takes_leave or self.is_let_go

    @property
    def load(self) -> int:
        return len(self.in_flight)

    def remembers(self, run: object) -> int:
        return self._remembered.get(run, 0)

    def remember(self, run: object, events: int) -> None:
        self._remembered[run] = events
        self._remembered.move_to_end(run)
        if len(self._remembered) > REMEMBERED_RUNS_MAX:
            self._remembered.popitem(last=False)

    def forget(self, run: object) -> None:
        self._remembered.pop(run, None)

    # -- its items ------------------------------------------------------------------------------------------------

    def give(self, work: Work, item: bytes) -> None:
        """Hand out work under its token."""
        self.in_flight[work.token] = work
        self.is_lane = self.is_lane or work.need.alone
        self._room[work.need.kind] -= 1
        self.send(item)

    def take_back(self, work: Work) -> None:
        """The work was answered, or is another's now."""
        if self.in_flight.pop(work.token, None) is not None:
            self._room[work.need.kind] += 1
            self.is_lane = self.is_lane and not work.need.alone

    def send(self, item: bytes) -> None:
        self._unsent.append(item)
        self._unsent_bytes += len(item)
        self._wake.set()

    def next_now(self) -> bytes:
        """The next item, of which `has_unsent` says that there is one."""
        item = self._unsent.popleft()
        self._unsent_bytes -= len(item)
        return item

    @property
    def has_unsent(self) -> bool:
        """Whether items wait to be written."""
        return bool(self._unsent)

    async def next(self) -> bytes | None:
        """The next item to write, None when the stream has ended. One reader at a time."""
        while not self._unsent:
            if self.is_closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self.next_now()

    def close(self) -> None:
        self.is_closed = True
        self._unsent.clear()
        self._unsent_bytes = 0
        self._wake.set()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"{self.load} in flight, {len(self._unsent)} unsent"
        return f"<WorkerStream of {self.app} ({self.codec.flavour} {self.worker or 'unnamed'}): {state}>"


def _bound(asked: int, most: int) -> int:
    return min(asked, most) if asked > 0 else most


def _passes(filters: Filters, need: Need) -> bool:
    if need.kind == Kind.ENTITY:
        return need.name in filters.entities
    versions = (filters.workflows if need.kind == Kind.TURN else filters.activities).get(need.name)
    if versions is None:
        return False
    return not versions or need.version in versions
