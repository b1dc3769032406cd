"""Attempts: a call that has had one is not given it again, whatever happens to its instance meanwhile."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from perdure import App, activity_context
from perdure.clock import SystemClock
from perdure.codec import NOTHING, Payload, encode
from perdure.engine.attempts import Attempts, Running, Slots
from perdure.history.options import CallOptions, encode_options
from perdure.history.work import Attempt, Outcome
from perdure.sdk.definitions import Definitions
from perdure.sdk.worker import Worker
from perdure.stores.contract import Wait

FAN = 20


def test_an_instance_that_leaves_memory_while_its_activities_run_does_not_run_them_again() -> None:
    app = App("attempts", store="memory:", activations_max=1)
    begun: Counter[str] = Counter()

    @app.activity
    async def work(number: int) -> int:
        begun[activity_context().idempotency_key] += 1
        await asyncio.sleep(0.05)  # so that all end together, while their instance is loaded for the first
        return number

    @app.workflow
    async def fan() -> int:
        return sum(await asyncio.gather(*(work(number) for number in range(FAN))))

    async def scenario() -> list[int]:
        async with app:
            handles = [await fan.start() for _ in range(5)]
            return [await handle.result(30) for handle in handles]

    assert asyncio.run(scenario()) == [sum(range(FAN))] * 5
    assert len(begun) == 5 * FAN
    assert set(begun.values()) == {1}


class Counting(Worker):
    """Ends every attempt at once, and counts them."""

    def __init__(self) -> None:
        super().__init__("app", Definitions())
        self.begun: list[int] = []

    async def attempt(self, work: Attempt, *_: object) -> Outcome:
        self.begun.append(work.attempt)
        return Outcome(result=NOTHING)


class Leap(SystemClock):
    """A wall clock that somebody sets an hour ahead."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


def unasked(*_: object) -> Any:
    raise AssertionError("nobody yields anything, nor has a transaction")


def test_a_leap_of_the_wall_clock_does_not_expire_an_attempt_that_gives_heartbeats() -> None:
    clock = Leap()
    app = App("leap")

    @app.activity
    async def work() -> str:
        for _ in range(6):
            clock.ahead += 3_600_000_000
            activity_context().heartbeat()
            await asyncio.sleep(0.1)
        return "well"

    outcomes: list[Outcome] = []

    async def scenario() -> None:
        worker = Worker("leap", app.definitions)
        attempts = Attempts(
            worker, clock, lambda _, ended: outcomes.append(ended), lambda *_: None, unasked, unasked, Slots()
        )
        options = encode_options(CallOptions(heartbeat_timeout=2.0))
        wait = Wait(number=1, kind="activity", name="work", since=0, attempt=1, input=NOTHING, options=options)
        attempts.start("leap", ("instance", "execution", 1, 1), wait)
        await attempts.drain(5)

    asyncio.run(scenario())
    assert [(outcome.timed_out, outcome.failure) for outcome in outcomes] == [(False, None)]


@pytest.mark.parametrize(
    "details, timeout, is_watched", [(None, None, False), (encode(1), None, True), (None, 2.0, True)]
)
def test_only_a_beat_that_has_something_to_tell_or_to_put_off_is_looked_at(
    details: Payload | None, timeout: float | None, is_watched: bool
) -> None:
    watched: list[int] = []

    class Beating(Worker):
        is_remote = True

        async def attempt(self, work: Attempt, beat: Any, outlet: Any) -> Outcome:
            beat(details)
            beat(None)
            await asyncio.sleep(0)
            watched.append(len(beat.__self__.attempts._beating))
            return Outcome(result=NOTHING)

    async def scenario() -> None:
        worker = Beating("app", Definitions())
        attempts = Attempts(worker, SystemClock(), lambda *_: None, lambda *_: None, unasked, unasked, Slots())
        options = encode_options(CallOptions(heartbeat_timeout=timeout))
        wait = Wait(number=1, kind="activity", name="work", since=0, attempt=1, input=NOTHING, options=options)
        attempts.start("app", ("instance", "execution", 1, 1), wait)
        await attempts.drain(5)

    asyncio.run(scenario())
    assert watched == [is_watched]


