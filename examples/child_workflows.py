"""Workflows that call workflows: children whose results are awaited, and a detached one that lives on.

python examples/child_workflows.py
"""

import asyncio

from perdure import App, ChildWorkflowFailed, workflow_context

app = App("child_workflows")


@app.activity
async def carry(parcel: str) -> str:
    if parcel == "piano":
        raise ValueError("too heavy")
    return f"{parcel} delivered"


@app.workflow
async def deliver(parcel: str) -> str:
    """A workflow of its own: it has an id, a history, and can be found and cancelled by itself."""
    return await carry(parcel)


@app.workflow
async def ask_for_a_review(order: str) -> str:
    await asyncio.sleep(0.2)
    return f"review of {order} asked for by {workflow_context().instance_id}"


@app.workflow
async def order(parcels: list[str]) -> list[str]:
    outcomes = await asyncio.gather(*(deliver(parcel) for parcel in parcels), return_exceptions=True)
    me = workflow_context().instance_id
    await ask_for_a_review.with_options(id=f"{me}-review").start(me)  # `start`, so nobody waits for it
    return [f"failed: {one.type}" if isinstance(one, ChildWorkflowFailed) else str(one) for one in outcomes]


async def main() -> None:
    async with app:
        handle = await order.with_options(id="order-7").start(["lamp", "piano", "chair"])
        for line in await handle.result(timeout=30):
            print(line)
        async for child in app.client.list(parent="order-7", name="deliver"):
            print(f"child {child.id}: {child.status.value}")
        print(await app.client.get("order-7-review").result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
