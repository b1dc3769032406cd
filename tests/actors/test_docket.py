"""A docket: order, bounds, what is queued again, and what is left when it is stopped, abandoned or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.actors.docket import Docket
from perdure.stores.contract import Append, Lease, Outcome, Turn

LEASE = Lease(3, "shop", 0, "me", 1)


def a_turn(id: str) -> Turn:
    return Turn(shard=3, id=id, execution="e", generation=1, expected=1, at=5)


def an_append(id: str) -> Append:
    return Append(3, id, "e", 1, 1, 1, 0, 5, [])


class Desk:
    """A docket with what it has told."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.woken = 0
        self.heard: list[tuple[str, Outcome]] = []
        self.docket = Docket(LEASE, self.lost.append, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def _hears(self, id: str) -> Callable[[Outcome], None]:
        return lambda outcome: self.heard.append((id, outcome))

    def submit(self, *ids: str) -> None:
        for id in ids:
            self.docket.submit(a_turn(id), self._hears(id))

    def append(self, *ids: str) -> None:
        for id in ids:
            self.docket.append(an_append(id), self._hears(id))


def test_what_is_taken_is_what_came_first_up_to_the_bounds() -> None:
    desk = Desk()
    desk.submit("a", "b", "c")
    desk.append("x", "y")
    taken = desk.docket.take(2, 1)
    batch = taken.batch()
    assert ([turn.id for turn in batch.turns], [one.id for one in batch.appends]) == (["a", "b"], ["x"])
    assert (batch.lease, len(taken), desk.woken) == (LEASE, 3, 5)
    assert not desk.docket.is_empty
    taken.settle([Outcome.COMMITTED] * 3)
    rest = desk.docket.take(9, 9).batch()
    assert ([turn.id for turn in rest.turns], [one.id for one in rest.appends]) == (["c"], ["y"])
    assert desk.docket.is_empty
    assert not desk.docket.is_idle


def test_each_hears_its_own_outcome_in_order() -> None:
    desk = Desk()
    desk.submit("a", "b")
    desk.append("x")
    desk.docket.take(9, 9).settle([Outcome.COMMITTED, Outcome.CONFLICT, Outcome.COMMITTED])
    assert desk.heard == [("a", Outcome.COMMITTED), ("b", Outcome.CONFLICT), ("x", Outcome.COMMITTED)]
    assert desk.docket.is_idle


def test_parts_without_an_outcome_are_taken_again_before_those_that_came_since() -> None:
    desk = Desk()
    desk.submit("a", "b", "c")
    taken = desk.docket.take(9, 9)
    desk.submit("late")
    taken.settle([None, Outcome.COMMITTED, None])
    assert [turn.id for turn in desk.docket.take(9, 9).batch().turns] == ["a", "c", "late"]
    assert desk.heard == [("b", Outcome.COMMITTED)]


def test_a_docket_that_is_given_up_says_so_once_and_tells_nobody_anything() -> None:
    desk = Desk()
    desk.submit("a", "b")
    taken = desk.docket.take(1, 1)
    taken.give_up("fenced")
    taken.give_up("again")
    taken.settle([Outcome.COMMITTED])
    assert (desk.lost, desk.heard, desk.docket.is_open, desk.docket.is_idle) == (["fenced"], [], False, True)


def test_stopping_waits_for_what_is_queued_but_not_for_ever() -> None:
    async def play() -> None:
        desk = Desk()
        desk.submit("a")
        stopping = asyncio.create_task(desk.docket.stop(20))
        taken = desk.docket.take(9, 9)
        await asyncio.sleep(0)
        assert not stopping.done()
        taken.settle([Outcome.COMMITTED])
        await stopping
        assert desk.heard == [("a", Outcome.COMMITTED)]

        late = Desk()
        late.submit("a")
        await late.docket.stop(0.01)
        assert (late.heard, late.docket.is_empty, late.lost) == ([], True, [])

    asyncio.run(play())


def test_an_abandoned_docket_has_nothing_in_flight_any_more() -> None:
    async def play() -> None:
        desk = Desk()
        desk.submit("a", "b")
        taken = desk.docket.take(1, 1)
        abandoning = asyncio.create_task(desk.docket.abandon())
        await asyncio.sleep(0.01)
        assert not abandoning.done()
        taken.settle([Outcome.COMMITTED])
        await abandoning
        assert desk.docket.is_idle
        assert desk.heard == []

    asyncio.run(play())
