"""Queues and starts that are one, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_type

from perdure import App, Handle, Queue, QueueState, Rate

app = App("shop", store="memory:")
mails = Queue("mails", concurrency=10, per_key=2, rate=Rate(100, per=timedelta(minutes=1)))


@app.activity(queue=mails)
async def send(to: str) -> int:
    return len(to)


@app.workflow(queue=Queue("orders", concurrency=1))
async def checkout(order: str) -> int:
    assert_type(await send.with_options(queue=mails, key=order, priority=5)(order), int)
    assert_type(await send(order), int)
    return 1


async def drive() -> None:
    handle = await checkout.with_options(dedup_key="a", dedup_window=60).start("a")
    assert_type(handle, Handle[int])
    await checkout.with_options(queue=mails, key="a", dedup_key="a", debounce=1.0, debounce_max=10).start("a")
    assert_type(await app.client.queues(), Sequence[QueueState])
