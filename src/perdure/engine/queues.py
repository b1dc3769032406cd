"""The queues of a shard: who waits in which line and who has a slot, from durable rows, and whose turn it is now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import msgspec

from perdure.actors.host import Actor, Host
from perdure.actors.rounds import Rounds
from perdure.clock import SECOND, Clock
from perdure.engine.attempts import Address
from perdure.engine.instance import Instance
from perdure.history.events import SlotGranted
from perdure.history.options import Limits, Place, place_of
from perdure.scheduler.limiter import RETURNING, Limiter, Ticket
from perdure.stores.contract import ADMITTED, QUEUED, EngineStore, Lease, OpenCall, Permit, Wait, WaitKind

GRANTS_PER_ROUND = 1_000
"""Slots that are given before the event loop gets its turn."""
OFFER_AGAIN_SECONDS = 5.0
"""A slot whose grant is not durable by then is offered to its instance again."""
QUEUES_PAGE = 1_000
OVERDUE = 0
"""When a slot was offered whose offer may not have been heard."""


class Queues:
    """Decides on the owner, in memory, from what turns have made durable.

    A wait is *told* whenever a turn, a load or a due time brings it up, in whatever state it is; telling again changes
    nothing. A slot is given in two steps: it is taken here, then the turn that writes ADMITTED is committed, and only
    after that anything runs. It is free again when the turn that closes the wait is durable.
    """

    def __init__(self, store: EngineStore, lease: Lease, clock: Clock, host: Host, declared: Mapping[str, Limits]):
        self.members: dict[Address, str] = {}
        self._store = store
        self._lease = lease
        self._clock = clock
        self._host = host
        self._declared = declared
        self._limiters: dict[str, Limiter] = {}
        self._starts: dict[str, list[int]] = defaultdict(list)
        self._offered: dict[Address, int] = {}
        self._counted: dict[Address, int] = {}
        self._rounds = Rounds("queues", self._round)

    async def open(self, tell: Callable[[OpenCall], None]) -> None:
        """Take up who waits and who has a slot; `tell` hears of each and tells it on. Slots are given from now on."""
        for permit in await self._store.permits(self._lease.shard, self._clock.now()):
            self._starts[permit.queue].append(permit.at)
        for name, limiter in self._limiters.items():  # because instances that were loaded meanwhile have told of theirs
            limiter.recall(self._starts.pop(name, ()))
        found = await queued_calls(self._store, self._lease.shard)
        for call in sorted(found, key=lambda call: call.wait.since):
            tell(call)
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    def told(self, address: Address, wait: Wait) -> bool:
        """A wait in a queue is durable in this state; whether its attempts may run."""
        if wait.state == ADMITTED:
            return self._told_admitted(address, wait)
        is_ahead = wait.due is not None and wait.due > self._clock.now()
        if wait.state != QUEUED or is_ahead:
            self.leave(address)
            if is_ahead and wait.due is not None:
                self._host.schedule(wait.due, address[0], address[3])
        elif address in self._offered:
            self._offered[address] = OVERDUE  # because an instance that is just being loaded cannot be visited
            self._rounds.wake()
        elif not self._limiter_of(address).waits(address):
            self._join(address, wait, place_in(wait))
        return False

    def offers(self, address: Address) -> bool:
        """Whether the wait has been given a slot that no turn has taken yet."""
        return address in self._offered

    def leave(self, address: Address) -> None:
        """The wait is closed, or has to wait for something else: its slot is free."""
        name = self.members.pop(address, None)
        if name is None:
            return
        self._forget_offer(address)
        self._limiters[name].leave(address)
        self._rounds.wake()

    def _told_admitted(self, address: Address, wait: Wait) -> bool:
        """Who has a slot keeps it. A call of a dead owner asks for its slot again, because its start counts again."""
        self._forget_offer(address)
        limiter = self._limiter_of(address)
        if limiter.runs(address):
            return True
        place = place_in(wait)
        if wait.kind == WaitKind.QUEUE:
            self._limiter(place).occupy(address, place.key)
            self.members[address] = place.queue
        elif not limiter.waits(address):
            self._join(address, wait, msgspec.structs.replace(place, priority=RETURNING))
        return False

    def _join(self, address: Address, wait: Wait, place: Place) -> None:
        self.leave(address)
        self._limiter(place).join(Ticket(address, place.key, place.priority, wait.since))
        self.members[address] = place.queue
        self._rounds.wake()

    def _limiter(self, place: Place) -> Limiter:
        """The limiter of a queue. Limits in the app's code count before those that were written with a call."""
        name = place.queue
        limits = self._declared.get(name, place.limits)
        limiter = self._limiters.get(name)
        if limiter is None:
            limiter = self._limiters[name] = Limiter(limits)
            limiter.recall(self._starts.pop(name, ()))
        limiter.limits = limits
        return limiter

    def _limiter_of(self, address: Address) -> Limiter:
        name = self.members.get(address)
        return NOWHERE if name is None else self._limiters[name]

    async def _round(self) -> float | None:
        now = self._clock.now()
        for address, at in list(self._offered.items()):
            if now - at > OFFER_AGAIN_SECONDS * SECOND and self._counts_again(address, now):
                self._offer(address)
        if sum(self._admit(name, limiter, now) for name, limiter in self._limiters.items()) >= GRANTS_PER_ROUND:
            return 0
        pauses = [limiter.pause(now) for limiter in self._limiters.values()]
        pauses.append(OFFER_AGAIN_SECONDS if self._offered else None)
        return min((pause for pause in pauses if pause is not None), default=None)

    def _admit(self, name: str, limiter: Limiter, now: int) -> int:
        count = 0
        while count < GRANTS_PER_ROUND:
            ticket = limiter.admit(now)
            if ticket is None:
                break
            self._counted[ticket.address] = now
            self._offer(ticket.address)
            count += 1
        return count

    def _counts_again(self, address: Address, now: int) -> bool:
        """Whether a slot may be offered again: if its start has left the window of the rate, it counts anew."""
        limiter = self._limiter_of(address)
        if limiter.limits.rate is None or self._counted[address] + limiter.limits.per > now:
            return True
        if not limiter.count(now):
            return False
        self._counted[address] = now
        return True

    def _forget_offer(self, address: Address) -> None:
        self._offered.pop(address, None)
        self._counted.pop(address, None)

    def _offer(self, address: Address) -> None:
        """Let the instance write that it has the slot. One that wants none any more gives it back."""
        now = self._offered[address] = self._clock.now()
        name = self.members[address]
        limits = self._limiters[name].limits
        begun = self._counted[address]
        permit = None if limits.rate is None else Permit(name, begun, begun + limits.per)
        id, execution, generation, number = address
        grant = SlotGranted(at=now, number=number, permit=permit)

        def offer(actor: Actor | None) -> None:
            if address not in self._offered:
                return
            if not (isinstance(actor, Instance) and actor.admit(grant, execution, generation)):
                self.leave(address)

        self._host.visit(id, offer)

    def __repr__(self) -> str:
        return f"<Queues of shard {self._lease.shard}: {self._limiters!r}>"


async def queued_calls(store: EngineStore, shard: int, most: int | None = None) -> list[OpenCall]:
    """All waits of a shard that are in a queue; if there are more than `most`, about as many."""
    found: list[OpenCall] = []
    page = await store.queued(shard, "", QUEUES_PAGE)
    while page and (most is None or len(found) < most):
        found += page
        page = await store.queued(shard, page[-1].instance, QUEUES_PAGE)
    return found


NOWHERE = Limiter(Limits())
"""The limiter of those that are in none."""


def place_in(wait: Wait) -> Place:
    """The place of a wait that is in a queue. Raises ValueError if it cannot be read."""
    place = place_of(wait.options)
    if place is None:
        raise ValueError(f"wait {wait.number} is {wait.state} and its options name no queue")
    return place
