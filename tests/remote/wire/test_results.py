"""Answers of workers, byte for byte as the published SDKs have them."""

from __future__ import annotations

import pytest
from msgspec import Raw

from perdure.codec import JSON, TEXT, Payload
from perdure.errors import MalformedMessage
from perdure.history import actions
from perdure.history.events import Failure
from perdure.remote.requests import ActivityResult, Flavour, TurnResult
from tests.remote.wire.goldens import CODECS, FLAVOURS, SCHEMAS, at, golden

TURN = {Flavour.DAPR: "WorkflowResponse", Flavour.MICROSOFT: "OrchestratorResponse"}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_turn_s_answer_is_read_and_written_as_the_sdk_has_it(flavour):
    data = golden(flavour, TURN[flavour])
    result = CODECS[flavour].read_turn_result(data)
    assert CODECS[flavour].peer.write_turn_result(result) == data
    assert (result.instance, result.token) == ("instanceId", "completionToken")
    assert at(result, "status") == "customStatus.value"
    assert [type(action) for action in result.actions] == [actions.ScheduleActivity] * 2
    assert result.processed > 0
    if flavour is Flavour.DAPR:
        assert (result.patches, result.version) == (["version.patches.a", "version.patches.b"], "version.name")
        assert result.trace is None
    else:
        assert (result.patches, result.version) == (None, None)
        assert b"orchestrationTraceContext.spanID.value" in result.trace
        assert result.must_have_history
        assert result.is_partial
        assert result.chunk > 0


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_empty_answer_to_a_turn_has_nothing_in_it(flavour):
    assert CODECS[flavour].read_turn_result(golden(flavour, TURN[flavour], "empty")) == TurnResult(
        instance="", actions=[]
    )


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_attempt_s_answer_is_read_and_written_as_the_sdk_has_it(flavour):
    data = golden(flavour, "ActivityResponse")
    result = CODECS[flavour].read_activity_result(data)
    assert CODECS[flavour].peer.write_activity_result(result) == data
    assert (result.instance, result.token, result.failure.type) == (
        "instanceId",
        "completionToken",
        "failureDetails.errorType",
    )
    assert at(result, "result") == "result.value"
    assert result.number > 0
    assert result.failure.non_retryable


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_failure_counts_by_its_presence_and_not_by_its_content(flavour):
    codec = CODECS[flavour]
    assert codec.read_activity_result(b"\x22\x00").failure == Failure(type="", message="")
    assert codec.read_activity_result(b"\x0a\x01i") == ActivityResult(instance="i", number=0)
    assert codec.read_activity_result(b"\x1a\x00").result == Payload(TEXT, None, Raw(b'""'))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_sixth_field_is_a_version_or_a_trace_by_what_is_in_it(flavour):
    dapr, microsoft = (SCHEMAS[one] for one in FLAVOURS)
    version = dapr.WorkflowVersion(patches=["p1", "p2"], name="v").SerializeToString()
    named = dapr.WorkflowVersion(name="v").SerializeToString()
    trace = microsoft.WorkflowTraceContext()
    trace.spanID.value = "span"
    timed = microsoft.WorkflowTraceContext()
    timed.spanStartTime.seconds = 5

    def answered(sixth: bytes) -> TurnResult:
        return CODECS[flavour].read_turn_result(b"\x32" + bytes([len(sixth)]) + sixth)

    assert (answered(version).patches, answered(version).version) == (["p1", "p2"], "v")
    assert (answered(named).patches, answered(named).version) == (None, "v")
    for one in (trace.SerializeToString(), timed.SerializeToString()):
        assert answered(one).trace == one
        assert answered(one).patches is None
    spanless = answered(b"\x0a\x00\x12\x02\x08\x05")
    assert (spanless.trace is None) == (flavour is Flavour.DAPR)
    nothing = answered(b"")
    assert (nothing.patches, nothing.trace) == (([], None) if flavour is Flavour.DAPR else (None, b""))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_negative_count_is_refused(flavour):
    minus_one = b"\x2a\x0b\x08" + b"\xff" * 9 + b"\x01"
    with pytest.raises(MalformedMessage):
        CODECS[flavour].read_turn_result(minus_one)


def test_a_batch_s_answer_is_read_as_the_sdk_has_it():
    result = CODECS[Flavour.MICROSOFT].read_entity_result(golden(Flavour.MICROSOFT, "EntityBatchResult"))
    assert (result.token, result.must_have_state) == ("completionToken", True)
    assert at(result, "state") == "entityState.value"
    assert result.failure.type == "failureDetails.errorType"
    assert [at(one, "result") for one in result.results] == ["results.success.result.value"] * 2
    signal = result.actions[0]
    assert isinstance(signal, actions.SignalEntity)
    assert signal.number > 0
    assert (signal.target, signal.operation) == ("actions.sendSignal.instanceId", "actions.sendSignal.name")
    assert at(signal, "input") == "actions.sendSignal.input.value"
    assert signal.scheduled_nanos == 999


def test_a_batch_may_start_workflows_and_fail_operations():
    schema = SCHEMAS[Flavour.MICROSOFT]
    message = schema.EntityBatchResult(completionToken="t")
    message.results.add().failure.failureDetails.errorType = "E"
    start = message.actions.add(id=3).startNewWorkflow
    start.instanceId, start.name, start.version.value, start.input.value = "i", "n", "v", "7"
    start.scheduledTime.seconds = 9
    result = CODECS[Flavour.MICROSOFT].read_entity_result(message.SerializeToString())
    assert result.results[0].failure == Failure(type="E", message="")
    assert result.actions == [
        actions.CreateDetached(
            number=3,
            instance="i",
            name="n",
            version="v",
            input=Payload(JSON, None, Raw(b"7")),
            scheduled=9_000_000,
        )
    ]


def test_a_state_that_is_empty_is_no_state():
    read = CODECS[Flavour.MICROSOFT].read_entity_result
    assert read(b"").state is None
    assert read(b"\x1a\x00").state is None
    assert at(read(b"\x1a\x03\x0a\x017"), "state") == "7"


@pytest.mark.parametrize("data", [b"\x0a\x00", b"\x12\x00"])
def test_a_result_or_action_of_no_kind_is_refused(data):
    with pytest.raises(MalformedMessage):
        CODECS[Flavour.MICROSOFT].read_entity_result(data)
