"""Every event of both flavours, byte for byte as the published SDKs have it, and with each field in its place."""

from __future__ import annotations

import msgspec
import pytest

from perdure.codec import JSON, TEXT, Payload
from perdure.errors import KeyMissing, MalformedMessage, NotDecodable
from perdure.history import events as ours
from perdure.history.events import Failure, Parent, Router, TimerOrigin
from perdure.remote.requests import Flavour
from perdure.remote.wire.events import events_of, unfolded
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.framing import unframed
from tests.history.test_events import ENVELOPE, EVENTS
from tests.remote.wire.goldens import CODECS, EMPTY, FLAVOURS, GOLDEN, SCHEMAS, arrived, cases, golden

CASES = cases("HistoryEvent")
TABLE = [(Flavour(flavour), *row) for flavour, *row in EVENTS]
ORIGINS = {
    "createTimer": TimerOrigin("timer"),
    "externalEvent": TimerOrigin("event", "externalEvent.name"),
    "activityRetry": TimerOrigin("activity-retry", "activityRetry.taskExecutionId"),
    "childWorkflowRetry": TimerOrigin("child-retry", "childWorkflowRetry.instanceId"),
}


def read(flavour: Flavour, data: bytes):
    return CODECS[flavour].read_event(data)


def write(flavour: Flavour, event) -> bytes:
    return events_of(SCHEMAS[flavour]).write(event)


@pytest.mark.parametrize("flavour, case, data", CASES)
def test_an_event_of_an_sdk_is_written_as_the_sdk_writes_it(flavour, case, data):
    assert write(flavour, read(flavour, data)) == data


@pytest.mark.parametrize("flavour, wire, kind, fields", TABLE)
def test_every_field_arrives_in_its_place(flavour, wire, kind, fields):
    found = {case: data for one, case, data in CASES if one is flavour and case.split(".")[0] == wire}
    assert found
    for case, data in found.items():
        event = read(flavour, data)
        assert type(event) is kind
        for field, place in fields.items():
            if place == "status":
                assert event.status == "completed"
            elif place.startswith("origin."):
                origin = case.split(".")[1]
                assert event.origin == ORIGINS[origin]
            elif place == "parent.number":
                assert event.parent.number > 0
            elif place == "reason" and kind is ours.RunStalled:
                assert event.reason == "version-not-available"
            elif place == "failure.cause":
                assert event.failure.cause.type == "failureDetails.innerFailure.errorType"
                assert event.failure.cause.cause.type == "failureDetails.innerFailure.innerFailure"
            elif place == "attestation":
                assert event.attestation == ours.Attestation(b"attestation.payload", b"attestation.signature")
            elif place == "patches":
                assert event.patches == ["version.patches.a", "version.patches.b"]
            elif place == "locks":
                assert event.locks == ["lockSet.a", "lockSet.b"]
            else:
                assert arrived(event, field, place), (field, place)


@pytest.mark.parametrize("flavour, case, data", CASES)
def test_the_envelope_arrives_in_its_places(flavour, case, data):
    event = read(flavour, data)
    assert event.at_nanos == 999
    assert event.at > 253_402_300_000_000_000
    assert (event.number if isinstance(event, ours.CONFIRMATIONS) else event.event_id) > 0
    if flavour is Flavour.DAPR:
        assert event.router == Router("router.sourceAppID", "router.targetAppID", "router.targetAppNamespace")
    assert ENVELOPE.count("=") == 5


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_event_of_which_nothing_is_set_can_be_read_and_written(flavour):
    count = 0
    for case, data in GOLDEN[flavour]["HistoryEvent"].items():
        if case.endswith(EMPTY):
            event = read(flavour, bytes.fromhex(data))
            assert read(flavour, write(flavour, event)) == event
            count += 1
    assert count == {Flavour.DAPR: 20, Flavour.MICROSOFT: 28}[flavour]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_absent_and_empty_texts_stay_apart(flavour):
    for data in (None, Payload(TEXT, None, msgspec.Raw(b'""')), Payload(JSON, None, msgspec.Raw(b'""'))):
        event = ours.EventRaised(name="n", data=data)
        assert read(flavour, write(flavour, event)).data == data
    for version in (None, "", "v"):
        started = ours.RunStarted(name="n", version=version)
        assert read(flavour, write(flavour, started)).version == version


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_event_without_a_number_has_the_id_minus_one(flavour):
    data = write(flavour, ours.EventRaised(name="n"))
    assert SCHEMAS[flavour].parse("HistoryEvent", data).eventId == -1
    assert read(flavour, data).event_id is None
    for number in (0, 7, -5, 2**31 - 1):
        timer = ours.TimerCreated(number=number, due=5)
        assert read(flavour, write(flavour, timer)) == timer


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_end_of_time_keeps_its_nanoseconds(flavour):
    timer = ours.TimerCreated(number=1, due=253_402_300_799_999_999, due_nanos=999, at=1, at_nanos=1)
    message = SCHEMAS[flavour].parse("HistoryEvent", write(flavour, timer))
    assert message.timerCreated.fireAt.ToJsonString() == "9999-12-31T23:59:59.999999999Z"
    assert read(flavour, write(flavour, timer)) == timer


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_start_carries_the_instance_and_the_execution_of_the_wire(flavour):
    parent = Parent(instance="p", execution="a" * 32, generation=3, number=4)
    event = ours.RunStarted(name="n", execution="engine's", parent=parent, at=5)
    codec = CODECS[flavour]
    again = codec.read_event(unframed(codec.event(event, "i", "e" * 32)))
    assert (again.instance, again.execution) == ("i", "e" * 32)
    assert again.parent == Parent("p", wire_execution("a" * 32, 3), 1, 4)


