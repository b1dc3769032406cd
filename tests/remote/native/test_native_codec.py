"""The codec of Perdure's own workers: everything comes back as it was, and nothing else is taken for it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from perdure.codec import Payload, encode
from perdure.errors import InvalidArgument, MalformedMessage
from perdure.history import actions as ours
from perdure.history.events import EventRaised, Failure, RunStarted, TurnStarted, UpdateRequested
from perdure.history.options import CallOptions, Label, Limits, Place, RetryPolicy, Trace
from perdure.history.replay import Difference
from perdure.history.work import Attempt, Identity, Stall
from perdure.remote.native.codec import NATIVE, AttemptItem, Cancel, Ping, Turn
from perdure.remote.native.envelope import ATTEMPT_ANSWER, TURN_ANSWER, read_batch, write_batch
from perdure.remote.requests import ActivityItem, ActivityResult, EntityItem, TurnItem, TurnResult
from perdure.remote.wire.addresses import read_activity_address, read_turn_address

IDENTITY = Identity("shop", "order-1", "0" * 32, 2, "checkout", 1_700_000_000_000_000, "parent", {"a": "b"}, "7")
PACKED = Payload("json+aes", "k1", msgspec.Raw(b'"c2VjcmV0"'))
FAILURE = Failure("ValueError", "no", "stack", Failure("KeyError", "x"), True, {"code": 7}, PACKED)
OPTIONS = CallOptions(
    RetryPolicy(5, 0.5, 3.0, 60.0, 0.1, 600.0, ("KeyError",)),
    30.0,
    5.0,
    Place("mails", Limits(3, 1, 100, 1_000_000), "acme", 9),
    Label("1", {"x": "y"}, "key", Trace("p", "s", "t")),
    "other",
)


_FILLING: dict[Any, Any] = {int: 3, bytes: b"bytes"}


def samples() -> list[ours.Action]:
    """An action of every kind, each of its fields set where that is plain."""
    special: dict[type, dict[str, Any]] = {
        ours.CompleteRun: {"status": "failed", "events": [EventRaised(name="e", data=PACKED)]},
        ours.ContinueRun: {"input": PACKED, "events": [UpdateRequested(key="k", name="add", data=encode(1))]},
        ours.ScheduleActivity: {"name": "charge", "input": PACKED, "options": OPTIONS},
        ours.RewindRun: {"history": msgspec.Raw(b"[]")},
        ours.RecordTrace: {"trace": b"\x0a\x00"},
        ours.SetStatus: {"status": PACKED},
        ours.PublishState: {"name": "state", "state": PACKED},
        ours.AnswerUpdate: {"key": "k", "failure": FAILURE, "refused": True},
    }
    found = []
    for kind in ours.AnyAction.__args__:
        given = special.get(kind, {})
        needed = {f.name: f for f in msgspec.structs.fields(kind) if f.required and f.name not in given}
        filled = {name: _FILLING.get(field.type, name) for name, field in needed.items()}
        found.append(kind(**filled, **given, number=7, line="shop.py:12 in checkout"))
    return found


@pytest.mark.parametrize("action", samples(), ids=lambda action: type(action).__name__)
def test_an_answer_to_a_turn_comes_back_with_every_kind_of_action(action: ours.Action) -> None:
    told = TurnResult(instance="order-1", token="t-1", actions=[action])
    data = NATIVE.write_turn_result(told)
    assert NATIVE.read_turn_result(data) == told
    assert read_turn_address(data) == ("order-1", 0, "t-1")


def test_a_stall_and_the_wish_for_history_come_back() -> None:
    stall = Stall("non-determinism", "text", "f", "line", Difference(3, "held", "asked", "line", "step"))
    for told in (
        TurnResult(instance="i", token="t", actions=[], stall=stall),
        TurnResult(instance="i", token="t", actions=[], must_have_history=True),
    ):
        assert NATIVE.read_turn_result(NATIVE.write_turn_result(told)) == told


@pytest.mark.parametrize(
    "more",
    [
        {"result": PACKED, "guarantee": "keyed"},
        {"result": None},
        {"failure": FAILURE, "timed_out": True},
        {"stall": Stall("key-missing", "text")},
    ],
)
def test_an_answer_to_an_attempt_comes_back(more: dict[str, Any]) -> None:
    told = ActivityResult(instance="order-1", number=12, token="t-1", **more)
    data = NATIVE.write_activity_result(told)
    assert NATIVE.read_activity_result(data) == told
    assert read_activity_address(data) == ("order-1", 12, "t-1")


def test_a_turn_comes_with_its_events_and_its_run() -> None:
    past = [TurnStarted(at=1), RunStarted(at=1, name="checkout", input=PACKED)]
    new = [TurnStarted(at=2), EventRaised(at=2, name="go", data=PACKED)]
    item = TurnItem(
        instance="order-1",
        execution="x",
        past=NATIVE.history_for_work(past, "order-1", "x"),
        new=NATIVE.history_for_work(new, "order-1", "x"),
        token="t-2",
        cached=4,
        after="t-1",
        identity=IDENTITY,
    )
    assert NATIVE.read_item(NATIVE.turn_item(item)) == Turn(IDENTITY, past, new, 4, "t-1", "t-2")


def test_an_attempt_comes_as_the_engine_knows_it() -> None:
    attempt = Attempt(
        "shop", "order-1", "charge", 3, "key", PACKED, 1.5, PACKED, "0" * 32, 2, 12, "other", OPTIONS.label
    )
    item = ActivityItem(instance="order-1", execution="x", number=12, name="charge", token="t-3", attempt=attempt)
    assert NATIVE.read_item(NATIVE.activity_item(item)) == AttemptItem(attempt, "t-3")


def test_words_without_work_come_back() -> None:
    cancel = NATIVE.cancel_item("t-4")
    assert cancel is not None
    assert NATIVE.read_item(cancel) == Cancel("t-4")
    assert NATIVE.read_item(NATIVE.ping()) == Ping()


def test_what_does_not_say_which_run_or_attempt_it_is_cannot_be_told() -> None:
    with pytest.raises(InvalidArgument, match="which run"):
        NATIVE.turn_item(TurnItem(instance="i", execution="x", past=[], new=[], token="t"))
    with pytest.raises(InvalidArgument, match="which one"):
        NATIVE.activity_item(ActivityItem(instance="i", execution="x", number=1, name="a", token="t"))
    with pytest.raises(InvalidArgument, match="what the engine knows"):
        NATIVE.entity_item(EntityItem(entity="@a@b", execution="x", token="t", operations=[]))


def test_a_batch_keeps_its_order() -> None:
    parts = [(TURN_ANSWER, b"a" * 300), (ATTEMPT_ANSWER, b""), (TURN_ANSWER, b"c")]
    assert read_batch(write_batch(parts)) == parts


READERS = (NATIVE.read_item, NATIVE.read_turn_result, NATIVE.read_activity_result, read_batch)


@pytest.mark.parametrize("seed", range(300))
def test_any_bytes_are_a_message_or_malformed(seed: int) -> None:
    chance = random.Random(seed)
    good = [
        NATIVE.write_turn_result(TurnResult(instance="i", token="t", actions=samples())),
        NATIVE.write_activity_result(ActivityResult(instance="i", number=1, token="t", failure=FAILURE)),
        NATIVE.ping(),
    ]
    data = bytearray(chance.choice(good) if chance.random() < 0.8 else chance.randbytes(chance.randint(0, 80)))
    for _ in range(chance.randint(1, 8)):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randint(0, len(data)) :]
    for read in READERS:
        try:
            read(bytes(data))
        except MalformedMessage:
            pass
