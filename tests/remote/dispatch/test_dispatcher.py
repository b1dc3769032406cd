"""Which worker gets which work, and where work goes that nobody answers. No loop, no clock, no port."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from perdure.remote.dispatch.dispatcher import (
    ACTIVITY_LEASE_SECONDS,
    PING_SECONDS,
    RETURN_SECONDS_MAX,
    TURN_LEASE_SECONDS,
    Dispatcher,
)
from perdure.remote.dispatch.stream import IN_FLIGHT_MAX, UNSENT_BYTES_MAX, WorkerStream
from perdure.remote.dispatch.work import Kind, Need, Work
from perdure.remote.native.codec import NATIVE
from perdure.remote.requests import Capability, Filters, OpenStream
from perdure.remote.wire.codec import DAPR, MICROSOFT


class Piece(Work):
    """Work that notes who gets it."""

    def __init__(self, name: str = "main", kind: Kind = Kind.TURN, app: str = "shop", home: object = None) -> None:
        super().__init__(Need(app, kind, name), f"instance of {name}", 7, home)
        self.given: list[str] = []
        self.failed = False
        self.looks = 0
        self.broken = False
        self.size = 1

    def item(self, peer: Any) -> bytes | None:
        if self.broken:
            raise ValueError("a defect")
        self.given.append(peer.worker)
        return b"x" * self.size

    def fail(self) -> None:
        self.failed = True

    def still_waits(self) -> None:
        self.looks += 1


class World:
    """A dispatcher in a time that the test moves."""

    def __init__(self, *, quarantines: bool = False) -> None:
        self.now = 0.0
        self.readiness: list[tuple[str, bool]] = []
        numbers = itertools.count(1)
        self.dispatcher = Dispatcher(
            lambda: self.now,
            lambda: f"token{next(numbers)}",
            lambda app, is_ready: self.readiness.append((app, is_ready)),
            quarantines=quarantines,
        )

    def worker(self, name: str, app: str = "shop", codec: Any = DAPR, **opened: Any) -> WorkerStream:
        stream = WorkerStream(app, codec, OpenStream(worker=name, **opened))
        self.dispatcher.connect(stream)
        return stream

    def submit(self, *pieces: Piece) -> None:
        for piece in pieces:
            self.dispatcher.submit(piece)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.dispatcher.tick()


@pytest.fixture
def world() -> World:
    return World()


def test_work_waits_for_a_worker_and_goes_to_it_at_once(world: World) -> None:
    piece = Piece()
    world.submit(piece)
    assert (piece.given, world.dispatcher.backlog) == ([], 1)
    world.worker("w1")
    assert (piece.given, world.dispatcher.backlog) == (["w1"], 0)


def test_work_goes_to_the_app_that_it_is_for(world: World) -> None:
    world.worker("w1", app="lab")
    piece = Piece()
    world.submit(piece)
    assert piece.given == []


def test_the_worker_with_the_least_in_hand_gets_the_next(world: World) -> None:
    world.worker("w1")
    world.worker("w2")
    pieces = [Piece() for _ in range(4)]
    world.submit(*pieces)
    assert sorted(name for piece in pieces for name in piece.given) == ["w1", "w1", "w2", "w2"]


def test_a_run_goes_back_to_the_worker_that_had_it_while_that_has_room(world: World) -> None:
    home = object()
    world.worker("w1", turns_max=1)
    first = Piece(home=home)
    world.submit(first)
    world.worker("w2")
    world.dispatcher.answered(first.token)
    again, third = Piece(home=home), Piece(home=home)
    world.submit(again, third)
    assert (again.given, third.given) == (["w1"], ["w2"])


def test_a_worker_has_no_more_than_it_asked_for(world: World) -> None:
    stream = world.worker("w1", turns_max=2, activities_max=1)
    turns, calls = [Piece() for _ in range(3)], [Piece(kind=Kind.ACTIVITY) for _ in range(2)]
    world.submit(*turns, *calls)
    assert stream.load == 3
    assert (turns[2].given, calls[1].given) == ([], [])
    world.dispatcher.answered(turns[0].token)
    assert turns[2].given == ["w1"]


@pytest.mark.parametrize("asked", [0, 10_000])
def test_a_worker_has_no_more_than_the_smallest_sdk_can_keep(world: World, asked: int) -> None:
    stream = world.worker("w1", turns_max=asked)
    world.submit(*(Piece() for _ in range(IN_FLIGHT_MAX + 5)))
    assert (stream.load, world.dispatcher.backlog) == (IN_FLIGHT_MAX, 5)


def test_a_slow_reader_gets_no_more_until_it_has_read(world: World) -> None:
    world.worker("w1")
    large, small = Piece(), Piece()
    large.size = UNSENT_BYTES_MAX
    world.submit(large, small)
    assert (large.given, small.given) == (["w1"], [])
    world.worker("w2")
    assert small.given == ["w2"]


def test_what_a_worker_had_goes_to_another_in_front_when_it_leaves(world: World) -> None:
    first = world.worker("w1")
    lost = [Piece("a"), Piece("b")]
    world.submit(*lost)
    tokens = [piece.token for piece in lost]
    world.dispatcher.disconnect(first)
    world.submit(Piece("a"))
    world.worker("w2", turns_max=2)
    assert [piece.given for piece in lost] == [["w1", "w2"], ["w1", "w2"]]
    assert not set(tokens) & {piece.token for piece in lost}, "a token that was used before proves nothing"
    assert [world.dispatcher.answered(token) for token in tokens] == [None, None]


def test_a_step_goes_to_workers_of_ours_that_have_its_workflow(world: World) -> None:
    world.worker("public")
    filters = Filters(workflows={"other": frozenset()}, activities={"a": frozenset()})
    world.worker("other", codec=NATIVE, filters=filters)
    step = Piece()
    step.need = Need("shop", Kind.ACTIVITY, "a", workflow="main")
    world.submit(step)
    assert step.given == []
    assert "has the workflow main" in world.dispatcher.standing(step.need, step.instance, step.number).sentence
    world.worker("ours", codec=NATIVE, filters=Filters(workflows={"main": frozenset()}))
    assert step.given == ["ours"]
    assert world.dispatcher.activities("shop") == {"a"}


def test_filters_say_which_work_a_worker_takes(world: World) -> None:
    filters = Filters(workflows={"main": frozenset()}, activities={"charge": frozenset(("2",))})
    world.worker("w1", filters=filters)
    taken = Piece("main")
    other, call, entity = Piece("other"), Piece("charge", Kind.ACTIVITY), Piece("main", Kind.ENTITY)
    wanted = Piece("charge", Kind.ACTIVITY)
    wanted.need = wanted.need._replace(version="2")
    world.submit(taken, other, call, wanted, entity)
    assert [piece.given for piece in (taken, other, call, wanted, entity)] == [["w1"], [], [], ["w1"], []]
    versioned = Piece("charge", Kind.ACTIVITY)
    versioned.need = Need("shop", Kind.ACTIVITY, "charge", "1")
    world.submit(versioned)
    assert versioned.given == []


def test_the_activities_of_an_app_are_those_that_its_workers_name_or_that_were_called(world: World) -> None:
    dispatcher = world.dispatcher
    world.submit(Piece("refund", Kind.ACTIVITY), Piece("main"))
    assert dispatcher.activities("shop") == set()
    versions = {"charge": frozenset[str](), "old": frozenset(("2",)), "both": frozenset(("", "2"))}
    world.worker("w1", filters=Filters(activities=versions))
    assert dispatcher.activities("shop") == {"charge", "both"}
    silent = world.worker("w2")
    assert dispatcher.activities("shop") == {"charge", "both", "refund"}
    assert dispatcher.activities("bank") == set()
    dispatcher.disconnect(silent)
    assert dispatcher.activities("shop") == {"charge", "both"}


def test_the_room_for_activities_is_what_workers_could_take_less_what_waits(world: World) -> None:
    assert world.dispatcher.room("shop") == 0
    calls = [Piece("charge", Kind.ACTIVITY) for _ in range(5)]
    world.submit(*calls, Piece("main"))
    assert world.dispatcher.room("shop") == -5
    first = world.worker("w1", activities_max=3)
    assert world.dispatcher.room("shop") == -2
    world.worker("w2", activities_max=9)
    assert world.dispatcher.room("shop") == 7
    first.take_leave()
    world.dispatcher.answered(calls[0].token)
    assert world.dispatcher.room("shop") == 7


def test_each_name_gets_its_turn_when_there_is_room_again(world: World) -> None:
    many, one = [Piece("many") for _ in range(5)], Piece("one")
    world.submit(*many, one)
    world.worker("w1", turns_max=2)
    assert one.given == ["w1"]


def test_a_lease_that_ran_out_hands_the_work_to_another(world: World) -> None:
    world.worker("w1")
    turn, call = Piece(), Piece(kind=Kind.ACTIVITY)
    world.submit(turn, call)
    old = turn.token
    world.pass_time(TURN_LEASE_SECONDS - 1)
    assert turn.given == ["w1"]
    world.pass_time(1)
    assert (len(turn.given), len(call.given)) == (2, 1)
    assert world.dispatcher.answered(old) is None
    assert world.dispatcher.answered(turn.token) is turn
    world.pass_time(ACTIVITY_LEASE_SECONDS)
    assert len(call.given) == 2


def test_a_worker_that_let_a_lease_run_out_gets_nothing_while_another_is_there(world: World) -> None:
    home = object()
    world.worker("frozen")
    first, second = Piece(home=home), Piece(home=home)
    world.submit(first)
    world.worker("sound")
    world.pass_time(TURN_LEASE_SECONDS)
    world.submit(second)
    more = [Piece() for _ in range(IN_FLIGHT_MAX)]
    world.submit(*more)
    assert (first.given, second.given) == (["frozen", "sound"], ["sound"])
    assert {name for piece in more for name in piece.given} == {"sound"}
    assert world.dispatcher.backlog == 2, "what the sound one has no room for is not for the frozen one"


def test_a_worker_that_answers_again_is_as_good_as_any(world: World) -> None:
    world.worker("slow")
    early, late = Piece(), Piece()
    world.submit(early)
    world.pass_time(TURN_LEASE_SECONDS / 2)
    world.submit(late)
    world.worker("other", turns_max=1)
    world.pass_time(TURN_LEASE_SECONDS / 2)
    assert early.given == ["slow", "other"]
    world.dispatcher.answered(late.token)
    third = Piece()
    world.submit(third)
    assert third.given == ["slow"]


def test_a_worker_that_let_a_lease_run_out_gets_what_nobody_else_can_do(world: World) -> None:
    world.worker("only")
    piece = Piece()
    world.submit(piece)
    world.pass_time(TURN_LEASE_SECONDS)
    assert piece.given == ["only", "only"]


def test_a_sign_of_life_holds_the_lease(world: World) -> None:
    world.worker("w1")
    turn = Piece()
    world.submit(turn)
    world.now = TURN_LEASE_SECONDS - 1
    assert world.dispatcher.touch(turn.token)
    world.pass_time(TURN_LEASE_SECONDS - 1)
    assert turn.given == ["w1"]
    world.pass_time(1)
    assert len(turn.given) == 2
    assert not world.dispatcher.touch("no such token")


def test_work_that_is_withdrawn_is_neither_given_nor_answered(world: World) -> None:
    waiting = Piece()
    world.submit(waiting)
    world.dispatcher.withdraw(waiting)
    stream = world.worker("w1", turns_max=1)
    assert (waiting.given, world.dispatcher.backlog) == ([], 0)
    out, next = Piece(), Piece()
    world.submit(out, next)
    token = out.token
    world.dispatcher.withdraw(out)
    assert world.dispatcher.answered(token) is None
    assert next.given == ["w1"]
    assert stream.load == 1


def give_back(world: World, piece: Piece) -> None:
    assert world.dispatcher.abandon(piece.token) is piece
    world.dispatcher.submit_later(piece)


def test_work_that_a_worker_gives_back_rests_each_time_for_longer(world: World) -> None:
    world.worker("w1")
    piece, other = Piece(), Piece()
    world.submit(piece, other)
    give_back(world, piece)
    world.dispatcher.answered(other.token)
    assert (piece.given, world.dispatcher.backlog) == (["w1"], 1), "at once it would come and go without end"
    world.pass_time(1)
    assert (piece.given, world.dispatcher.backlog) == (["w1", "w1"], 0)
    give_back(world, piece)
    world.pass_time(1)
    assert len(piece.given) == 2
    world.pass_time(1)
    assert len(piece.given) == 3
    for _ in range(10):
        give_back(world, piece)
        world.pass_time(RETURN_SECONDS_MAX)
    assert len(piece.given) == 13


def test_work_that_rests_goes_to_a_worker_that_comes_at_once_and_may_be_withdrawn(world: World) -> None:
    world.worker("w1")
    piece, gone = Piece(), Piece()
    world.submit(piece, gone)
    give_back(world, piece)
    give_back(world, gone)
    world.dispatcher.withdraw(gone)
    world.worker("w2")
    assert (piece.given, gone.given, world.dispatcher.backlog) == (["w1", "w2"], ["w1"], 0)


def test_an_answer_without_token_is_for_the_oldest_that_is_out(world: World) -> None:
    world.worker("w1")
    first, second = Piece(kind=Kind.ACTIVITY), Piece(kind=Kind.ACTIVITY)
    world.submit(first, second)
    found = world.dispatcher.without_token("shop", Kind.ACTIVITY, first.instance, 7)
    assert found == first.token
    world.dispatcher.answered(first.token)
    assert world.dispatcher.without_token("shop", Kind.ACTIVITY, first.instance, 7) == second.token
    assert world.dispatcher.without_token("shop", Kind.ACTIVITY, first.instance, 8) is None
    assert world.dispatcher.without_token("shop", Kind.TURN, first.instance) is None
    assert world.dispatcher.without_token("lab", Kind.ACTIVITY, first.instance, 7) is None


def test_what_cannot_be_handed_out_harms_nothing_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Piece("broken"), Piece("sound")
    broken.broken = True
    world.submit(broken, sound)
    world.worker("w1")
    assert (broken.failed, sound.given) == (True, ["w1"])
    assert "cannot be handed out" in caplog.text


def test_turns_make_sense_while_a_worker_is_there_and_the_backlog_is_short(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.remote.dispatch.dispatcher.BACKLOG_MAX", 4)
    stream = world.worker("w1", turns_max=1)
    assert world.readiness == [("shop", True)]
    pieces = [Piece() for _ in range(5)]
    world.submit(*pieces)
    assert world.readiness[-1] == ("shop", False)
    for piece in pieces[:3]:
        world.dispatcher.answered(piece.token)
    assert world.readiness[-1] == ("shop", True)
    world.dispatcher.disconnect(stream)
    assert world.readiness[-1] == ("shop", False)


def test_nothing_is_handed_out_while_the_server_drains(world: World) -> None:
    world.worker("w1")
    out, late = Piece(), Piece()
    world.submit(out)
    world.dispatcher.pause()
    world.submit(late)
    assert world.dispatcher.is_out
    assert world.dispatcher.answered(out.token) is out
    assert (late.given, world.dispatcher.is_out) == ([], False)


@pytest.mark.parametrize(
    "codec, capabilities, is_pinged",
    [
        (MICROSOFT, frozenset(), True),
        (DAPR, frozenset(), False),
        (DAPR, frozenset((Capability.HEALTH_PING,)), True),
    ],
)
def test_a_silent_stream_is_pinged_if_its_worker_knows_pings(
    world: World, codec: Any, capabilities: frozenset[Capability], is_pinged: bool
) -> None:
    stream = world.worker("w1", codec=codec, capabilities=capabilities)
    world.pass_time(PING_SECONDS - 1)
    assert not stream._unsent
    world.pass_time(1)
    assert list(stream._unsent) == ([codec.ping()] if is_pinged else [])


def test_what_waits_is_told_each_second_that_it_still_does(world: World) -> None:
    piece = Piece()
    world.submit(piece)
    world.pass_time(1.0)
    world.pass_time(1.0)
    world.worker("w1")
    world.pass_time(1.0)
    assert piece.looks == 2


def test_it_is_said_where_a_piece_of_work_is(world: World) -> None:
    def cause() -> str:
        return world.dispatcher.standing(piece.need, piece.instance, piece.number).cause

    piece = Piece()
    assert cause() == "no-worker"
    world.worker("w1")
    world.submit(piece)
    assert cause() == "with-worker"
    world.dispatcher.abandon(piece.token)
    world.dispatcher.submit_later(piece)
    assert cause() == "given-back"
    world.dispatcher.pause()
    assert cause() == "stopping"
