"""How an instance and the server are shown."""

from __future__ import annotations

import pytest
from msgspec import Raw

from perdure.codec import JSON, TEXT, Payload
from perdure.history.events import Failure
from perdure.history.state import InstanceState
from perdure.remote.http.views import instance_view, metadata_view, runtime_status
from perdure.remote.requests import Metadata, OfferedComponent, Origin, TopicSubscription
from perdure.stores.contract import Halt, Status

STATE = {
    "id": "a",
    "app": "desk",
    "name": "echo",
    "status": Status.RUNNING,
    "execution": "e",
    "generation": 1,
    "created": 0,
    "updated": 1_500_000,
}


def state(**changes):
    return InstanceState(**{**STATE, **changes})


@pytest.mark.parametrize(
    "changes, shown",
    [
        ({}, "RUNNING"),
        ({"status": "pending"}, "PENDING"),
        ({"suspended": Halt("s", 1)}, "SUSPENDED"),
        ({"suspended": Halt("s", 1), "stalled": Halt("x", 1)}, "STALLED"),
        ({"status": "terminated", "suspended": Halt("s", 1)}, "TERMINATED"),
        ({"status": "canceled"}, "CANCELED"),
    ],
)
def test_status_suspended_and_stalled_are_one_word(changes, shown):
    assert runtime_status(state(**changes)) == shown


def test_times_have_a_zone_and_end_with_the_calendar():
    told = instance_view(state(updated=2**62))
    assert (told["createdAt"], told["lastUpdatedAt"]) == ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")


def test_payloads_are_shown_as_they_were_given_and_what_cannot_be_read_is_left_out():
    told = instance_view(
        state(
            input=Payload(TEXT, None, Raw(b'"a \\"b\\""')),
            output=Payload("json+aes", "k", Raw(b'"x"')),
            custom_status=Payload(JSON, None, Raw(b'{"a": 1}')),
        )
    )
    assert told["properties"] == {"dapr.workflow.input": 'a "b"', "dapr.workflow.custom_status": '{"a": 1}'}


def test_a_failure_has_no_output():
    told = instance_view(
        state(status="failed", output=Payload(JSON, None, Raw(b"1")), failure=Failure("ValueError", "no", None))
    )
    assert told["properties"] == {
        "dapr.workflow.failure.error_type": "ValueError",
        "dapr.workflow.failure.error_message": "no",
    }


def test_metadata_show_the_building_blocks():
    told = Metadata(
        app="a",
        version="1",
        components=[OfferedComponent(name="kv", type="state.redis", capabilities=["ETAG"])],
        subscriptions=[TopicSubscription(pubsub="bus", topic="t", origin=Origin.DECLARATIVE, rules=[("", "/t")])],
        mcp_servers=["files"],
        actors={"Account": 2},
    )
    shown = metadata_view(told)
    assert shown["components"] == [{"name": "kv", "type": "state.redis", "version": "v1", "capabilities": ["ETAG"]}]
    (subscription,) = shown["subscriptions"]
    assert (subscription["pubsubname"], subscription["topic"], subscription["type"]) == ("bus", "t", "DECLARATIVE")
    assert subscription["rules"] == [{"match": "", "path": "/t"}]
    assert shown["mcpServers"] == [{"name": "files"}]
    assert shown["actors"] == shown["actorRuntime"]["activeActors"] == [{"type": "Account", "count": 2}]
    assert metadata_view(Metadata(app="a", version="1"))["actorRuntime"]["runtimeStatus"] == "DISABLED"
