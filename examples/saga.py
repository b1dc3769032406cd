"""Steps that are undone, last one first, when a later one fails.

python examples/saga.py
"""

import asyncio

from perdure import App, Retry, Saga, WorkflowFailed

app = App("saga")


@app.activity
async def reserve(what: str) -> str:
    print(f"reserved a {what}")
    return what


@app.activity(retry=Retry(initial_interval=0.1))  # no bound: what is reserved has to be released
async def release(what: str) -> None:
    print(f"released the {what}")


@app.activity
async def pay(amount: int, limit: int) -> None:
    if amount > limit:
        raise ValueError(f"{amount} is more than the card's {limit}")
    print(f"paid {amount}")


@app.workflow
async def book(amount: int, limit: int) -> str:
    async with Saga() as saga:
        for what in ("flight", "hotel", "car"):
            await reserve(what)
            saga.compensate(release, what)
        await pay(amount, limit)
    return "booked"


async def main() -> None:
    async with app:
        handle = await book.start(800, limit=1_000)
        print(f"first trip: {await handle.result(timeout=30)}\n")
        handle = await book.start(1_200, limit=1_000)
        try:
            await handle.result(timeout=30)
        except WorkflowFailed as error:
            print(f"second trip: {error}")


if __name__ == "__main__":
    asyncio.run(main())
