"""What is published as a message."""

from __future__ import annotations

import json

import pytest

from perdure.blocks.pubsub import Message
from perdure.errors import InvalidArgument
from perdure.history.options import Trace
from perdure.remote.cloudevents import RAW, kept_form
from perdure.remote.pubsub.publishing import Publish, message_of

NOW = 1_700_000_000_000_000


def message(data: bytes = b"1", kind: str = "application/json", trace: Trace | None = None, **metadata: str) -> Message:
    asked = Publish(pubsub="bus", topic="orders", data=data, content_type=kind, metadata=metadata)
    return message_of(asked, "shop", "fresh", NOW, trace)


def test_data_are_wrapped_in_an_event():
    assert message(b'{"a": 1}') == Message(
        id="fresh",
        topic="orders",
        data=b'{"a": 1}',
        content_type="application/json",
        source="shop",
        type="com.dapr.event.sent",
        time=NOW,
    )


def test_data_of_which_nothing_is_said_are_text():
    assert message(b"hello", "").content_type == "text/plain"


def test_a_trace_goes_with_the_event():
    found = message(trace=Trace(parent="00-1-2-01", state="a=b")).extensions
    assert found == {"traceid": "00-1-2-01", "traceparent": "00-1-2-01", "tracestate": "a=b"}


def test_metadata_replace_attributes():
    metadata = {"cloudevent.id": "mine", "cloudevent.type": "t", "cloudevent.source": "s", "cloudevent.subject": "x"}
    found = message(**metadata)
    assert (found.id, found.type, found.source, found.extensions) == ("mine", "t", "s", {"subject": "x"})


def test_an_event_of_the_programs_own_is_taken_as_it_is():
    event = {"specversion": "1.0", "id": "7", "source": "x", "type": "y", "data": {"a": 1}, "subject": "z"}
    found = message(json.dumps(event).encode(), "application/cloudevents+json; charset=utf-8")
    assert (found.id, found.source, found.type, found.data) == ("7", "x", "y", b'{"a": 1}')
    assert (found.topic, found.extensions) == ("orders", {"subject": "z"})


def test_what_is_left_out_of_it_is_filled_in():
    found = message(b'{"data": 1}', "application/cloudevents+json")
    assert (found.id, found.source, found.type, found.time) == ("fresh", "shop", "com.dapr.event.sent", NOW)


def test_a_raw_payload_lies_on_the_broker_without_an_event():
    found = message(b"\xff\x00", "application/octet-stream", rawPayload="true")
    assert found.extensions == {RAW: "true"}
    assert kept_form(found) == b"\xff\x00"
    assert kept_form(message(b"1", rawPayload="false")) != b"1"


def test_a_life_and_a_key():
    found = message(ttlInSeconds="10", partitionKey="k")
    assert (found.expires, found.key) == (NOW + 10_000_000, "k")


@pytest.mark.parametrize("ttl", ["0", "-1", "soon", "1.5", "٣", "9999999999999"])
def test_a_life_that_is_none_is_refused(ttl):
    with pytest.raises(InvalidArgument, match="ttlInSeconds"):
        message(ttlInSeconds=ttl)


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b'{"id": 7}', b'{"time": "soon"}'])
def test_an_event_that_is_none_is_refused(data):
    with pytest.raises(InvalidArgument, match="declared as a CloudEvent"):
        message(data, "application/cloudevents+json")


def test_no_topic_is_refused():
    with pytest.raises(InvalidArgument, match="name one"):
        message_of(Publish(pubsub="bus", topic="", data=b""), "shop", "fresh", NOW)
