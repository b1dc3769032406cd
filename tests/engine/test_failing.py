"""Failures in groups, and a group that is made to run again."""

from __future__ import annotations

import asyncio

import pytest

from perdure import App, Client, WorkflowFailed
from perdure.errors import InvalidArgument


class Shop:
    """An app whose workflow fails for some orders while it is broken."""

    def __init__(self, url):
        self.url = url
        self.app = App("shop", store=url)
        self.broken = True
        self.open = asyncio.Event()
        self.open.set()
        self.ran: list[int] = []

        @self.app.activity
        async def charge(order: int) -> int:
            self.ran.append(order)
            if self.broken:
                raise ConnectionError(f"the bank refused order {order}")
            await self.open.wait()
            return order

        @self.app.workflow
        async def checkout(order: int) -> int:
            return await charge(order)

        @self.app.workflow
        async def refund() -> None:
            raise LookupError("nothing to refund")

        self.checkout, self.refund = checkout, refund

    async def fail(self, orders: int) -> None:
        handles = [await self.checkout.with_options(id=f"order-{n}").start(n) for n in range(orders)]
        handles.append(await self.refund.with_options(id="r-1").start())
        for handle in handles:
            with pytest.raises(WorkflowFailed):
                await handle.result(30)
        self.ran.clear()


@pytest.fixture
def shop(url):
    return Shop(url)


def test_the_same_failure_of_several_instances_is_one_group(run, shop):
    async def scenario():
        async with shop.app:
            await shop.fail(3)
            large, small = await shop.app.client.failures()
            assert (large.count, large.ids) == (3, ["order-0", "order-1", "order-2"])
            assert large.sentence == "ConnectionError: the bank refused order <n>"
            assert large.place is not None
            assert large.place.endswith("in charge")
            assert small.sentence == "LookupError: nothing to refund"
            assert [group.count for group in await shop.app.client.failures(name="refund")] == [1]
            assert [group.count for group in await shop.app.client.failures(limit=1)] == [1]

    run(scenario)


def test_a_group_is_rerun_once_its_canary_has_come_through(run, shop):
    async def scenario():
        async with shop.app:
            client = shop.app.client
            await shop.fail(40)
            group = (await client.failures())[0]
            shop.broken = False
            done = await client.retry_failures(group.fingerprint, canary_seconds=20)
            assert (done.canary, done.count, done.hitch, done.refused) == ("order-0.rerun", 40, None, [])
            for n in range(40):
                assert await client.get(f"order-{n}.rerun").result(30) == n
            assert shop.ran[0] == 0
            assert sorted(shop.ran) == list(range(40))
            again = await client.retry_failures(group.fingerprint, canary_seconds=20)
            assert again.count == 0
            assert len(shop.ran) == 40
            assert (await client.failures())[0].rerun == 40

    run(scenario)


def test_the_others_wait_if_the_canary_fails(run, shop):
    async def scenario():
        async with shop.app:
            client = shop.app.client
            await shop.fail(5)
            group = (await client.failures())[0]
            done = await client.retry_failures(group.fingerprint, canary_seconds=20)
            assert done.count == 1
            assert "the bank refused order 0" in done.hitch
            assert shop.ran == [0]

    run(scenario)


def test_a_canary_that_is_under_way_is_waited_for_and_not_begun_again(run, shop, monkeypatch):
    get = Client.get

    def got(client, id):
        shop.open.set()  # not before the canary is chosen, because one that has come through is none any more
        return get(client, id)

    async def scenario():
        async with shop.app:
            await shop.fail(3)
            fingerprint = (await shop.app.client.failures())[0].fingerprint
        async with Client(shop.url, app_id="shop") as outside:
            for _ in range(2):  # because nobody runs it, both calls give up on the same canary
                done = await outside.retry_failures(fingerprint, canary_seconds=0.05)
                assert done.hitch is not None
                assert "order-0.rerun has not finished within 0.05 s" in done.hitch
                assert (await outside.failures())[0].going == ["order-0.rerun"]
        shop.broken = False
        shop.open.clear()
        async with shop.app:
            monkeypatch.setattr(type(shop.app.client), "get", got)
            done = await shop.app.client.retry_failures(fingerprint, canary_seconds=20)
            assert (done.canary, done.hitch) == ("order-0.rerun", None)
            await asyncio.gather(*(shop.app.client.get(f"order-{n}.rerun").result(30) for n in range(3)))
            assert sorted(shop.ran) == [0, 1, 2]

    run(scenario)


def test_an_unknown_fingerprint_is_refused(run, shop):
    async def scenario():
        async with shop.app:
            with pytest.raises(InvalidArgument, match="no failure has the fingerprint 'nonsense'"):
                await shop.app.client.retry_failures("nonsense")

    run(scenario)


def test_stalled_instances_are_resumed_after_one_of_them_has_come_through(run, url):
    app = App("shop", store=url)
    broken = [True]

    @app.workflow
    async def order() -> str:
        while broken[0]:
            await asyncio.sleep(0)
        return "done"

    async def scenario():
        async with app:
            client = app.client
            handles = [await order.with_options(id=f"o{n}").start() for n in range(2)]
            async with asyncio.timeout(30):
                while len([state async for state in client.list(stalled=True)]) < 2:
                    await asyncio.sleep(0.02)
            (group,) = await client.failures()
            assert group.is_stalled
            assert group.sentence.startswith("turn-too-long")
            done = await client.retry_failures(group.fingerprint, canary_seconds=0.5)
            assert done.count == 1
            assert "still stands still (turn-too-long)" in done.hitch
            broken[0] = False
            done = await client.retry_failures(group.fingerprint, canary_seconds=20)
            assert (done.count, done.hitch) == (2, None)
            assert [await handle.result(30) for handle in handles] == ["done", "done"]
            assert await client.failures() == []

    run(scenario)
