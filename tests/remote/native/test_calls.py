"""The calls of Perdure's own services: arguments, answers and errors come back as they were."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from perdure import errors
from perdure.clock import EPOCH
from perdure.codec import encode
from perdure.errors import InstanceNotFound, MalformedMessage, PerdureError
from perdure.history.alike import FailureQuery
from perdure.history.audit_log import Anchor, LogPage
from perdure.history.events import EventRaised, Failure, MessagePublished, RunStarted, UpdateAnswered, UpdateRequested
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import CauseGroup, Explanation, InstanceState, Survey
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import GroupState, TopicState
from perdure.history.waiting import WaitState
from perdure.history.work import StartOptions
from perdure.remote.native import calls
from perdure.sdk.gateway import Gateway
from perdure.stores.contract import Halt, Item, Query, Stream

PAYLOAD = encode({"a": [1, None]})
STATE = InstanceState(
    id="i",
    app="shop",
    name="n",
    status="running",
    execution="x",
    generation=1,
    created=1,
    updated=2,
    input=PAYLOAD,
    tags={"a": "b"},
    suspended=Halt(reason="r", since=3),
)
ASKED: dict[str, tuple[Any, ...]] = {
    "start": ("checkout", PAYLOAD, StartOptions(id="i", tags={"a": "b"}, dedup_key="k")),
    "command": ("i", "x", EventRaised(at=1, name="go", data=PAYLOAD), "key"),
    "update": ("i", None, UpdateRequested(at=1, key="k", name="add", data=PAYLOAD), True),
    "call_actor": ("@a@k", "add", "r", PAYLOAD, ["@b@k"], True),
    "signal_actor": ("@a@k", "add", "r", PAYLOAD, 7),
    "publish": ([MessagePublished(at=1, topic="t", id="m", data=PAYLOAD, key="k")],),
    "join": ("t", "g", SubscribeOptions(attempts_max=3)),
    "leave": ("t", "g"),
    "topics": (),
    "published": ("i", None, "state"),
    "streams": ("i", None),
    "items": ("i", None, Selection("words", 1, 2), 7, 100, True),
    "outcome": ("i", "x", 1.5),
    "state": ("i", None),
    "events": ("i", 3, 100),
    "find": (Query(name="n", status=("running",), tags={"a": "b"}), "cursor", 10),
    "purge": ("i", None, True),
    "rerun": ("i", 2, "j", PAYLOAD, True),
    "revise": ("i", 3, "j", PAYLOAD),
    "explain": ("i",),
    "explain_all": (Query(name="n", stalled=True), None, 100),
    "explain_topics": ("t",),
    "failures": (FailureQuery(name="n"),),
    "queues": (),
    "nodes": (),
    "counts": (),
    "waits": ("i",),
    "audited": (3, 10),
    "notices": ("1.5", 10),
    "feed": (),
    "tell_again": (),
    "holder": (),
    "unreferenced": ({"a", "b"},),
    "sweep": (2,),
}
EXPLANATION = Explanation(
    instance="i",
    cause="c",
    sentence="s",
    since=EPOCH,
    command="perdure x",
    line="shop.py:7",
    next="nothing",
    chain=("a", "b"),
    is_normal=True,
)
GIVEN: dict[str, Any] = {
    "start": ("i", "x"),
    "command": None,
    "update": UpdateAnswered(at=1, key="k", result=PAYLOAD),
    "call_actor": UpdateAnswered(at=1, key="r", result=PAYLOAD),
    "signal_actor": None,
    "publish": None,
    "join": None,
    "leave": None,
    "topics": [TopicState(name="t", published=3, groups=[GroupState(name="g", left=1, oldest=EPOCH)])],
    "published": PAYLOAD,
    "streams": [Stream(1, 2, "words", 5, True)],
    "items": StreamPage("x", 1, 2, [Item(1, PAYLOAD, 1, 5)], False),
    "outcome": STATE,
    "state": STATE,
    "events": ([RunStarted(at=1, name="n", input=PAYLOAD)], None),
    "find": ([STATE], "cursor"),
    "purge": 3,
    "rerun": ("j", "y"),
    "revise": ("j", "y"),
    "explain": EXPLANATION,
    "explain_all": Survey(
        groups=[CauseGroup(cause="c", count=2, example=EXPLANATION, oldest=EPOCH, is_normal=True)],
        looked=2,
        cursor="cursor",
    ),
    "explain_topics": [EXPLANATION],
    "failures": [],
    "queues": [QueueState(name="q", waiting=1, running=2, oldest=EPOCH)],
    "nodes": [NodeState(owner="a", app="shop", has_code=True, shards=[1], slots=2, busy=1, workflows=["w"])],
    "counts": {"running": 7},
    "waits": [WaitState(kind="timer", name="sleep", number=1, since=EPOCH, state="held", failure=Failure("E", "m"))],
    "audited": LogPage([(1, "{}")], Anchor(1, "ab")),
    "notices": NoticePage([("1.6", "{}")], "1.6"),
    "feed": FeedState(pending=1, is_more=False, given_up=[("{}", "away")]),
    "tell_again": 2,
    "holder": None,
    "unreferenced": {"a"},
    "sweep": 0,
}


def test_every_method_of_the_port_is_a_call() -> None:
    methods = {name for name, method in vars(Gateway).items() if inspect.iscoroutinefunction(method)}
    assert set(calls.CALLS) == methods == set(ASKED) == set(GIVEN)


@pytest.mark.parametrize("name", ASKED)
def test_arguments_and_answers_come_back(name: str) -> None:
    call = calls.CALLS[name]
    assert calls.read_request(call, calls.write_request(call, *ASKED[name])) == call.arguments(*ASKED[name])
    assert calls.read_answer(call, calls.write_answer(GIVEN[name])) == GIVEN[name]


def kinds() -> list[type[PerdureError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PerdureError)]
    return [kind for kind in found if kind.__name__ not in ("RemoteError", "CompensationFailed")]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_the_class_that_it_was(kind: type[PerdureError]) -> None:
    problem = calls.problem_of(kind("give another one"))
    assert problem is not None
    with pytest.raises(kind) as caught:
        calls.read_answer(calls.CALLS["state"], calls.write_problem(problem))
    assert type(caught.value) is kind
    assert str(caught.value) == str(kind("give another one"))


def test_an_error_keeps_the_id_that_it_is_about() -> None:
    problem = calls.problem_of(InstanceNotFound("no instance 'i'", "i"))
    assert problem is not None
    error = calls.error_of(problem)
    assert isinstance(error, InstanceNotFound)
    assert error.instance_id == "i"


def test_an_error_that_this_version_does_not_know_is_told_all_the_same() -> None:
    error = calls.error_of(calls.Problem("PERDURE-9999", "MoonTooFar", "wait for it"))
    assert type(error) is PerdureError
    assert "MoonTooFar" in str(error)
    disguised = calls.error_of(calls.Problem("PERDURE-1201", "log", "x"))
    assert type(disguised) is PerdureError


def test_a_defect_is_no_answer_and_a_timeout_is_one() -> None:
    assert calls.problem_of(ValueError("a secret")) is None
    problem = calls.problem_of(TimeoutError("late"))
    assert problem is not None
    assert isinstance(calls.error_of(problem), TimeoutError)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"id": 7}', b"\xff", b"[" * 100_000])
def test_what_is_no_request_is_malformed(data: bytes) -> None:
    for call in calls.CALLS.values():
        if data != b"[]" and not (data == b'{"id": 7}' and not ASKED[call.path.rsplit("/", 1)[1]]):
            with pytest.raises(MalformedMessage):
                calls.read_request(call, data)
