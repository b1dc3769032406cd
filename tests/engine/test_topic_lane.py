"""Suspects among messages run one at a time, and keep others waiting for a bounded time."""

from __future__ import annotations

import asyncio

from perdure.engine.handlers import Handlers
from perdure.engine.topic_lane import Lane


class Asker:
    def __init__(self) -> None:
        self.asked_again = asyncio.Event()

    def again(self) -> None:
        self.asked_again.set()


def test_a_suspect_has_the_lane_until_it_leaves(run):
    async def scenario():
        lane, other = Lane(), Asker()
        assert lane.enter(True, Asker().again)
        assert not lane.enter(True, other.again)
        assert not lane.enter(False, other.again)
        lane.leave()
        await other.asked_again.wait()
        assert lane.enter(False, other.again)
        assert lane.enter(True, other.again)

    run(scenario)


def test_others_wait_for_their_share_of_the_time_and_suspects_for_all_of_it(run):
    async def scenario():
        lane, other = Lane(seconds=0.01), Asker()
        assert lane.enter(True, Asker().again)
        assert not lane.enter(False, other.again)
        await other.asked_again.wait()
        assert lane.enter(False, other.again)
        assert not lane.enter(True, other.again)

    run(scenario)


def test_all_suspects_together_keep_others_waiting_for_a_bounded_time(run):
    async def scenario():
        lane = Lane(seconds=0.01, total_seconds=0.015)
        for _ in range(2):
            other = Asker()
            assert lane.enter(True, Asker().again)
            assert not lane.enter(False, other.again)
            await other.asked_again.wait()
            lane.leave()
        assert lane.enter(True, Asker().again)
        assert lane.enter(False, Asker().again)

    run(scenario)


def test_a_handler_that_has_just_begun_is_cancelled_where_it_can_let_go(run):
    async def scenario():
        handlers, left = Handlers(), []

        async def handle() -> None:
            try:
                await asyncio.sleep(600)
            finally:
                left.append(1)

        handlers.run(handle())
        await handlers.drain(0)
        assert left == [1]

    run(scenario)
