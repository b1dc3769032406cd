"""The calls that this node runs for whichever node owns their runs: claimed, kept, reported, given back."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import msgspec

from perdure.actors.message import Message
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.attempts import Address, Attempts, Running, Slots
from perdure.engine.ports import Attempter
from perdure.engine.reports import kept, report
from perdure.errors import StoreError, StreamRefused
from perdure.history.events import Failure
from perdure.history.reports import GIVEN_BACK, AttemptFailed
from perdure.history.work import Outcome, Stall
from perdure.scheduler.pace import LOOK_GROWTH, LOOK_SECONDS
from perdure.stores import contract
from perdure.stores.contract import EngineStore, Mail, OpenCall, Report, Touch
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")
CLAIMED_MAX = 10_000
"""Calls that a node has claimed and not yet reported; it claims no more beyond it."""
CLAIMS_PER_LOOK_MAX = 500
"""Calls that one look claims."""
KEPT_FREE = 16
"""Of so many slots one is not used for claimed calls, so that calls of the node's own runs begin at once."""
HINTED_SECONDS_MAX = 0.1
"""How long after a look that found little a hint may have to wait, because hints come all the time on a busy store."""
TOUCHES_PER_CLAIM = 3
"""Signs of life in the time of a claim."""
REPORT_AGAIN_SECONDS = 0.5
"""After which a report is made again that the store did not take."""
LAST_REPORTS_SECONDS = 5.0
"""How long a node that closes waits for reports to be written; calls without one are claimed by others."""


class Claimant(Protocol):
    """The engine around."""

    app: str
    owner: str
    store: EngineStore
    clock: Clock

    async def report(self, report: Report) -> contract.Outcome:
        """Write the end of an attempt, and tell the run's owner if that is this node. Raises StoreError."""


class LookTimes:
    """When the store is looked at for offered calls: pure, times in seconds come in as arguments.

    At once after a look that brought all that was asked for, else after a pause that grows while nothing is found; a
    hint shortens it, and it grows anew from there.
    """

    def __init__(self, poll_seconds: float) -> None:
        self._poll_seconds = poll_seconds
        self._last = 0.0
        self._pause = 0.0
        self._is_hinted = False

    def hint(self) -> None:
        self._is_hinted = True

    def pause(self, now: float) -> float:
        """Seconds until the next look; 0: now."""
        pause = min(self._pause, HINTED_SECONDS_MAX) if self._is_hinted else self._pause
        return max(self._last + pause - now, 0.0)

    def begin(self, now: float) -> None:
        """A look begins, and sees what was hinted at; it may have come too late for one part of that, or too early."""
        if self._is_hinted:
            self._pause = min(self._pause, HINTED_SECONDS_MAX)
        self._last = now
        self._is_hinted = False

    def end(self, found: int, wanted: int) -> None:
        if found >= wanted:
            self._pause = 0.0
        elif found:
            self._pause = LOOK_SECONDS
        else:
            self._pause = min(max(self._pause, LOOK_SECONDS) * LOOK_GROWTH, self._poll_seconds)


