"""Every action of both flavours, byte for byte as the published SDKs have it, and with each field in its place."""

from __future__ import annotations

import msgspec
import pytest

from perdure.errors import InvalidArgument, MalformedMessage
from perdure.history import actions as ours
from perdure.history.events import EventRaised, Router, decode_segment
from perdure.history.options import Trace
from perdure.remote.requests import Flavour
from perdure.remote.wire.actions import ActionCodec
from tests.history.test_events import ACTIONS
from tests.remote.wire.goldens import FLAVOURS, GOLDEN, SCHEMAS, arrived, cases
from tests.remote.wire.test_wire_events import ORIGINS

MESSAGE = {Flavour.DAPR: "WorkflowAction", Flavour.MICROSOFT: "OrchestratorAction"}
CASES = cases(MESSAGE)
TABLE = [(Flavour(flavour), *row) for flavour, *row in ACTIONS]
CODEC = {flavour: ActionCodec(SCHEMAS[flavour]) for flavour in FLAVOURS}
UUID = b"0a373030-2d12-4b5c-9a6e-1f0e1d2c3b4a"


def read(flavour: Flavour, data: bytes):
    return CODEC[flavour].read(SCHEMAS[flavour].parse("WorkflowAction", data))


def field(number: int, data: bytes) -> bytes:
    """A field with a length, for small numbers and short data."""
    assert number < 16
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


@pytest.mark.parametrize("flavour, case, data", CASES)
def test_an_action_of_an_sdk_is_written_as_the_sdk_writes_it(flavour, case, data):
    assert CODEC[flavour].write(read(flavour, data)) == data


@pytest.mark.parametrize("flavour, wire, kind, fields", TABLE)
def test_every_field_arrives_in_its_place(flavour, wire, kind, fields):
    found = {
        case: data
        for one, case, data in CASES
        if one is flavour and (case == wire or (case.startswith(wire + ".") and "." not in wire))
    }
    assert found
    inner = wire.partition(".")[2]
    for case, data in found.items():
        action = read(flavour, data)
        assert type(action) is kind
        assert action.number > 0
        for name, place in fields.items():
            if place == "status":
                assert action.status == "completed"
            elif place.startswith("origin."):
                assert action.origin == ORIGINS[case.split(".")[1]]
            elif place == "failure.cause":
                assert action.failure.cause.type == "failureDetails.innerFailure.errorType"
            elif place in {"events", "history"}:
                events = action.events if place == "events" else decode_segment(bytes(action.history))
                assert [type(event) for event in events] == [EventRaised, EventRaised]
                assert events[0].at_nanos == 999
            elif place == "locks":
                assert action.locks == [f"{inner}.lockSet.a", f"{inner}.lockSet.b"]
            else:
                assert arrived(action, f"{inner}.{name}" if inner else name, place), (name, place)
        if flavour is Flavour.DAPR:
            assert action.router == Router("router.sourceAppID", "router.targetAppID", "router.targetAppNamespace")


def test_every_action_of_a_run_that_ends_lets_its_activities_run():
    for flavour, case, data in CASES:
        if case.startswith("complete"):
            assert read(flavour, data).keep_calls


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_ninth_field_is_a_router_beside_an_action_and_a_rewind_alone(flavour):
    """Read as the other flavour has it, a router would take the place of every action beside it."""
    router = field(9, field(1, b"app-a") + field(2, b"app-b"))
    timer = read(flavour, b"\x08\x05" + field(4, b"") + router)
    assert timer == ours.CreateTimer(number=5, due=0, router=Router("app-a", "app-b"))
    rewind = read(flavour, b"\x08\x05" + field(9, b""))
    assert isinstance(rewind, ours.RewindRun)
    assert bytes(rewind.history) == b"[]"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_task_s_fifth_field_is_an_id_or_a_trace_by_how_it_begins(flavour):
    task = field(1, b"act")
    assert read(flavour, field(2, task + field(5, UUID))).key == UUID.decode()
    traced = read(flavour, field(2, task + field(5, field(1, b"00-aa-bb-01") + field(2, b"span"))))
    assert traced.trace == Trace("00-aa-bb-01", "span")
    assert traced.key is None
    with pytest.raises(MalformedMessage):
        read(flavour, field(2, task + field(5, b"\xff\xfe")))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_number_where_the_other_flavour_has_a_map_is_passed_over(flavour):
    other = {Flavour.DAPR: field(6, field(1, b"k") + field(2, b"v")), Flavour.MICROSOFT: b"\x30\x02"}[flavour]
    child = read(flavour, field(3, field(1, b"child") + field(2, b"name") + other))
    assert (child.instance, child.name, child.tags, child.propagation) == ("child", "name", None, None)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    "status, kind, word",
    [
        (1, ours.CompleteRun, "completed"),
        (2, ours.ContinueRun, ""),
        (3, ours.CompleteRun, "failed"),
        (4, ours.CompleteRun, "canceled"),
        (5, ours.CompleteRun, "terminated"),
        (8, ours.ReportMissingVersion, ""),
    ],
)
def test_a_completion_is_what_its_status_says(flavour, status, kind, word):
    action = read(flavour, b"\x08\x03" + field(6, bytes([8, status]) + field(2, field(1, b"7"))))
    assert type(action) is kind
    assert action.number == 3
    assert getattr(action, "status", "") == word
    if kind is ours.ContinueRun:
        assert bytes(action.input.data) == b"7"


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("status", [0, 6, 7, 9, 100])
def test_a_status_that_ends_nothing_is_refused(flavour, status):
    with pytest.raises(MalformedMessage):
        read(flavour, field(6, bytes([8, status])))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_continuation_comes_back_as_it_was(flavour):
    action = ours.ContinueRun(number=4, input=None, version="2", events=[EventRaised(name="n", at=5)], details="d")
    assert read(flavour, CODEC[flavour].write(action)) == action


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_action_of_no_kind_is_refused(flavour):
    for data in (b"", b"\x08\x05", b"\xba\x06\x00"):
        with pytest.raises(MalformedMessage):
            read(flavour, data)


def test_an_action_that_a_flavour_does_not_have_is_not_written():
    signal = ours.SignalEntity(target="@e@k", operation="add")
    assert CODEC[Flavour.MICROSOFT].write(signal)
    with pytest.raises(InvalidArgument):
        CODEC[Flavour.DAPR].write(signal)
    with pytest.raises(InvalidArgument):
        CODEC[Flavour.MICROSOFT].write(ours.ReportMissingVersion())


def test_no_router_is_written_for_the_other_flavour():
    action = ours.CreateTimer(number=1, due=2, router=Router("a"))
    again = read(Flavour.MICROSOFT, CODEC[Flavour.MICROSOFT].write(action))
    assert again == msgspec.structs.replace(action, router=None)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_empty_action_reads_as_one_with_defaults_or_is_refused(flavour):
    refused = []
    for case, data in GOLDEN[flavour][MESSAGE[flavour]].items():
        if case.endswith("empty"):
            try:
                action = read(flavour, bytes.fromhex(data))
            except MalformedMessage:
                refused.append(case)
            else:
                assert read(flavour, CODEC[flavour].write(action)) == action
    assert (
        refused
        == {
            Flavour.DAPR: ["completeWorkflow empty"],
            Flavour.MICROSOFT: ["completeOrchestration empty", "sendEntityMessage empty"],
        }[flavour]
    )