def test_a_call_has_each_attempt_once_until_it_is_closed() -> None:
    """A store read before the result is durable still shows the call open, to recovery and to loads."""
    worker = Counting()
    ended: list[int] = []
    address = ("instance", "execution", 1, 1)

    def end(running: Running, _: Outcome) -> None:
        ended.append(running.wait.attempt)

    def flush(_: Running, __: Payload) -> None:
        raise AssertionError("nobody has sent a heartbeat")

    async def scenario() -> None:
        attempts = Attempts(worker, SystemClock(), end, flush, unasked, unasked, Slots())

        async def start(number: int) -> None:
            attempts.start("app", address, Wait(number=1, kind="activity", name="work", since=0, attempt=number))
            await asyncio.sleep(0.01)

        await start(1)
        await start(1)
        assert worker.begun == ended == [1]
        await start(2)
        await start(1)
        assert worker.begun == ended == [1, 2]
        attempts.cancel(address)
        assert attempts.count == 0, "nothing is kept of a call that is closed"
        await attempts.drain(0)

    asyncio.run(scenario())


def test_an_attempt_whose_end_was_told_elsewhere_is_called_off_and_not_made_again() -> None:
    """Who read the call before its end was durable still finds it open."""
    address = ("instance", "execution", 1, 1)
    begun: list[int] = []

    class Waiting(Worker):
        async def attempt(self, work: Attempt, *_: object) -> Outcome:
            begun.append(work.attempt)
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    async def scenario() -> None:
        worker = Waiting("app", Definitions())
        attempts = Attempts(worker, SystemClock(), lambda *_: None, lambda *_: None, unasked, unasked, Slots())

        async def start(number: int) -> None:
            attempts.start("app", address, Wait(number=1, kind="activity", name="work", since=0, attempt=number))
            await asyncio.sleep(0.01)

        await start(1)
        attempts.call_off(address, 1)
        await asyncio.sleep(0.01)
        assert not attempts.runs("instance")
        await start(1)
        await start(2)
        attempts.call_off(address, 1)
        assert begun == [1, 2]
        assert attempts.runs("instance"), "the second one goes on"
        await attempts.drain(0)

    asyncio.run(scenario())


def test_a_call_that_is_closed_before_its_attempt_takes_a_step_frees_the_slot() -> None:
    """A turn may start a call and the next one close it, before the event loop gets to the attempt."""
    worker = Counting()

    async def scenario() -> None:
        attempts = Attempts(worker, SystemClock(), lambda *_: None, lambda *_: None, unasked, unasked, Slots(1))
        for number in (1, 2):
            wait = Wait(number=number, kind="activity", name="work", since=0, attempt=number)
            attempts.start("app", ("instance", "execution", 1, number), wait)
        attempts.cancel(("instance", "execution", 1, 1))
        await asyncio.sleep(0.01)
        assert worker.begun == [2], "the one that waited for the slot has it, and the closed one never ran"
        await attempts.drain(0)

    asyncio.run(scenario())


def test_nothing_begins_once_the_lease_is_known_to_be_lost() -> None:
    worker = Counting()

    async def scenario() -> None:
        slots = Slots()
        attempts = Attempts(worker, SystemClock(), lambda *_: None, lambda *_: None, unasked, unasked, slots)

        def start(number: int) -> None:
            wait = Wait(number=number, kind="activity", name="work", since=0, attempt=1)
            attempts.start("app", ("instance", "execution", 1, number), wait)

        start(1)
        attempts.halt()
        start(2)
        await asyncio.sleep(0.01)
        assert worker.begun == []
        assert slots.busy == 0, "other shards of the node have the slots"

    asyncio.run(scenario())


def test_nothing_begins_while_what_runs_is_given_time_to_end() -> None:
    """It would be cancelled as soon as the last of the others has ended, and made again by the next owner."""
    app = App("drained")
    begun: list[int] = []
    ended: list[int] = []

    @app.activity
    async def work() -> None:
        begun.append(activity_context().attempt)
        await asyncio.sleep(0.05)

    async def scenario() -> None:
        worker = Worker("drained", app.definitions)
        attempts = Attempts(
            worker, SystemClock(), lambda run, _: ended.append(run.wait.attempt), unasked, unasked, unasked, Slots()
        )
        first, second = (Wait(number, "activity", "work", 0, attempt=number, input=NOTHING) for number in (1, 2))
        attempts.start("drained", ("instance", "execution", 1, 1), first)
        draining = asyncio.ensure_future(attempts.drain(5))
        while not begun:
            await asyncio.sleep(0)
        attempts.start("drained", ("instance", "execution", 1, 2), second)
        await draining

    asyncio.run(scenario())
    assert begun == ended == [1]


