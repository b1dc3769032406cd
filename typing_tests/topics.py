"""Topics as a checker sees them. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_type

from perdure import App, CloudEvent, ExternalEvent, Retry, TopicState, Verdict, now, publish, wait_for_event


@dataclass
class Order:
    id: str


app = App("shop", store="memory:")
paid = ExternalEvent("paid", int)


@app.workflow
async def checkout(order: Order) -> int:
    assert_type(await publish("audit", order, key=order.id, ttl=60), str)
    return await wait_for_event(paid)


@app.subscribe("audit", group="notes", retry=Retry(max_attempts=3), dead_letter="dead", in_hand_max=5)
async def note(order: Order, event: CloudEvent) -> Verdict | None:
    assert_type(event.key, str | None)
    return Verdict.DROP if order.id == "" else None


@app.subscribe("audit", begin="newest")
def count(order: Order) -> None:
    publish("counted", order.id)


app.subscribe("orders", starts=checkout, id=lambda event: str(event.data["id"]))
app.subscribe("payments", raises=paid, id="data.order")


async def outside() -> None:
    await note(Order("a"), CloudEvent(id="1", topic="audit", source="s", type="t", time=now()))
    assert_type(await app.client.publish("orders", Order("a"), key="a"), str)
    assert_type(await app.client.topics(), Sequence[TopicState])
    await app.client.forget_group("audit", "notes")