class Claimer:
    """Claims offered calls while slots are free, and runs their attempts.

    A claim lasts `seconds` after the last sign of life; those of all calls are one call of the store. A call that is
    not this node's any more, because it is closed or claimed by another, has its attempt cancelled. One whose claims
    ran out `lapses_max` times (None: it may as often as it does) goes back to the owner of its run. With `once` so does
    each that nothing is done for any more, in place of being let go for others.
    """

    def __init__(
        self,
        claimant: Claimant,
        executor: Attempter,
        slots: Slots,
        seconds: float,
        poll_seconds: float,
        metrics: Metrics | None = None,
        lapses_max: int | None = None,
        *,
        once: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._metrics = metrics
        self._claimant = claimant
        self._executor = executor
        self._slots = slots
        self._seconds = seconds
        self._lapses_max = lapses_max
        self._once = once
        clock = claimant.clock
        self._attempts = Attempts(
            executor, clock, self._ended, self._beaten, self._no_transaction, self._no_outlet, slots, metrics
        )
        self._calls: dict[Address, OpenCall] = {}
        self._details: dict[Address, Payload] = {}
        self._misplaced: set[Address] = set()
        self._reporting: dict[Address, asyncio.Task[None]] = {}
        self._times = LookTimes(poll_seconds)
        self._lacks_slots = False
        self._next_touch = 0.0
        self._looks = Rounds("claims", self._look_round)
        self._touches = Rounds("touches", self._touch_round)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        self._slots.on_free = self._slot_is_free
        self._looks.start()
        self._touches.start()

    async def close(self, drain_seconds: float) -> None:
        """Claim no more, give attempts some time, report what has ended; others may claim the rest at once."""
        await self._looks.stop()
        await self._attempts.drain(drain_seconds)
        if self._reporting:
            await asyncio.wait(self._reporting.values(), timeout=max(drain_seconds, LAST_REPORTS_SECONDS))
        await self._touches.stop()
        for telling in self._reporting.values():
            telling.cancel()
        try:
            await self._let_go(list(self._calls))
        except StoreError as error:
            log.warning("claimed calls wait until their claims run out, because they could not be let go: %s", error)

    def hint(self) -> None:
        """Somebody may have offered a call, or this node can run what it could not before."""
        self._times.hint()
        if not self._lacks_slots:
            self._looks.wake()

    def workers_changed(self) -> None:
        """The code that this node has is another now."""
        self._times.hint()
        self._looks.wake()
        self._touches.wake()

    @property
    def count(self) -> int:
        """Calls that are claimed and not yet reported."""
        return len(self._calls)

    # -- looking --------------------------------------------------------------------------------------------------

    def _slot_is_free(self) -> None:
        if self._lacks_slots:
            self._lacks_slots = False
            self._looks.wake()

    async def _look_round(self) -> float | None:
        pause = self._times.pause(self._loop.time())
        if pause > 0:
            return pause
        wishes = list(self._wishes())
        self._lacks_slots = not wishes
        if not wishes:
            return None
        self._times.begin(self._loop.time())
        found = 0
        for names, count in wishes:
            found += await self._claim(names, count)
        self._times.end(found, sum(count for _, count in wishes))
        return 0

    def _wishes(self) -> Iterator[tuple[list[str], int]]:
        """Names, and how many calls of them this node has room for: of all that it does not limit together."""
        free = min(self._free(), CLAIMED_MAX - len(self._calls), CLAIMS_PER_LOOK_MAX)
        names = sorted(self._executor.activities()) if free > 0 else []
        unlimited = [name for name in names if name not in self._slots.limits]
        if unlimited:
            yield unlimited, free
        for name in names:
            count = min(self._slots.free_of(name), free) if name in self._slots.limits else 0
            if count > 0:
                yield [name], count

    def _free(self) -> int:
        free = self._slots.free - self._slots.count // KEPT_FREE
        elsewhere = self._executor.room()
        return free if elsewhere is None else min(free, elsewhere)

    async def _claim(self, names: list[str], count: int) -> int:
        claimant = self._claimant
        token = claimant.clock.token()
        found = await claimant.store.claim(claimant.app, claimant.owner, token, names, count, self._seconds)
        for call in found:
            self._take(call)
        if self._metrics is not None:
            self._metrics.added(len(found))
        return len(found)

    def _take(self, call: OpenCall) -> None:
        """Begin the attempt. One that goes on here although its claim ran out goes on under the new one."""
        address = (call.instance, call.execution, call.generation, call.wait.number)
        if not self._calls:
            self._next_touch = self._loop.time() + self._seconds / TOUCHES_PER_CLAIM
            self._touches.wake()
        known = self._calls.get(address)
        if known is not None and known.wait.attempt == call.wait.attempt:
            self._calls[address] = call
            return
        self._forget(address)
        self._calls[address] = call
        if self._lapses_max is not None and call.wait.lapses >= self._lapses_max:
            # because it may be what ended them, and who kills owners is found among all that they ran
            text = f"{call.wait.lapses} nodes that had claimed it were not heard of again"
            self._tell(address, self._given_back(address, call, text))
            return
        self.counts["claimed"] += 1
        try:
            self._attempts.start(self._claimant.app, address, call.wait)
        except ValueError as error:
            self._tell(address, self._given_back(address, call, f"its options cannot be read: {error}"))

    # -- what the attempts say ------------------------------------------------------------------------------------

    def _ended(self, running: Running, outcome: Outcome | Stall) -> None:
        address = running.address
        call = self._calls.get(address)
        if call is None:
            return
        if isinstance(outcome, Stall):
            mail = self._given_back(address, call, outcome.description)
        elif address in self._misplaced:
            mail = self._given_back(address, call, "the activity yields, or is a transaction")
        else:
            at = self._claimant.clock.now()
            mail = kept(address[0], report(running, outcome, at), at)
        self._tell(address, mail)

    def _beaten(self, running: Running, details: Payload) -> None:
        if running.address in self._calls:
            self._details[running.address] = details
            self._touches.wake()

    async def _no_transaction(self, running: Running, _: Callable[[Any], Outcome | Stall]) -> Outcome:
        self._misplaced.add(running.address)
        return Outcome()

    def _no_outlet(self, running: Running) -> NoReturn:
        self._misplaced.add(running.address)
        raise StreamRefused("what an activity yields is written by the owner of its run, to which the call goes back")

    # -- reports --------------------------------------------------------------------------------------------------

    def _given_back(self, address: Address, call: OpenCall, why: str) -> Mail:
        """The call is the owner's again, at the same attempt."""
        self.counts["given back"] += 1
        id, execution, generation, number = address
        at, failure = self._claimant.clock.now(), Failure(type=GIVEN_BACK, message=why)
        event = AttemptFailed(at=at, number=number, failure=failure, attempt=call.wait.attempt)
        mail = kept(id, Message(event, None, execution, generation), at)
        return msgspec.structs.replace(mail, key=f"{mail.key}.{call.wait.token}")

    def _tell(self, address: Address, mail: Mail) -> None:
        telling = self._loop.create_task(self._until_told(address, self._calls[address].wait.attempt, mail))
        self._reporting[address] = telling
        telling.add_done_callback(lambda _: self._reporting.pop(address, None))

    async def _until_told(self, address: Address, attempt: int, mail: Mail) -> None:
        """Write the end of an attempt, under the claim that there is when it is written."""
        while (call := self._calls.get(address)) is not None and call.wait.attempt == attempt:
            try:
                outcome = await self._claimant.report(Report(address[3], attempt, mail, call.wait.token))
            except StoreError as error:
                log.debug("the end of call %d of %r is not written yet: %s", address[3], address[0], error)
                await asyncio.sleep(REPORT_AGAIN_SECONDS)
                continue
            is_told = outcome == contract.Outcome.COMMITTED
            if is_told or self._calls.get(address) is call:
                self.counts["reported" if is_told else "late"] += 1
                self._forget(address)

    def _forget(self, address: Address) -> None:
        self._calls.pop(address, None)
        self._details.pop(address, None)
        self._misplaced.discard(address)
        self._attempts.cancel(address)

    # -- signs of life --------------------------------------------------------------------------------------------

    async def _touch_round(self) -> float | None:
        """Keep all claims from time to time, and at once those whose attempts have something to be kept."""
        await self._let_go(self._strays())
        if not self._calls:
            return None
        now = self._loop.time()
        is_time = now >= self._next_touch
        details, self._details = self._details, {}
        calls = [(address, call) for address, call in self._calls.items() if is_time or address in details]
        if calls:
            try:
                alive = await self._claimant.store.touch(
                    [_touch(call, details.get(address)) for address, call in calls], self._seconds
                )
            except StoreError:
                self._details = {**details, **self._details}
                raise
            for (address, call), lives in zip(calls, alive, strict=True):
                if not lives and self._calls.get(address) is call:
                    self.counts["lost"] += 1
                    self._forget(address)
        if is_time:
            self._next_touch = now + self._seconds / TOUCHES_PER_CLAIM
        return max(self._next_touch - self._loop.time(), 0.001)

    def _strays(self) -> list[Address]:
        """Claimed calls for which nothing is done here any more, as when the workers have gone that have their code."""
        names = self._executor.activities() if self._calls else ()
        return [
            address
            for address, call in self._calls.items()
            if address not in self._reporting
            and (call.wait.name not in names or not self._attempts.is_under_way(address))
        ]

    async def _let_go(self, addresses: list[Address]) -> None:
        """Let others claim these at once, or their owners have them."""
        calls = {address: call for address in addresses if (call := self._calls.get(address)) is not None}
        for address in addresses:
            self._forget(address)
        if not calls:
            return
        self.counts["let go"] += len(calls)
        if not self._once:
            await self._claimant.store.touch([_touch(call, None) for call in calls.values()], 0)
            return
        for address, call in calls.items():
            mail = self._given_back(address, call, "nobody has it here any more")
            await self._claimant.report(Report(address[3], call.wait.attempt, mail, call.wait.token))

    def __repr__(self) -> str:
        return f"<Claimer of {self._claimant.app}: {len(self._calls)} calls, {len(self._reporting)} to report>"


def _touch(call: OpenCall, details: Payload | None) -> Touch:
    wait = call.wait
    assert wait.token is not None, "a call that is claimed has a token"
    return Touch(call.shard, call.instance, call.execution, call.generation, wait.number, wait.token, details)