def test_the_execution_of_a_later_generation_is_another_one_and_always_the_same():
    found = {wire_execution("0" * 32, generation) for generation in range(1, 50)}
    assert len(found) == 49
    assert wire_execution("0" * 32, 1) == "0" * 32
    assert wire_execution("0" * 32, 2) == wire_execution("0" * 32, 2)
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in found)


HIDDEN_FROM_DAPR = {
    "workflowCompleted",
    "eventSent",
    "executionCompleted",
    "continueAsNew",
    "detachedWorkflowInstanceCreated",
}
HIDDEN_FROM_MICROSOFT = {"continueAsNew", "historyState"}


@pytest.mark.parametrize(
    "flavour, hidden", [(Flavour.DAPR, HIDDEN_FROM_DAPR), (Flavour.MICROSOFT, HIDDEN_FROM_MICROSOFT)]
)
def test_workers_are_not_shown_the_events_that_they_would_fail_at(flavour, hidden):
    codec = CODECS[flavour]
    not_shown = set()
    for one, case, data in CASES:
        if one is flavour:
            event = codec.read_event(data)
            if codec.event(event, "i", "e") is None:
                not_shown.add(case)
            assert len(codec.history([event], "i", "e")) == 1, "clients see every event that the flavour has"
    assert not_shown == hidden


OWN = (
    ours.ActivityCancelled(number=1),
    ours.ChildCancelled(number=1),
    ours.TimerCancelled(number=1),
    ours.UpdateRequested(key="k", name="n"),
    ours.UpdateAnswered(key="k"),
    ours.RunCancelRequested(),
    ours.TurnAnswered(token="t"),
)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_events_that_only_perdure_has_are_not_shown(flavour):
    codec = CODECS[flavour]
    assert [codec.event(event, "i", "e") for event in OWN] == [None] * len(OWN)
    assert codec.history(OWN, "i", "e") == []


def test_events_of_one_flavour_are_not_shown_to_the_other():
    rewound = CODECS[Flavour.MICROSOFT].read_event(golden(Flavour.MICROSOFT, "HistoryEvent", "executionRewound"))
    stalled = CODECS[Flavour.DAPR].read_event(golden(Flavour.DAPR, "HistoryEvent", "executionStalled"))
    assert CODECS[Flavour.DAPR].history([rewound], "i", "e") == []
    assert CODECS[Flavour.MICROSOFT].history([stalled], "i", "e") == []


def test_a_router_is_never_written_for_the_other_flavour():
    event = ours.EventRaised(name="n", router=Router("a", "b"))
    assert b"\xf2\x01" in write(Flavour.DAPR, event)
    assert read(Flavour.MICROSOFT, write(Flavour.MICROSOFT, event)).router is None


def test_the_history_of_a_fork_holds_what_it_took_over():
    started, turn = ours.RunStarted(name="n", at=1), ours.TurnStarted(at=2)
    fork = ours.RunForked(source="s", number=1, history=[turn, started], arrivals=[ours.EventRaised(name="later")])
    assert list(unfolded([fork, turn])) == [turn, started, turn]
    codec = CODECS[Flavour.MICROSOFT]
    shown = [codec.read_event(unframed(data)) for data in codec.history([fork, turn], "i", "e")]
    assert [type(event) for event in shown] == [ours.TurnStarted, ours.RunStarted, ours.TurnStarted]


def test_the_history_for_work_is_what_turns_have_shown():
    events = [
        ours.TurnStarted(at=1),
        ours.EventSent(number=1, instance="i", name="n"),
        ours.RunCompleted(status="failed"),
    ]
    codec = CODECS[Flavour.DAPR]
    assert len(codec.history(events, "i", "e")) == 3
    assert codec.history_for_work(events, "i", "e") == [codec.event(events[0], "i", "e")]


def test_an_engine_s_reason_for_a_stall_has_a_number():
    numbers = {"version-not-registered": 1, "payload-too-large": 2, "non-determinism": 0, "payload-size-exceeded": 2}
    for reason, number in {**numbers, "9": 9}.items():
        data = write(Flavour.DAPR, ours.RunStalled(reason=reason))
        assert SCHEMAS[Flavour.DAPR].parse("HistoryEvent", data).executionStalled.reason == number


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_is_packed_is_refused_and_not_sent(flavour):
    packed = Payload("json+a256gcm", "key-1", msgspec.Raw(b'"xyz"'))
    with pytest.raises(KeyMissing):
        CODECS[flavour].event(ours.EventRaised(name="n", data=packed), "i", "e")
    secret = Failure(type="E", message="", packed=packed)
    with pytest.raises(NotDecodable):
        CODECS[flavour].event(ours.ActivityFailed(number=1, failure=secret), "i", "e")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_event_of_an_unknown_kind_is_refused(flavour):
    for data in (b"", b"\x08\x05", b"\xba\x06\x00"):
        with pytest.raises(MalformedMessage):
            read(flavour, data)


def test_properties_of_a_failure_keep_their_values():
    data = golden(Flavour.MICROSOFT, "HistoryEvent", "taskFailed")
    properties = read(Flavour.MICROSOFT, data).failure.properties
    assert properties == {
        "text": "failureDetails.properties",
        "number": 1.5,
        "flag": True,
        "nothing": None,
        "list": ["deep"],
        "map": {"in": -2.0},
    }