def test_silence_counts_from_when_a_worker_elsewhere_has_the_attempt() -> None:
    """Until it is handed out there is nobody who could give a heartbeat."""
    outcomes: list[Outcome] = []

    class Elsewhere(Worker):
        is_remote = True

        async def attempt(self, work: Attempt, beat: Any, *_: object) -> Outcome:
            await asyncio.sleep(0.5)
            assert outcomes == []
            beat(None)
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    async def scenario() -> None:
        worker = Elsewhere("app", Definitions())
        attempts = Attempts(
            worker, SystemClock(), lambda _, end: outcomes.append(end), lambda *_: None, unasked, unasked, Slots()
        )
        options = encode_options(CallOptions(heartbeat_timeout=0.2))
        wait = Wait(number=1, kind="activity", name="work", since=0, attempt=1, options=options)
        attempts.start("app", ("instance", "execution", 1, 1), wait)
        async with asyncio.timeout(30):
            while not outcomes:
                await asyncio.sleep(0.01)
        await attempts.drain(0)

    asyncio.run(scenario())
    assert [outcome.timed_out for outcome in outcomes] == [True]


class Begun:
    """Stands for the attempts of a shard: notes what begins."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def begin(self, running: Any) -> None:
        self.names.append(running.wait.name)


class Entry:
    """An attempt that asks for a slot."""

    def __init__(self, begun: Begun, name: str) -> None:
        self.attempts = begun
        self.wait = Wait(number=1, kind="activity", name=name, since=0)
        self.cancelled = False


def entered(slots: Slots, *names: str) -> tuple[Begun, list[Any]]:
    begun = Begun()
    entries: list[Any] = [Entry(begun, name) for name in names]
    for entry in entries:
        slots.enter(entry)
    return begun, entries


def test_slots_of_one_name_run_out_without_keeping_others_from_theirs() -> None:
    begun, _ = entered(Slots(3, {"mail": 1}), "mail", "mail", "mail", "pack", "pack", "pack")
    assert begun.names == ["mail", "pack", "pack"]


def test_a_slot_that_falls_free_goes_to_each_line_in_turn_and_never_beyond_the_limit_of_a_name() -> None:
    slots = Slots(2, {"mail": 1})
    begun, entries = entered(slots, "pack", "pack", "mail", "mail", "pack", "pack")
    assert begun.names == ["pack", "pack"]
    slots.leave(entries[0])
    slots.leave(entries[1])
    assert sorted(begun.names[2:]) == ["mail", "pack"]
    slots.leave(entries[4])
    assert begun.names[4:] == ["pack"]
    slots.leave(entries[2])
    assert begun.names[5:] == ["mail"]


def test_a_slot_that_nobody_takes_is_told_of_and_room_counts_what_waits_and_is_promised() -> None:
    slots = Slots(8, {"mail": 2})
    told: list[int] = []
    slots.on_free = lambda: told.append(slots.free)
    _, entries = entered(slots, *["pack"] * 8, "pack")
    assert slots.room().total == 8 + 1 - 9
    slots.leave(entries[0])
    assert (told, slots.room().total) == ([], 1)
    slots.promise(1)
    assert slots.room().total == 0
    slots.leave(entries[1])
    assert told == [1]
    entered(slots, "mail", "mail", "mail")
    assert slots.room().names == {"mail": 2 + 1 - 1 - 2}
    assert slots.free_of("mail") == 0


def test_attempts_that_are_halted_before_their_first_step_leave_their_slots_to_others() -> None:
    async def scenario() -> None:
        slots, worker = Slots(1), Counting()
        ended: list[int] = []

        def attempts() -> Attempts:
            def end(running: Running, _: Any) -> None:
                ended.append(running.address[3])

            return Attempts(worker, SystemClock(), end, lambda *_: None, unasked, unasked, slots)

        first, second = attempts(), attempts()
        for made, number in ((first, 1), (first, 2), (second, 3)):
            made.start(
                "app", ("i", "e", 1, number), Wait(number=number, kind="activity", name="work", since=0, attempt=1)
            )
        first.halt()
        await asyncio.sleep(0.01)
        assert ended == [3]
        assert slots.busy == 0

    asyncio.run(scenario())
