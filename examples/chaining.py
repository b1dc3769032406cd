"""Steps one after the other, each with the result of the one before; a step that fails is retried.

    python examples/chaining.py

Kill it at any moment and start it again: finished steps are not repeated. Its state lies in chaining.db.
"""

import asyncio
from dataclasses import dataclass

from perdure import App, Retry, activity_context

app = App("chaining")


@dataclass
class Order:
    item: str
    amount: int


@dataclass
class Receipt:
    order: Order
    cents: int


@app.activity
async def price(order: Order) -> int:
    return order.amount * 250


@app.activity(retry=Retry(max_attempts=5, initial_interval=0.1))
async def charge(cents: int) -> str:
    attempt = activity_context()
    if attempt.attempt < 3:
        print(f"attempt {attempt.attempt}: the bank does not answer")
        raise ConnectionError("no answer")
    print(f"attempt {attempt.attempt}: {cents / 100:.2f} charged")
    return attempt.idempotency_key  # the same in every attempt: the bank can tell that it is one payment


@app.activity
def ship(item: str, amount: int) -> None:  # a plain `def` runs in a thread
    print(f"shipped {amount} x {item}")


@app.workflow
async def checkout(order: Order) -> Receipt:
    cents = await price(order)
    await charge(cents)
    await ship(order.item, amount=order.amount)
    return Receipt(order, cents)


async def main() -> None:
    async with app:
        handle = await checkout.start(Order("teapot", 3))
        receipt = await handle.result(timeout=30)
        print(f"receipt: {receipt}")


if __name__ == "__main__":
    asyncio.run(main())
