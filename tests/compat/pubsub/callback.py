"""A program of `dapr.ext.grpc` as it is: its handlers are called on a port of its own, which speaks gRPC.

It publishes what they get, asserts it, and says of each part that it went well.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable

from dapr.clients import DaprClient
from dapr.clients.grpc._response import TopicEventResponse
from dapr.ext.grpc import App, Rule, SubscriptionMessage

PUBSUB = "pubsub"
SECONDS = 30.0
got: list[tuple[str, str]] = []
app = App()


@app.subscribe(pubsub_name=PUBSUB, topic="told", dead_letter_topic="buried")
def told(event: SubscriptionMessage) -> TopicEventResponse:
    got.append(("told", event.data()))
    again = event.data() == "later" and got.count(("told", "later")) == 1
    return TopicEventResponse("drop" if event.data() == "bad" else "retry" if again else "success")


@app.subscribe(pubsub_name=PUBSUB, topic="buried")
def buried(event: SubscriptionMessage) -> None:
    got.append(("buried", event.data()))


@app.subscribe(pubsub_name=PUBSUB, topic="ruled", rule=Rule('event.type == "red"', 1))
def red(event: SubscriptionMessage) -> None:
    got.append(("red", event.data()))


@app.subscribe(pubsub_name=PUBSUB, topic="declared")
def declared(event: SubscriptionMessage) -> None:
    got.append(("declared", event.data()["n"]))


@app.subscribe(pubsub_name=PUBSUB, topic="failing")
def failing(event: SubscriptionMessage) -> None:
    got.append(("failing", event.data()))
    if got.count(("failing", "x")) == 1:
        raise RuntimeError("the first time it fails")


def until(found: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < ends, got
        time.sleep(0.01)


def verdicts(client: DaprClient) -> None:
    for data in ("good", "bad", "later"):
        client.publish_event(PUBSUB, "told", data)
    until(lambda: {("told", "good"), ("buried", "bad")} <= set(got) and got.count(("told", "later")) == 2)


def rules(client: DaprClient) -> None:
    client.publish_event(PUBSUB, "ruled", "a", publish_metadata={"cloudevent.type": "red"})
    until(lambda: ("red", "a") in got)


def a_file(client: DaprClient) -> None:
    client.publish_event(PUBSUB, "filed", json.dumps({"n": 1}), data_content_type="application/json")
    until(lambda: ("declared", 1) in got)


def a_failure(client: DaprClient) -> None:
    client.publish_event(PUBSUB, "failing", "x")
    until(lambda: got.count(("failing", "x")) == 2)


def main() -> None:
    threading.Thread(target=lambda: app.run(int(os.environ["APP_PORT"]), "127.0.0.1"), daemon=True).start()
    with DaprClient() as client:
        for part in (verdicts, rules, a_file, a_failure):
            part(client)
            print(f"{part.__name__}: well", flush=True)


if __name__ == "__main__":
    main()
