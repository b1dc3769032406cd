"""What goes to the workers of other servers, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perdure.engine.lender import Loan
from perdure.history.events import Failure
from perdure.history.lending import call_of
from perdure.history.options import decode_options
from perdure.history.work import Attempt
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.lent import Borrowing, read, takes_of
from perdure.remote.dispatch.relay import Relay
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.dispatch.work import Work
from perdure.remote.requests import Filters, OpenStream
from perdure.remote.wire.codec import DAPR, MICROSOFT, Codec


class Others:
    """The other servers: what their workers take, and what is lent to them."""

    def __init__(self) -> None:
        self.takes: list[str] = []
        self.loans: list[Loan] = []

    def taking(self, ways: Sequence[str]) -> str | None:
        return next((way for way in ways if way in self.takes), None)

    def lend(self, instance: str, loan: Loan) -> None:
        self.loans.append(loan)


class Scene:
    def __init__(self) -> None:
        self.others, self.ended, self.beats = Others(), list[tuple[str, Failure | None]](), 0
        self.dispatcher = Dispatcher(lambda: 0.0, iter("abcdefgh").__next__, lambda app, is_ready: None)
        relay = Relay("shop", MICROSOFT, self.others, lambda token, why: self.ended.append((token, why)))
        self.dispatcher.relays.append(relay)

    def worker(self, *activities: str, codec: Codec = MICROSOFT, everything: bool = False) -> WorkerStream:
        filters = None if everything else Filters(activities=dict.fromkeys(activities, frozenset()))
        return WorkerStream("shop", codec, OpenStream(filters=filters))

    def attempt(self, name: str = "charge", heartbeat: float | None = None) -> AttemptWork:
        def beat(_: Any) -> None:
            self.beats += 1

        asked = Attempt("shop", "a", name, 1, "key", None, None, None, "e", 1, 7, heartbeat=heartbeat)
        return AttemptWork("shop", asked, beat, _no_outlet)


def _no_outlet() -> Any:
    raise AssertionError("nothing is yielded")


def scene(test: Callable[[Scene], None]) -> Callable[[], None]:
    async def play() -> None:
        test(Scene())

    def run() -> None:
        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scene
def test_what_no_worker_here_takes_is_lent_under_its_token(scene: Scene) -> None:
    scene.others.takes = list(takes_of([scene.worker("charge")]))
    work = scene.attempt(heartbeat=5.0)
    scene.dispatcher.submit(work)
    (loan,) = scene.others.loans
    content = read(loan.input)
    assert loan.name == call_of(scene.others.takes[0])
    assert (content.token, content.instance, content.number) == (work.token, "a", 7)
    assert content.need == work.need._replace(flavour=MICROSOFT.flavour)
    assert decode_options(loan.options).heartbeat_timeout == 5.0
    assert scene.beats == 0, "its silence is heard where its worker is"
    scene.dispatcher.withdraw(work, tells=True)
    assert loan.is_over


@pytest.mark.parametrize("lacks", ["alone", "stays"])
def test_what_is_not_for_others_is_not_lent(lacks: str) -> None:
    @scene
    def play(scene: Scene) -> None:
        scene.others.takes = list(takes_of([scene.worker("charge")]))
        work = scene.attempt()
        work.need = work.need._replace(**{lacks: True})
        scene.dispatcher.submit(work)
        assert not scene.others.loans

    play()


@scene
def test_a_worker_here_has_it_first_also_if_it_has_no_room(scene: Scene) -> None:
    scene.others.takes = list(takes_of([scene.worker("charge")]))
    busy = WorkerStream("shop", MICROSOFT, OpenStream(activities_max=1))
    scene.dispatcher.connect(busy)
    scene.dispatcher.submit(scene.attempt())
    scene.dispatcher.submit(scene.attempt())
    assert (busy.load, scene.others.loans) == (1, [])
    scene.dispatcher.disconnect(busy)
    assert len(scene.others.loans) == 2


@scene
def test_what_the_others_do_not_take_any_more_comes_back(scene: Scene) -> None:
    scene.others.takes = list(takes_of([scene.worker(everything=True)]))
    work = scene.attempt()
    scene.dispatcher.submit(work)
    scene.others.takes = list(takes_of([scene.worker("other")]))
    scene.dispatcher.relays_changed()
    assert scene.others.loans[0].is_over
    assert work.is_queued
    scene.others.takes = list(takes_of([scene.worker("charge")]))
    scene.dispatcher.relays_changed()
    first, second = (read(loan.input).token for loan in scene.others.loans)
    assert first != second


@scene
def test_an_item_is_for_those_alone_who_speak_its_protocol(scene: Scene) -> None:
    scene.others.takes = list(takes_of([scene.worker("charge", codec=DAPR)]))
    scene.dispatcher.submit(scene.attempt())
    assert not scene.others.loans


@scene
def test_a_server_claims_what_others_lack(scene: Scene) -> None:
    scene.dispatcher.connect(scene.worker("charge", "ship"))
    charge, ship = takes_of(scene.dispatcher.streams)
    borrowing = Borrowing("shop", scene.dispatcher, {ship}.__contains__)
    assert borrowing.takes() == [charge, ship]
    assert borrowing.activities() == {call_of(ship)}


@scene
def test_work_that_waits_here_is_no_work_of_others(scene: Scene) -> None:
    """Nobody takes it, and `every` finds it in line."""
    work: Work = scene.attempt()
    scene.dispatcher.submit(work)
    assert list(scene.dispatcher.every()) == [work]
