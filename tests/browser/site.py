"""A dashboard on a real port, in a thread of its own, over an app with some of everything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from perdure import App, Retry, dashboard, set_status, wait_for_event
from perdure.remote.http.listener import HttpListener

PATIENCE_SECONDS = 60.0


class Site:
    """What a test holds of it: the address, the app, and a way to run a coroutine beside it."""

    def __init__(self, app: App, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.port = port
        self.url = f"http://localhost:{port}"
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def start(self, name: str, *arguments: Any, id: str, tags: dict[str, str] | None = None) -> None:
        async def start() -> None:
            await self.app.client.workflow(name).with_options(id=id, tags=tags).start(*arguments)

        self.run(start())

    def status(self, id: str) -> str:
        async def look() -> str:
            return (await self.app.client.get(id).state()).status.value

        return self.run(look())


@contextmanager
def served(app: App, home: Callable[[App], Any] | None = None, **options: Any) -> Iterator[Site]:
    """The app with its engine, and its dashboard, until the block ends."""
    loop = asyncio.new_event_loop()
    opened: list[Site] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with app, HttpListener(dashboard(home(app) if home else app, **options), port=0) as listener:
            opened.append(Site(app, listener.port, loop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="site")
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        loop.close()


def shop(url: str) -> App:
    """Workflows that call, wait, fail, retry, sleep and have children."""
    app = App("shop", store=url)
    tried: dict[str, int] = {}

    @app.activity
    async def charge(order: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"receipt": "r-17", "amount": order.get("amount"), "lines": order.get("items")}

    @app.activity
    async def pack(item: str) -> str:
        await asyncio.sleep(0.02)
        return f"parcel of {item}"

    @app.activity(retry=Retry(max_attempts=5, initial_interval=0.1))
    async def ship(parcels: list[str]) -> str:
        key = str(parcels)
        tried[key] = tried.get(key, 0) + 1
        if tried[key] < 2:
            raise ConnectionError("carrier.example answers 503")
        return "shipped"

    @app.activity(retry=Retry(max_attempts=50, initial_interval=3600.0))
    async def reach(host: str) -> str:
        raise ConnectionError(f"{host} answers 503")

    @app.activity
    async def refuse(card: str) -> str:
        raise ValueError(f"card {card} was declined")

    @app.workflow
    async def notify(who: str) -> str:
        return f"told {who}"

    @app.workflow
    async def checkout(order: dict[str, Any]) -> str:
        set_status({"step": "charging"})
        await charge(order)
        set_status({"step": "packing"})
        parcels = await asyncio.gather(*(pack(item) for item in order["items"]))
        set_status({"step": "approval"})
        async with asyncio.timeout(36_000):
            approved = await wait_for_event("approved")
        await ship(list(parcels))
        await notify(order["customer"])
        return f"done: {approved}"

    @app.workflow
    async def refund(card: str) -> str:
        return await refuse(card)

    @app.workflow
    async def probe(host: str) -> str:
        return await reach(host)

    @app.workflow
    async def nightly(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def waiting(value: Any) -> Any:
        set_status(value)
        return await wait_for_event("go")

    return app


async def fill(app: App) -> None:
    """Some of everything, as it stands when all has come to rest."""
    order = {"amount": 19.9, "items": ["book", "teapot", "lamp"], "customer": "ann@example.org", "note": "x" * 120}
    client = app.client
    for number in range(12):
        tags = {"region": "eu" if number % 2 else "us", "tier": "gold"}
        await client.workflow("checkout").with_options(id=f"order-{1000 + number}", tags=tags).start(order)
    for number in range(4):
        await client.workflow("refund").with_options(id=f"refund-{number}").start(f"4711-{number}")
    await client.workflow("probe").with_options(id="probe-1").start("carrier.example")
    await client.workflow("nightly").with_options(id="nightly-1").start(90_000)
    for number in range(12):
        await _until(client.get(f"order-{1000 + number}"), lambda state: state.custom_status == {"step": "approval"})
    for number in range(5):
        await client.get(f"order-{1000 + number}").raise_event("approved", {"by": "Ann"})
        await client.get(f"order-{1000 + number}").result()
    await client.get("order-1009").suspend("fraud check by Ann")
    await client.get("order-1010").cancel("no longer wanted")
    await client.get("order-1011").terminate("duplicate")
    nightly = client.workflow("nightly")
    await nightly.with_schedule("every-night", cron="0 3 * * *", timezone="Europe/Berlin").create(1)
    await nightly.with_schedule("invoices", every=3_600).create(0)
    await client.get_schedule("invoices").pause("until the new tax rates are in")


async def _until(handle: Any, condition: Callable[[Any], bool]) -> None:
    while not condition(await handle.state()):
        await asyncio.sleep(0.01)
