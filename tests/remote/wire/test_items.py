"""Work items: bytes as the SDKs' own messages have them, and the joins of events that are already encoded."""

from __future__ import annotations

import pytest
from msgspec import Raw

from perdure.codec import ARGUMENTS, Payload
from perdure.errors import InvalidArgument, MalformedMessage, NotDecodable
from perdure.history.events import EventRaised, TurnStarted
from perdure.history.options import Trace
from perdure.remote.requests import ActivityItem, EntityItem, Flavour, TurnItem
from perdure.remote.wire.framing import unframed
from perdure.remote.wire.items import ItemCodec
from tests.remote.wire.goldens import CODECS, FLAVOURS, SCHEMAS, at, golden

CODEC = {flavour: ItemCodec(SCHEMAS[flavour]) for flavour in FLAVOURS}
TURN = {Flavour.DAPR: "workflowRequest", Flavour.MICROSOFT: "orchestratorRequest"}


def parsed(flavour: Flavour, data: bytes):
    return SCHEMAS[flavour].parse("WorkItem", data)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_turn_of_an_sdk_is_read_and_written_as_the_sdk_has_it(flavour):
    data = golden(flavour, "WorkItem", TURN[flavour])
    item = CODEC[flavour].read_item(data)
    prefix = TURN[flavour]
    assert at(item, "instance") == f"{prefix}.instanceId"
    assert at(item, "execution") == f"{prefix}.executionId.value"
    assert item.token == "completionToken"
    assert item.must_stream_history
    events = [CODECS[flavour].read_event(unframed(frame)) for frame in (*item.past, *item.new)]
    assert [type(event) for event in events] == [EventRaised] * 4
    assert [event.name.split(".")[1] for event in events] == ["pastEvents", "pastEvents", "newEvents", "newEvents"]
    theirs, ours = parsed(flavour, data), parsed(flavour, CODEC[flavour].turn_item(item))
    for message in (theirs, ours):
        if flavour is Flavour.DAPR:
            assert message.workflowRequest.cachedHistory.eventCount == item.cached > 0
            assert message.workflowRequest.router.sourceAppID == item.app == f"{prefix}.router.sourceAppID"
            message.workflowRequest.ClearField("router")  # because only the app itself is told
        else:
            assert message.workflowRequest.workflowTraceContext == item.trace
            message.workflowRequest.ClearField("properties")
            message.workflowRequest.ClearField("entityParameters")
    assert ours == theirs


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_attempt_of_an_sdk_is_written_as_the_sdk_has_it(flavour):
    data = golden(flavour, "WorkItem", "activityRequest")
    item = CODEC[flavour].read_item(data)
    assert CODEC[flavour].activity_item(item) == data
    prefix = "activityRequest"
    assert at(item, "input") == f"{prefix}.input.value"
    assert (item.name, item.version) == (f"{prefix}.name", f"{prefix}.version.value")
    assert item.trace == Trace(
        *(f"{prefix}.parentTraceContext.{one}" for one in ("traceParent", "spanID", "traceState.value"))
    )
    assert item.number > 0
    if flavour is Flavour.DAPR:
        assert item.key == f"{prefix}.taskExecutionId"
    else:
        assert item.tags == {f"{prefix}.tags.key": f"{prefix}.tags.value", "ä": "🚀"}


def test_a_batch_of_an_sdk_is_written_as_the_sdk_has_it():
    data = golden(Flavour.MICROSOFT, "WorkItem", "entityRequestV2")
    item = CODEC[Flavour.MICROSOFT].read_item(data)
    assert CODEC[Flavour.MICROSOFT].entity_item(item) == data
    assert item.entity == "entityRequestV2.instanceId"
    assert item.execution == "entityRequestV2.executionId"
    assert at(item, "state") == "entityRequestV2.entityState.value"
    assert len(item.operations) == 2


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_ping_is_the_sdk_s_own(flavour):
    assert CODEC[flavour].read_item(CODEC[flavour].ping()) is None
    assert parsed(flavour, CODEC[flavour].ping()).WhichOneof("request") == "healthPing"
    assert CODEC[flavour].read_item(golden(flavour, "WorkItem", "healthPing")) is None


def test_the_ping_of_one_flavour_is_unknown_to_the_other():
    with pytest.raises(MalformedMessage):
        CODEC[Flavour.DAPR].read_item(CODEC[Flavour.MICROSOFT].ping())


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_events_are_joined_as_they_were_encoded(flavour):
    codec = CODECS[flavour]
    past = [codec.event(TurnStarted(at=n), "i", "e") for n in range(200)]
    big = codec.event(EventRaised(name="n" * 70_000), "i", "e")
    item = CODEC[flavour].turn_item(TurnItem(instance="i", execution="e", past=past, new=[big], token="t"))
    message = parsed(flavour, item)
    assert [codec.read_event(one).at for one in message.workflowRequest.pastEvents] == list(range(200))
    assert codec.read_event(message.workflowRequest.newEvents[0]).name == "n" * 70_000
    assert (message.workflowRequest.instanceId, message.workflowRequest.executionId.value) == ("i", "e")
    assert message.completionToken == "t"


def test_a_cached_history_of_no_event_is_told():
    data = CODEC[Flavour.DAPR].turn_item(TurnItem(instance="i", execution="e", past=[], new=[], token="t", cached=0))
    assert parsed(Flavour.DAPR, data).workflowRequest.HasField("cachedHistory")


def test_what_only_one_flavour_has_is_not_sent_to_the_other():
    item = TurnItem(
        instance="i", execution="e", past=[], new=[], token="t", cached=5, trace=b"\n\0", lineage=b"\x08\1", app="a"
    )
    to_dapr, to_microsoft = (CODEC[flavour].read_item(CODEC[flavour].turn_item(item)) for flavour in FLAVOURS)
    assert (to_dapr.cached, to_dapr.trace, to_dapr.lineage, to_dapr.app) == (5, None, b"\x08\1", "a")
    assert (to_microsoft.cached, to_microsoft.trace, to_microsoft.lineage, to_microsoft.app) == (
        None,
        b"\n\0",
        None,
        None,
    )


def test_microsoft_s_workers_are_told_that_there_are_entities():
    data = CODEC[Flavour.MICROSOFT].turn_item(TurnItem(instance="i", execution="e", past=[], new=[], token="t"))
    assert parsed(Flavour.MICROSOFT, data).workflowRequest.entityParameters.HasField("entityMessageReorderWindow")


def test_dapr_has_no_entities():
    with pytest.raises(InvalidArgument):
        CODEC[Flavour.DAPR].entity_item(EntityItem(entity="@e@k", execution="", token="t", operations=[]))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_packed_input_is_not_sent(flavour):
    packed = Payload("json+zstd", None, Raw(b'"x"'))
    item = ActivityItem(instance="i", execution="e", number=1, name="n", token="t", input=packed)
    with pytest.raises(NotDecodable):
        CODEC[flavour].activity_item(item)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_arguments_are_sent_as_their_json(flavour):
    arguments = Payload(ARGUMENTS, None, Raw(b'[[1],{"a":2}]'))
    item = ActivityItem(instance="i", execution="e", number=1, name="n", token="t", input=arguments)
    message = parsed(flavour, CODEC[flavour].activity_item(item))
    assert message.activityRequest.input.value == '[[1],{"a":2}]'
