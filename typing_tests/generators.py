"""Dapr's generator style, as a checker sees it."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any, assert_type

from perdure import App, Handle, WorkflowContext, when_all, when_any

app = App("shop")


@app.activity
def double(x: int) -> int:
    return 2 * x


@app.workflow
def main(ctx: WorkflowContext, x: int) -> Generator[Any, Any, list[int]]:
    first = yield ctx.call_activity(double, input=x)
    every = yield when_all([ctx.call_activity("double", input=y) for y in range(3)])
    yield when_any([ctx.create_timer(timedelta(hours=1)), ctx.wait_for_external_event("go", timeout=5.0)])
    yield ctx.call_child_workflow(child, input=1, instance_id="kid")
    ctx.set_custom_status({"first": first})
    assert_type(ctx.is_replaying, bool)
    assert_type(ctx.instance_id, str)
    return [first, *every]


@app.workflow(name="kid")
def child(ctx: WorkflowContext, x: int) -> Generator[Any, Any, None]:
    yield ctx.create_timer(timedelta(seconds=x))


async def outside() -> None:
    handle = await main.start(1)
    assert_type(handle, Handle[list[int]])
    assert_type(await handle.result(), list[int])
    await main.start("one")  # type: ignore[arg-type]
