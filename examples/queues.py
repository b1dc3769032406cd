"""How much at once, and for whom: a queue with slots for each customer; web hooks that come twice and start one.

python examples/queues.py
"""

import asyncio

from perdure import App, Queue, Rate

app = App("queues")
mails = Queue("mails", concurrency=4, per_key=2, rate=Rate(500, per=1.0))
inside: list[str] = []
most: dict[str, int] = {}


@app.activity(queue=mails)
async def send(customer: str, number: int) -> int:
    inside.append(customer)
    most[customer] = max(most.get(customer, 0), inside.count(customer))
    most["all"] = max(most.get("all", 0), len(inside))
    await asyncio.sleep(0.01)
    inside.remove(customer)
    return number


@app.workflow
async def newsletter(customer: str, readers: int) -> int:
    calls = [send.with_options(key=customer)(customer, number) for number in range(readers)]
    return len(await asyncio.gather(*calls))


@app.workflow
async def charge(order: str) -> str:
    return f"charged {order}"


async def main() -> None:
    async with app:
        customers = {"acme": 20, "bell": 10, "corp": 5}
        handles = [await newsletter.start(customer, readers) for customer, readers in customers.items()]
        print("sent", sum([await handle.result() for handle in handles]))
        print("never more at once than 4:", most["all"] <= 4, "and of acme than 2:", most["acme"] <= 2)
        once = charge.with_options(dedup_key="hook-1", dedup_window=60)
        hooks = [await once.start("order 7") for _ in range(3)]
        print({await hook.result() for hook in hooks}, "by", len({hook.id for hook in hooks}))


if __name__ == "__main__":
    asyncio.run(main())
