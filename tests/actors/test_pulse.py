"""Beats go on, whatever one of them meets, and end with those who listen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from perdure.actors.pulse import Heard, LoopPulse, Pulse, Standing, ThreadPulse, is_certain
from perdure.errors import StoreUnavailable
from perdure.stores.contract import Beat, Lease, Member

STANDING = Standing(Member("me"), (Lease(1, "shop", 0, "me", 7),))
SECONDS = 0.01
PATIENCE_SECONDS = 30.0


class Heart:
    """A connection that answers as it is told, one beat after the other, and well from then on."""

    def __init__(self, *troubles: Exception) -> None:
        self._troubles = list(troubles)
        self.threads: set[int] = set()
        self.closed = threading.Event()

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        self.threads.add(threading.get_ident())
        if self._troubles:
            raise self._troubles.pop(0)
        return Beat(list(leases), [member])

    async def close(self) -> None:
        self.closed.set()


async def heard(pulse: Pulse, heart: Heart, count: int) -> list[Heard]:
    """What the first beats have brought."""
    found: list[Heard] = []
    enough = asyncio.Event()

    def hears(one: Heard) -> None:
        found.append(one)
        if len(found) == count:
            enough.set()

    pulse.start(heart, "shop", lambda: STANDING, hears, SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await enough.wait()
    await pulse.stop()
    return found[:count]


@pytest.mark.parametrize("make", [LoopPulse, ThreadPulse])
@pytest.mark.parametrize("trouble", [StoreUnavailable("no answer"), RuntimeError("a defect"), OSError("no route")])
def test_a_beat_that_fails_is_heard_and_the_next_one_comes(make: type[Pulse], trouble: Exception) -> None:
    failed, well = asyncio.run(heard(make(), Heart(trouble), 2))
    assert isinstance(failed.beat, StoreUnavailable)
    assert well == Heard(STANDING.leases, Beat(list(STANDING.leases), [STANDING.member]), well.sent)
    assert failed.sent < well.sent


def test_beats_come_from_a_thread_of_their_own_which_lets_go_of_its_connection() -> None:
    heart = Heart()
    asyncio.run(heard(ThreadPulse(), heart, 1))
    assert heart.threads.isdisjoint({threading.get_ident()})
    assert heart.closed.is_set()


def test_beats_go_on_while_the_engines_loop_is_busy() -> None:
    beats = threading.Semaphore(0)

    class Counting(Heart):
        async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
            beats.release()
            return await super().beat(app, member, leases)

    async def scenario() -> None:
        pulse = ThreadPulse()
        pulse.start(Counting(), "shop", lambda: STANDING, lambda _: None, SECONDS)
        for _ in range(5):  # blocks the loop, as a long computation does
            assert beats.acquire(timeout=PATIENCE_SECONDS)
        await pulse.stop()

    asyncio.run(scenario())


def test_a_pulse_ends_with_the_loop_that_listens() -> None:
    heart = Heart()

    async def left_running() -> None:
        ThreadPulse().start(heart, "shop", lambda: STANDING, lambda _: None, SECONDS)

    asyncio.run(left_running())
    assert heart.closed.wait(PATIENCE_SECONDS)


def test_leases_are_certain_for_as_long_as_they_last_after_an_answered_beat_was_sent() -> None:
    assert is_certain(answered=100.0, now=110.0, lease_seconds=10.0)
    assert not is_certain(answered=100.0, now=110.1, lease_seconds=10.0)
