"""Two servers of one app on one store: a worker at either is given the messages of both, and is heard through both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from perdure import App, Client, Retry, activity_context
from servers.valkey import Valkey
from tests.remote.balancers import RequestBalancer
from tests.remote.native.serving import served

pytestmark = pytest.mark.long
SECONDS = 60.0
COUNT = 40


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server.url("?accept_durability=C&lease=2")
    server.stop()


def made() -> App:
    app = App("shop")

    @app.workflow
    async def checkout(number: int) -> int:
        return number

    return app


def test_a_worker_at_one_server_handles_what_lies_on_the_other(store: str) -> None:
    plain, subscribed = made(), made()
    got: set[int] = set()
    subscribed.subscribe("orders", starts=subscribed.definitions.workflows["checkout"], id="order-{data}")

    @subscribed.subscribe("orders")
    async def handle(number: int) -> None:
        got.add(number)

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), served(store) as first, served(store) as second:
            await plain.open(server=first.url)
            await subscribed.open(server=second.url)
            engines = [each.server.hosted._engines["shop"] for each in (first, second)]
            while not all(engine.owned for engine in engines):
                await asyncio.sleep(0.05)
            async with Client(first.url) as client:
                for number in range(COUNT):
                    await client.publish("orders", number, key=str(number))
                while sum(group.left for topic in await client.topics() for group in topic.groups):
                    await asyncio.sleep(0.05)
                results = [await client.get(f"order-{number}").result() for number in range(COUNT)]
            assert results == list(range(COUNT))
            await subscribed.close()
            await plain.close()

    asyncio.run(scenario())
    assert got == set(range(COUNT))


def test_what_workers_say_of_their_attempts_is_heard_whichever_server_it_comes_to(store: str) -> None:
    made, called_off = Counter[int](), asyncio.Event()

    def worker() -> App:
        app = App("shop")

        @app.activity
        async def copy(number: int) -> int:
            made[number] += 1
            try:
                for _ in range(10):
                    activity_context().heartbeat()
                    await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                called_off.set()
                raise
            return number

        @app.activity(retry=Retry(max_attempts=1))
        async def count(number: int) -> AsyncIterator[int]:
            made[number] += 1
            for each in range(5):
                yield each

        @app.workflow
        async def work(number: int) -> list[int]:
            return list(await asyncio.gather(copy(number), count(-number)))

        return app

    async def works(client: Client) -> None:
        handles = [await client.workflow("work").start(number) for number in range(1, 7)]
        results = asyncio.gather(*(handle.result() for handle in handles))
        ended = asyncio.ensure_future(called_off.wait())
        await asyncio.wait({results, ended}, return_when=asyncio.FIRST_COMPLETED)
        assert not ended.done()
        assert await results == [[number, 5] for number in range(1, 7)]
        ended.cancel()

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), served(store) as first, served(store) as second:
            ports = [each.server.listeners[0].grpc_port for each in (first, second)]
            async with (
                RequestBalancer(ports, 0) as one,
                RequestBalancer(ports, 1) as other,
                Client(first.url) as client,
            ):
                workers = [worker(), worker()]
                for app, proxy in zip(workers, (one, other), strict=True):
                    await app.open(server=f"grpc://127.0.0.1:{proxy.port}")
                engines = [each.server.hosted._engines["shop"] for each in (first, second)]
                while not all(engine.owned for engine in engines):
                    await asyncio.sleep(0.05)
                try:
                    await works(client)
                finally:
                    for app in workers:
                        await app.close()
        assert set(made.values()) == {1}

    asyncio.run(scenario())
