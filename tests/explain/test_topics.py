"""Topics whose messages are not done: each cause as `perdure explain` tells it, and what moves it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Client, Explanation
from perdure.clock import SECOND
from perdure.engine.diagnosis.topics import BEHIND_SECONDS, GroupSight, Trouble, cause_in, told
from perdure.history.subscribing import SubscribeOptions
from tests.explain.place import PATIENCE_SECONDS, Place

HANDLER = """
@app.subscribe("orders", group="desk", retry=Retry(max_attempts=4, initial_interval=600, max_interval=600), **options)
async def handle(number: int) -> None:
    if number < 0:
        raise ValueError("below zero")
"""
MOVED = """
@app.subscribe("others")
async def handle(number: int) -> None: ...
"""
NOW = 1_000_000 * SECOND


def publish(place: Place, *numbers: int, **options: Any) -> None:
    async def work(client: Client) -> None:
        for number in numbers:
            await client.publish("orders", number, id=f"m{number}", **options)

    place.ask(work)


def explained(place: Place, holds: Callable[[list[Explanation]], bool]) -> list[Explanation]:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds(found := place.ask(lambda client: client.explain_topics("orders"))):
        assert time.monotonic() < ends, found
        time.sleep(0.01)
    return found


def one(place: Place, cause: str) -> Explanation:
    return explained(place, lambda found: [each.cause for each in found] == [cause])[0]


def test_a_topic_to_which_nobody_subscribes(place: Place) -> None:
    with place.running(MOVED):
        publish(place, 1, 2)
        (told,) = explained(place, lambda found: [each.sentence.split()[3] for each in found] == ["2"])
        assert told.cause == "topic-no-group"
        assert told.sentence == "topic orders has 2 messages and nobody has ever subscribed to it."
        assert told.since is not None
        first, *_ = place.printed("explain", "--topic", "orders")
        assert first == told.sentence
        assert place.printed("explain", "--topic", "others") == []


def test_a_group_whose_worker_is_not_up(place: Place) -> None:
    with place.running("options = {}", HANDLER):
        pass  # which has joined the group once it is open
    publish(place, 1)
    with place.running(MOVED):  # so that the message is in the log of the topic
        told = one(place, "topic-unhandled")
        assert "group desk of topic orders has 1 message left, the oldest from" in told.sentence
        assert told.command == "perdure worker --app shop"
    told = one(place, "topic-no-node")
    assert told.sentence.endswith("no process runs its app.")
    (document,) = [json.loads(line) for line in place.printed("explain", "--all", "--json")]
    assert (document["cause"], document["count"]) == ("topic-no-node", 1)
    place.program("options = {}" + HANDLER)
    with place.process("worker", "--app", "shop"):
        explained(place, lambda found: not found)


def test_a_handler_that_fails_and_the_key_that_it_blocks(place: Place) -> None:
    with place.running('options = {"dead_letter": "graveyard"}', HANDLER):
        publish(place, -1)
        told = one(place, "topic-failing")
        assert told.sentence == "group desk of topic orders has 1 message left: message m-1 has failed 1 time."
        assert told.next.startswith("attempt 2 of 4 begins at ")
        assert told.next.endswith("after the last one it goes to the topic graveyard")
        publish(place, -2, 3, 4, key="k")
        blocked = "2 messages of the key k wait behind message m-2, which has failed 1 time"
        (told,) = explained(place, lambda found: any(blocked in each.sentence for each in found))
        assert told.cause == "topic-key-blocked"
        lines = place.printed("explain", "--all")
        assert lines[0].startswith("1 topic-key-blocked, the oldest for ")


def sight(**more: Any) -> GroupSight:
    return GroupSight(
        **{
            "topic": "orders",
            "group": "desk",
            "left": 3,
            "now": NOW,
            "oldest": NOW - 5 * SECOND,
            "nodes": ["a"],
            "handlers": ["a"],
            "options": SubscribeOptions(dead_letter="dead"),
            **more,
        }
    )


@pytest.mark.parametrize(
    "more, cause",
    [
        ({"group": None}, "topic-no-group"),
        ({"nodes": [], "handlers": []}, "topic-no-node"),
        ({"handlers": []}, "topic-unhandled"),
        ({"handlers": None}, "topic-working"),
        ({"trouble": Trouble(message="m", unheard=2, key="k", behind=1)}, "topic-suspect"),
        ({"trouble": Trouble(message="m", failed=1, key="k", behind=1)}, "topic-key-blocked"),
        ({"trouble": Trouble(message="m", failed=1)}, "topic-failing"),
        ({"oldest": NOW - round(BEHIND_SECONDS * SECOND)}, "topic-behind"),
        ({}, "topic-working"),
        ({"oldest": None}, "topic-working"),
    ],
)
def test_the_first_cause_that_fits_is_told_in_one_sentence(more: dict[str, Any], cause: str) -> None:
    seen = sight(**more)
    assert cause_in(seen) == cause
    found = told(seen, "shop")
    assert (found.cause, found.instance, found.is_normal) == (cause, "orders", cause == "topic-working")
    assert found.sentence.endswith(".")
    assert "{" not in found.sentence + found.next
