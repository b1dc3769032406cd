"""What a shard's waits ask of the doors of their queues, where an app has several shards and a queue one door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple

from perdure.actors.host import Host
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.engine.attempts import Address
from perdure.engine.door import Door, left_by
from perdure.engine.queues import place_in, queued_calls
from perdure.errors import InstanceExists, StoreError
from perdure.gathering import Gathering
from perdure.history.entities import entity_head
from perdure.history.events import SlotWanted, encode_event
from perdure.history.options import Limits
from perdure.history.slots import door_of
from perdure.stores.contract import (
    ADMITTED,
    FINISHED,
    NOBODY,
    QUEUED,
    Creation,
    Delivery,
    EngineStore,
    Lease,
    Mail,
    OpenCall,
    Wait,
)

log = logging.getLogger("perdure")
ASK_AGAIN_SECONDS = 0.5
"""After which a door is asked again when the store did not answer, or when its mailbox is full."""
REMIND_SECONDS = 20.0
REMINDERS_PER_ROUND = 100
"""How often doors are asked again by those who have waited so long, and by how many of them: what was asked may have
overtaken the word that an earlier slot was left, and been taken for a repetition."""
HOLDERS_PER_LOOK = 1_000
"""Of those that have slots, how many one read of the store tells of."""


class _Asked(NamedTuple):
    """What was asked for a wait, in which attempt, and when by the loop's time."""

    attempt: int
    mail: Mail
    at: float


class Petitions:
    """Asks doors for slots, and looks after the doors that this shard is the home of.

    The face is that of `Queues`, which decides alone where one shard is all there is.
    """

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        clock: Clock,
        host: Host,
        declared: Mapping[str, Limits],
        *,
        shard_of: Callable[[str], int],
        hand_over: Callable[[Mail], None],
    ) -> None:
        self.declared = declared
        self.members: dict[Address, str] = {}
        self._asked: dict[Address, _Asked] = {}
        self._reminders = Rounds("reminders", self._remind_round)
        self._store = store
        self._lease = lease
        self._clock = clock
        self._host = host
        self._shard_of = shard_of
        self._hand_over = hand_over
        self._early: list[Door] | None = []
        self._starts: dict[str, list[int]] = {}
        self._posts: dict[int, Gathering[Mail, Delivery]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def open(self, tell: Callable[[OpenCall], None]) -> None:
        """Ask again for all who wait, as nobody knows whether the last owner did; `tell` hears of each."""
        for permit in await self._store.permits(self._lease.shard, self._clock.now()):
            self._starts.setdefault(permit.queue, []).append(permit.at)
        early, self._early = self._early, None
        for door in early or ():
            door.unstall()
        for call in sorted(await queued_calls(self._store, self._lease.shard), key=lambda call: call.wait.since):
            tell(call)
        self._reminders.start()

    async def stop(self) -> None:
        await self._reminders.stop()
        for asking in list(self._asking):
            asking.cancel()

    def told(self, address: Address, wait: Wait) -> bool:
        """A wait in a queue is durable in this state; whether its attempts may run."""
        if wait.state == ADMITTED:
            self.members[address] = place_in(wait).queue
            self._asked.pop(address, None)
            return True
        is_ahead = wait.due is not None and wait.due > self._clock.now()
        if wait.state != QUEUED or is_ahead:
            self.leave(address)
            if is_ahead and wait.due is not None:
                self._host.schedule(wait.due, address[0], address[3])
        elif not self._has_asked(address, wait):
            place = place_in(wait)
            self.members[address] = place.queue
            id, execution, generation, number = address
            now = self._clock.now()
            asked = SlotWanted(
                at=now,
                number=number,
                instance=id,
                execution=execution,
                generation=generation,
                since=wait.since,
                place=place,
            )
            key = f"{id}/{execution}.{generation}/{number}.{wait.attempt}"
            mail = Mail(door_of(place.queue), key, encode_event(asked), now)
            self._asked[address] = _Asked(wait.attempt, mail, asyncio.get_running_loop().time())
            self._spawn(self._ask(address, mail))
        return False

    def _has_asked(self, address: Address, wait: Wait) -> bool:
        asked = self._asked.get(address)
        return asked is not None and asked.attempt == wait.attempt

    def offers(self, address: Address) -> bool:
        """Whether a slot that comes as mail is the wait's: the door has written it, and the wait has none yet."""
        return address in self._asked or address not in self.members

    def leave(self, address: Address) -> None:
        """The wait is closed, or has to wait for something else; the turn that wrote so has told the door."""
        self.members.pop(address, None)
        self._asked.pop(address, None)

    # -- asking ---------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="perdure-petition")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, address: Address, mail: Mail) -> None:
        while address in self._asked:
            try:
                delivery = await self._post(self._shard_of(mail.instance)).add(mail)
                if delivery not in (*NOBODY, Delivery.FULL) or (delivery in NOBODY and await self._make(mail)):
                    self._hand_over(mail)
                    return
            except StoreError as error:
                log.debug("%s was not asked for a slot yet: %s", mail.instance, error)
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _remind_round(self) -> float | None:
        now = asyncio.get_running_loop().time()
        late = [address for address, asked in self._asked.items() if now - asked.at >= REMIND_SECONDS]
        for address in late[:REMINDERS_PER_ROUND]:
            asked = self._asked.pop(address)
            self._asked[address] = asked._replace(at=now)  # behind the others, who have their turn then
            self._spawn(self._ask(address, asked.mail))
        return REMIND_SECONDS

    def _post(self, shard: int) -> Gathering[Mail, Delivery]:
        gathering = self._posts.get(shard)
        if gathering is None:
            gathering = self._posts[shard] = Gathering(partial(self._store.deliver, shard))
        return gathering

    async def _make(self, mail: Mail) -> bool:
        """Whether the mail has made the door; else somebody else has just done so."""
        head = entity_head(self._lease.app, mail.instance, self._clock.token(), mail.at)
        try:
            await self._store.create(self._shard_of(mail.instance), Creation(head, mail))
        except InstanceExists:
            return False
        return True

    # -- doors of this shard --------------------------------------------------------------------------------------

    def is_ready(self, door: Door) -> bool:
        if self._early is not None:
            self._early.append(door)
        return self._early is None

    def starts_of(self, queue: str) -> list[int]:
        return self._starts.setdefault(queue, [])

    def check(self, door: Door) -> None:
        """Look whether those who have slots are still there: a run that was removed, or has ended, tells nobody."""
        self._spawn(self._check(door))

    async def _check(self, door: Door) -> None:
        holders = door.holders()
        for first in range(0, len(holders), HOLDERS_PER_LOOK):
            await self._check_some(door, holders[first : first + HOLDERS_PER_LOOK])

    async def _check_some(self, door: Door, holders: list[Address]) -> None:
        try:
            heads = await self._store.heads([(self._shard_of(id), id) for id, *_ in holders])
        except StoreError as error:
            log.debug("%s does not know who has its slots: %s", door.id, error)
            return  # because the next look is not far
        alive = {(head.id, head.execution) for head in heads if head.status not in FINISHED}
        for holder in holders:
            if holder[:2] not in alive:
                log.warning("a slot of %s is free, because %s is not there any more", door.id, holder[0])
                door.tell(left_by(holder, self._clock.now()))

    def __repr__(self) -> str:
        return f"<Petitions of shard {self._lease.shard}: {len(self.members)} waits>"
