"""Which answers make up a turn's: the whole of it, in whatever order its parts come."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest

from perdure.history.actions import ScheduleActivity
from perdure.history.events import RunCompleted, RunStarted
from perdure.history.work import Identity
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.run import RemoteRun
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.dispatch.turn import TurnWork
from perdure.remote.requests import OpenStream, TurnResult
from perdure.remote.wire.codec import MICROSOFT

NAMES = ("one", "two")


class Bench:
    """A turn that is with a worker; `done` is what the engine hears of it."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.dispatcher = Dispatcher(lambda: 0.0, lambda: "token1", lambda app, is_ready: None)
        self.stream = WorkerStream("shop", MICROSOFT, OpenStream())
        self.dispatcher.connect(self.stream)
        self.run = RemoteRun(Identity("shop", "i-1", "e" * 32, 1, "checkout", 0, None), self.dispatcher)
        self.run.advance(1, [RunStarted(at=1, name="checkout")], self.done.append)

    def hear(self, number: int | None, *names: str, is_partial: bool) -> None:
        actions = [ScheduleActivity(number=NAMES.index(name) + 1, name=name) for name in names]
        result = TurnResult(instance="i-1", token="token1", actions=actions, is_partial=is_partial, chunk=number)
        (work,) = self.stream.in_flight.values()
        assert isinstance(work, TurnWork)
        work.take(result, self.dispatcher, self.stream.grant)

    @property
    def asked(self) -> list[str]:
        (actions,) = self.done
        return [action.name for action in actions]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_an_answer_counts_when_each_part_is_there_in_whatever_order(order: tuple[int, ...]) -> None:
    bench = Bench()
    for place in order:
        assert bench.done == []  # because what is taken without a part has lost what that asked for
        bench.hear(place, *NAMES[place : place + 1], is_partial=place < 2)
    assert bench.asked == ["one", "two"]


def test_a_part_that_is_told_twice_stands_for_no_other() -> None:
    bench = Bench()
    bench.hear(1, is_partial=False)
    bench.hear(1, is_partial=False)
    assert bench.done == []
    bench.hear(0, "one", is_partial=True)
    assert bench.asked == ["one"]


def test_parts_without_numbers_end_with_the_last_one() -> None:
    bench = Bench()
    bench.hear(None, "one", is_partial=True)
    bench.hear(None, "two", is_partial=False)
    assert bench.asked == ["one", "two"]


@pytest.mark.parametrize("status, told", [("completed", 1), (None, 0)])
def test_an_end_is_told_when_it_is_asked_for_in_the_words_that_scripts_wait_for(
    status: str | None, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "perdure")
    bench = Bench()
    if status is not None:
        bench.run.settled([RunCompleted(at=2, status=status)], b"")
    bench.run.close()
    words = "workflow completed with status 'ORCHESTRATION_STATUS_COMPLETED' workflowName 'checkout'"
    assert [record.message for record in caplog.records] == [words] * told
