"""The workflow calls of Dapr's own API."""

from __future__ import annotations

import pytest
from msgspec import Raw

from perdure.codec import JSON, TEXT, Payload
from perdure.errors import MalformedMessage
from perdure.history.events import Failure
from perdure.remote.requests import (
    AboutInstance,
    InstanceView,
    Metadata,
    OfferedComponent,
    Origin,
    Pause,
    Purge,
    RaiseEvent,
    SetMetadata,
    StartInstance,
    Terminate,
    TopicSubscription,
)
from perdure.remote.wire import runtime
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA

SEVEN = Payload(JSON, None, Raw(b"7"))


def bytes_of(name: str, **values) -> bytes:
    return getattr(SCHEMA, name)(**values).SerializeToString()


def test_every_call_arrives():
    assert runtime.read_start(
        bytes_of("StartWorkflowRequest", instance_id="i", workflow_name="n", input=b"7", app_id="a")
    ) == StartInstance(instance="i", name="n", input=SEVEN, app="a")
    assert runtime.read_about(bytes_of("GetWorkflowRequest", instance_id="i")) == AboutInstance(
        instance="i", with_payloads=True
    )
    assert runtime.read_raise(
        bytes_of("RaiseEventWorkflowRequest", instance_id="i", event_name="n", event_data=b"7")
    ) == RaiseEvent(instance="i", name="n", data=SEVEN)
    assert runtime.read_terminate(bytes_of("TerminateWorkflowRequest", instance_id="i")) == Terminate(
        instance="i", recursive=True
    )
    for name in ("PauseWorkflowRequest", "ResumeWorkflowRequest"):
        assert runtime.read_pause(bytes_of(name, instance_id="i", app_id="a")) == Pause(instance="i", app="a")
    assert runtime.read_purge(bytes_of("PurgeWorkflowRequest", instance_id="i")) == Purge(
        instances=["i"], recursive=True
    )
    assert runtime.read_set_metadata(bytes_of("SetMetadataRequest", key="k", value="v")) == SetMetadata(
        key="k", value="v"
    )


@pytest.mark.parametrize("text", ["2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00"])
def test_a_start_may_be_put_off(text):
    asked = runtime.read_start(bytes_of("StartWorkflowRequest", options={"dapr.workflow.start_time": text}))
    assert asked.scheduled == 1_893_456_000_000_000


@pytest.mark.parametrize(
    "data",
    [
        bytes_of("StartWorkflowRequest", options={"dapr.workflow.start_time": "soon"}),
        bytes_of("StartWorkflowRequest", input=b"\xff"),
        b"\xff",
    ],
)
def test_a_start_that_cannot_be_read_is_refused(data):
    with pytest.raises(MalformedMessage):
        runtime.read_start(data)


def test_an_instance_is_shown_by_its_properties():
    view = InstanceView(
        instance="i",
        name="n",
        status="failed",
        created=1_000_001,
        updated=2_000_002,
        input=SEVEN,
        custom_status=Payload(TEXT, None, Raw(b'"half way"')),
        failure=Failure(type="E", message="m", stack="s"),
    )
    message = SCHEMA.parse("GetWorkflowResponse", runtime.write_view(view))
    assert (message.instance_id, message.workflow_name, message.runtime_status) == ("i", "n", "FAILED")
    assert message.created_at.ToMicroseconds() == 1_000_001
    assert message.last_updated_at.ToMicroseconds() == 2_000_002
    assert dict(message.properties) == {
        "dapr.workflow.input": "7",
        "dapr.workflow.custom_status": "half way",
        "dapr.workflow.failure.error_type": "E",
        "dapr.workflow.failure.error_message": "m",
        "dapr.workflow.failure.stack_trace": "s",
    }


@pytest.mark.parametrize(
    "view, word",
    [
        (InstanceView(instance="i", name="n", status="pending", created=1, updated=1), "PENDING"),
        (InstanceView(instance="i", name="n", status="running", created=1, updated=1, is_suspended=True), "SUSPENDED"),
        (InstanceView(instance="i", name="n", status="running", created=1, updated=1, is_stalled=True), "STALLED"),
    ],
)
def test_a_status_is_told_in_capitals(view, word):
    assert SCHEMA.parse("GetWorkflowResponse", runtime.write_view(view)).runtime_status == word


def test_metadata_tells_of_the_server():
    data = runtime.write_metadata(Metadata(app="a", version="1", workers=3, values={"k": "v"}, features=["f"]))
    message = SCHEMA.parse("GetMetadataResponse", data)
    assert (message.id, message.runtime_version, message.workflows.connected_workers) == ("a", "1", 3)
    assert dict(message.extended_metadata) == {"k": "v"}
    assert list(message.enabled_features) == ["f"]


def test_metadata_tells_of_the_building_blocks():
    told = Metadata(
        app="a",
        version="1",
        components=[OfferedComponent(name="kv", type="state.redis", capabilities=["ETAG"])],
        subscriptions=[
            TopicSubscription(
                pubsub="bus", topic="t", origin=Origin.STREAMING, rules=[("", "/t")], dead_letter_topic="dead"
            )
        ],
        mcp_servers=["files"],
        actors={"Account": 2},
    )
    message = SCHEMA.parse("GetMetadataResponse", runtime.write_metadata(told))
    (component,) = message.registered_components
    assert (component.name, component.type, component.version) == ("kv", "state.redis", "v1")
    assert list(component.capabilities) == ["ETAG"]
    (subscription,) = message.subscriptions
    assert (subscription.pubsub_name, subscription.topic, subscription.type) == ("bus", "t", 3)
    assert [(rule.match, rule.path) for rule in subscription.rules.rules] == [("", "/t")]
    assert subscription.dead_letter_topic == "dead"
    assert [server.name for server in message.mcp_servers] == ["files"]
    for counts in (message.active_actors_count, message.actor_runtime.active_actors):
        assert [(count.type, count.count) for count in counts] == [("Account", 2)]
    assert message.actor_runtime.host_ready


def test_a_server_without_actors_says_so():
    message = SCHEMA.parse("GetMetadataResponse", runtime.write_metadata(Metadata(app="a", version="1")))
    assert (message.actor_runtime.runtime_status, message.actor_runtime.host_ready) == (1, False)


def test_the_id_of_a_new_instance_is_told():
    assert SCHEMA.parse("StartWorkflowResponse", runtime.write_started("i")).instance_id == "i"
