"""Who is suspected of the death of the last owners, and the lane in which suspects run one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from perdure.actors.host import Host
from perdure.actors.message import from_mail
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.engine.attempts import Attempts
from perdure.engine.entity import Entity
from perdure.engine.instance import Instance
from perdure.engine.standstill import QUARANTINED, hold
from perdure.errors import Fenced
from perdure.history.own_entities import is_own
from perdure.history.work import Stall
from perdure.stores.contract import (
    ENTITY,
    IN_FLIGHT,
    Batch,
    EngineStore,
    Head,
    Lease,
    Loaded,
    Outcome,
    Suspect,
    WaitKind,
)

log = logging.getLogger("perdure")
LANE_SECONDS = 60.0
"""How long the suspects of a shard keep the last one of them waiting. Each may run alone for its share; then those that
have not come to rest run on beside the next, and at the end they have survived."""
LANE_LOOK_SECONDS = 0.005
LANE_LOOK_SECONDS_MAX = 0.1
"""How far the pause between two looks at a suspect that runs grows."""


class Findings(msgspec.Struct, frozen=True):
    """What follows from the deaths so far: who is convicted, who has to run alone, and who is cleared."""

    convicted: Suspect | None = None
    suspected: tuple[Suspect, ...] = ()
    cleared: tuple[Suspect, ...] = ()


def judge(suspects: Sequence[Suspect], deaths_max: int) -> Findings:
    """Convict who alone was accused at the death; of several that were, each has to run alone. Others are cleared then.

    While nobody was accused, those are suspected that were in flight at one death less than the bound.
    """
    accused = [suspect for suspect in suspects if suspect.accused and suspect.deaths >= deaths_max]
    if len(accused) == 1:
        return Findings(convicted=accused[0], cleared=tuple(suspects))
    if accused:
        accused.sort(key=lambda suspect: -suspect.accused)  # because who began last before the death is the likeliest
        still_accused = {suspect.instance for suspect in accused}
        cleared = tuple(suspect for suspect in suspects if suspect.instance not in still_accused)
        return Findings(suspected=tuple(accused), cleared=cleared)
    likely = [suspect for suspect in suspects if suspect.deaths >= deaths_max - 1]
    return Findings(suspected=tuple(sorted(likely, key=lambda suspect: -suspect.deaths)))


def verdict(loaded: Loaded, deaths: int, now: int) -> Stall:
    """Why an instance is not run any more, in words for people."""
    return Stall(
        QUARANTINED,
        f"its owner died {deaths} times running while it was in flight, the last time when no other suspect ran; in "
        f"flight were {_in_flight(loaded, now)}; repair that and resume it{_or_else(loaded)}",
    )


def _or_else(loaded: Loaded) -> str:
    return "" if loaded.head.kind == ENTITY else ", or terminate it"


def _in_flight(loaded: Loaded, now: int) -> str:
    """What an owner had to run of it."""
    if loaded.head.kind == ENTITY:
        return _operations(loaded, now)
    due = [wait for wait in loaded.waits if wait.due is None or wait.due <= now]
    calls = [wait for wait in due if wait.kind == WaitKind.ACTIVITY and wait.state in IN_FLIGHT]
    told = [f"activity {wait.name} (call {wait.number}, attempt {wait.attempt})" for wait in calls]
    told += [f"a {wait.kind} that was due" for wait in due if wait.kind != WaitKind.ACTIVITY and wait.due is not None]
    if loaded.mail:
        told.append(f"a turn with {len(loaded.mail)} messages")
    return ", ".join(told) or "nothing that is stored"


def _operations(loaded: Loaded, now: int) -> str:
    delayed = [wait.name for wait in loaded.waits if wait.due is not None and wait.due <= now]
    told = [f"a delayed {name}" for name in delayed]
    if loaded.mail:
        told.append("a message" if len(loaded.mail) == 1 else f"{len(loaded.mail):,} messages")
    return ", ".join(told) or "nothing that is stored"


class Lane:
    """Lets the suspects of a shard begin one after the other, each accused before anything of it runs.

    Everybody else runs on meanwhile. What is for a suspect that waits, waits in the host.
    """

    def __init__(
        self,
        store: EngineStore,
        lease: Lease,
        clock: Clock,
        host: Host,
        attempts: Attempts,
        *,
        stalled: Callable[[Head, Stall], None],
        lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._clock = clock
        self._host = host
        self._attempts = attempts
        self._stalled = stalled
        self._lost = lost
        self._waiting: deque[str] = deque()
        self._running: list[str] = []
        self._accused = 0
        self._share_seconds = LANE_SECONDS
        self._rounds = Rounds("lane", self._round)

    async def open(self, deaths_max: int) -> None:
        """Let the convicted stand still, and the host detain the suspects, before anything of the shard runs.

        Raises StoreError, with nothing lost: the next try begins from the same deaths.
        """
        suspects = await self._store.suspects(self._lease.shard)
        # without what runs no code of anybody, and has mail all the time
        findings = judge([one for one in suspects if not is_own(one.instance)], deaths_max)
        if findings.convicted is not None:
            await self._convict(findings.convicted)
        if findings.cleared:
            await self._store.acquit(self._lease, [suspect.instance for suspect in findings.cleared])
        if not findings.suspected:
            return
        self._waiting.extend(suspect.instance for suspect in findings.suspected)
        self._share_seconds = LANE_SECONDS / len(self._waiting)
        self._host.detain(self._waiting)
        log.warning(
            "owners of shard %d died again and again; %d instances that were in flight each time run one by one",
            self._lease.shard,
            len(self._waiting),
        )

    def start(self) -> None:
        if self._waiting:
            self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    async def _convict(self, suspect: Suspect) -> None:
        """Write why it stands still. A resume that lies in its mail has had its try, and is taken out."""
        shard, now = self._lease.shard, self._clock.now()
        for loaded in await self._store.load(shard, [suspect.instance]):
            head, stall = loaded.head, verdict(loaded, suspect.deaths, now)
            waits = {wait.number: wait for wait in loaded.waits}
            mail = [from_mail(mail) for mail in loaded.mail]
            turn = hold(shard, head, waits, mail, stall, max(now, head.updated), head.sequence)
            if turn is not None:
                (outcome,) = await self._store.commit([Batch(self._lease, [turn])], self._clock.token())
                if outcome is Outcome.COMMITTED:
                    self._stalled(head, stall)

    async def _round(self) -> float | None:
        """Try the next one. A round that met an error of the store is taken again, from its beginning."""
        try:
            if self._waiting:
                await self._try(self._waiting[0])
                self._waiting.popleft()
                return 0
            await self._store.acquit(self._lease, self._running)
        except Fenced:
            self._lost("another node holds the shard now")
        return None

    async def _try(self, id: str) -> None:
        """Let one run until it is at rest, or has had its share of the time."""
        self._accused += 1
        await self._store.accuse(self._lease, id, self._accused)
        arrived = asyncio.Event()
        self._host.admit(id)
        self._host.visit(id, lambda actor: _arrive(actor, arrived))
        await arrived.wait()
        if await self._comes_to_rest(id):
            await self._store.acquit(self._lease, [id])
        else:
            self._running.append(id)

    async def _comes_to_rest(self, id: str) -> bool:
        now = asyncio.get_running_loop().time
        ends = now() + self._share_seconds
        pause = LANE_LOOK_SECONDS
        while not self._has_survived(id):
            if now() >= ends:
                return False
            await asyncio.sleep(min(pause, ends - now()))
            pause = min(pause * 1.5, LANE_LOOK_SECONDS_MAX)
        return True

    def _has_survived(self, id: str) -> bool:
        actor = self._host.get(id)
        if isinstance(actor, Entity) and actor.has_done:
            return True  # because one that many ask never rests, and who kills is first in its queue some day
        return self._host.is_at_rest(id) and not self._attempts.runs(id)

    def __repr__(self) -> str:
        return f"<Lane of shard {self._lease.shard}: {len(self._waiting)} suspects wait>"


def _arrive(actor: object, arrived: asyncio.Event) -> None:
    """It is loaded: its calls run, its mail is taken; what is due is told here, as the timers may not look before."""
    if isinstance(actor, (Instance, Entity)):
        for number in list(actor.waits):
            actor.due(number)
    arrived.set()
