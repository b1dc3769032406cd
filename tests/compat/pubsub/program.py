"""Pub/sub of Dapr's published packages for Python, against the server that the environment names.

It publishes, listens on streams, and is sent events on a port of its own; each part says when it went well.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import uvicorn
from dapr.clients import DaprClient
from dapr.clients.grpc._request import BulkPublishEntry
from dapr.clients.grpc._response import TopicEventResponse
from dapr.ext.fastapi import DaprApp
from fastapi import Body, FastAPI

PUBSUB = "pubsub"
SECONDS = 30.0
sent: list[tuple[str, dict[str, Any]]] = []
app = FastAPI()
subscriptions = DaprApp(app)


@subscriptions.subscribe(pubsub=PUBSUB, topic="told", route="/told", dead_letter_topic="buried")
def told(event: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
    sent.append(("/told", event))
    return {"status": "DROP" if event["data"] == "bad" else "SUCCESS"}


@subscriptions.subscribe(pubsub=PUBSUB, topic="buried")
def buried(event: Annotated[dict[str, Any], Body()]) -> None:
    sent.append(("/buried", event))


@app.post("/declared")
def declared(event: Annotated[dict[str, Any], Body()]) -> None:
    sent.append(("/declared", event))


@app.post("/large")
def large(event: Annotated[dict[str, Any], Body()]) -> None:
    sent.append(("/large", event))


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends, sent
        time.sleep(0.01)


def a_stream(client: DaprClient) -> None:
    stream = client.subscribe(PUBSUB, "streamed", dead_letter_topic="streamed-dead")
    dead = client.subscribe(PUBSUB, "streamed-dead")
    client.publish_event(PUBSUB, "streamed", json.dumps({"n": 1}), data_content_type="application/json")
    message = stream.next_message()
    assert (message.data(), message.topic(), message.pubsub_name()) == ({"n": 1}, "streamed", PUBSUB), message
    assert (message.source(), message.type()) == ("shop", "com.dapr.event.sent"), message
    stream.respond_success(message)
    client.publish_event(PUBSUB, "streamed", "text")
    message = stream.next_message()
    assert message.raw_data() == b"text", message.raw_data()
    stream.respond_retry(message)
    again = stream.next_message()
    assert again.id() == message.id()
    stream.respond_drop(again)
    assert dead.next_message().raw_data() == b"text"
    stream.close()
    dead.close()


def a_handler(client: DaprClient) -> None:
    got: list[bytes] = []

    def handle(message: Any) -> TopicEventResponse:
        got.append(message.raw_data())
        return TopicEventResponse("success")

    close = client.subscribe_with_handler(PUBSUB, "handled", handle)
    entries = [BulkPublishEntry(event=f"e{n}", content_type="text/plain", entry_id=str(n)) for n in range(5)]
    answer = client.publish_events(PUBSUB, "handled", entries)
    assert not list(answer.failed_entries), answer
    until(lambda: sorted(got) == [f"e{n}".encode() for n in range(5)])
    close()


def a_stream_that_is_left(client: DaprClient) -> None:
    """What it has not answered comes over the next one."""
    stream = client.subscribe(PUBSUB, "left")
    client.publish_event(PUBSUB, "left", "1")
    first = stream.next_message()
    stream.close()
    again = client.subscribe(PUBSUB, "left")
    message = again.next_message()
    assert message.id() == first.id()
    again.respond_success(message)
    again.close()


def a_port(client: DaprClient) -> None:
    for data in ("good", "bad"):
        client.publish_event(PUBSUB, "told", json.dumps(data), data_content_type="application/json")
    for n in (1, 100):
        client.publish_event(PUBSUB, "declared", json.dumps({"n": n}), data_content_type="application/json")
    until(lambda: len(sent) >= 5)
    found = {(path, json.dumps(event["data"])) for path, event in sent}
    assert found == {
        ("/told", '"good"'),
        ("/told", '"bad"'),
        ("/buried", '"bad"'),
        ("/declared", '{"n": 1}'),
        ("/large", '{"n": 100}'),
    }, found


def metadata(client: DaprClient) -> None:
    found = client.get_metadata()
    assert any(one.name == PUBSUB for one in found.registered_components), found


def main() -> None:
    port = int(os.environ["APP_PORT"])
    threading.Thread(target=lambda: uvicorn.run(app, port=port, log_level="error"), daemon=True).start()
    with DaprClient() as client:
        for part in (a_stream, a_handler, a_stream_that_is_left, a_port, metadata):
            part(client)
            print(f"{part.__name__}: well", flush=True)


if __name__ == "__main__":
    main()
