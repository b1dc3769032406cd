"""Messages as CloudEvents."""

from __future__ import annotations

import json

import pytest

from perdure.blocks.pubsub import Message
from perdure.errors import MalformedMessage
from perdure.remote.cloudevents import is_event, is_json, read_event, write_event

FULL = Message(
    id="1",
    topic="orders",
    data=b'{"a": [1, 2]}',
    key="k",
    source="shop",
    type="placed",
    time=1_700_000_000_000_001,
    expires=4_000_000_000_000_000,
    extensions={"traceparent": "00-1", "subject": "größe"},
)


def test_an_event_has_the_attributes_of_its_message():
    assert json.loads(write_event(FULL, {"pubsubname": "bus"})) == {
        "specversion": "1.0",
        "id": "1",
        "source": "shop",
        "type": "placed",
        "datacontenttype": "application/json",
        "topic": "orders",
        "time": "2023-11-14T22:13:20.000001Z",
        "partitionkey": "k",
        "expiration": "2096-10-02T07:06:40Z",
        "pubsubname": "bus",
        "traceparent": "00-1",
        "subject": "größe",
        "data": {"a": [1, 2]},
    }
    assert b'"data":{"a": [1, 2]}' in write_event(FULL)


@pytest.mark.parametrize(
    "content_type, data",
    [
        ("application/json", b'{"a": 1}'),
        ("application/json", b'"text"'),
        ("application/json", b"declared wrongly"),
        ("application/vnd.x+json; charset=utf-8", b"[1 ]"),
        ("text/plain", b"text"),
        ("text/plain", b"\xff\x00"),
        ("text/plain", b'"quoted"'),
        ("application/octet-stream", b"\xff\x00"),
        ("application/octet-stream", b"text"),
        ("image/png", b""),
    ],
)
def test_data_come_back_as_they_were(content_type, data):
    message = Message(id="1", topic="t", data=data, content_type=content_type, source="s")
    assert read_event(write_event(message), "t") == message


def test_the_event_of_another_program_is_read():
    event = {"specversion": "1.0", "id": "7", "source": "x", "type": "y", "n": 5, "ok": True, "data": {"a": 1}}
    found = read_event(json.dumps(event).encode(), "t")
    assert (found.id, found.source, found.type, found.data) == ("7", "x", "y", b'{"a": 1}')
    assert found.extensions == {"n": "5", "ok": "true"}


def test_an_event_goes_to_the_topic_that_it_came_on():
    assert read_event(write_event(FULL), "other").topic == "other"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id": "1"}',
        b'{"id": 1, "source": "s"}',
        b'{"id": "1", "source": "s", "time": "soon"}',
        b'{"id": "1", "source": "s", "data_base64": "*"}',
        b"\xff",
    ],
)
def test_what_is_no_event_is_refused(data):
    with pytest.raises(MalformedMessage, match="no CloudEvent"):
        read_event(data, "t")


def test_types_of_content():
    assert is_json("Application/JSON; charset=utf-8")
    assert is_json("application/cloudevents+json")
    assert not is_json("text/json5")
    assert is_event("application/cloudevents+json; charset=utf-8")
    assert not is_event("application/json")
