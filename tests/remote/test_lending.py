"""Two servers of an app whose workers have different code: who owns a run lends its work to who has the code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw

from perdure import App
from perdure.codec import JSON, Payload
from perdure.engine import peers
from perdure.engine.lender import Loan
from perdure.history.actions import CompleteRun, ScheduleActivity
from perdure.history.lending import is_lender
from perdure.history.reports import GIVEN_BACK
from perdure.history.state import Explanation
from perdure.remote.requests import Filters, TurnItem
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.codec import MICROSOFT
from perdure.stores.contract import Query
from perdure.stores.memory import MemoryStore
from tests.remote.peer import Peer, Stream, json, text, until

CHARGE = ScheduleActivity(number=1, name="charge", input=json("7"))
DONE = CompleteRun(number=-1, status="completed", output=json('"paid"'))
REFUND = Filters(workflows={"refund": frozenset()}, activities={"pay_back": frozenset()})
CHECKOUT = Filters(workflows={"checkout": frozenset()}, activities={"charge": frozenset()})
LEASE_SECONDS = 1.5


class Pair:
    """Two servers: the worker of `owner` has no code of checkouts, and `order` is one that it owns."""

    def __init__(self, owner: Server, other: Server, one: Peer, two: Peer) -> None:
        self.owner = owner
        self.other = other
        self.one = one
        self.two = two
        self.idle = one.work(filters=REFUND, worker="idle")
        self.able = two.work(filters=CHECKOUT, worker="able")

    def engine(self, server: Server) -> Any:
        return server.hosted._engines["shop"]

    @property
    def order(self) -> str:
        owns = self.engine(self.owner).owner_of
        return next(id for id in (f"order-{number}" for number in range(100)) if owns(id) is not None)

    async def begin(self) -> str:
        """Start a checkout once each server has a share and knows of the other's workers."""
        await until(lambda: len(self.engine(self.owner).owned) == len(self.engine(self.other).owned) == 1)
        await self.know()
        id = self.order
        await self.one.start("checkout", id)
        return id

    async def know(self) -> None:
        await until(lambda: all(self.engine(server).peers.takes for server in (self.owner, self.other)))

    async def ended(self, id: str) -> str | None:
        view = await self.one.ended(id)
        return f"{view.status} {text(view.output)}"

    async def told(self, id: str, server: Server | None = None) -> Explanation:
        return await (await (server or self.owner).hosted.operations("shop")).explain(id)

    async def caused(self, id: str, cause: str, server: Server | None = None) -> Explanation:
        async def look() -> Explanation | None:
            found = await self.told(id, server)
            return found if found.cause == cause else None

        found: Explanation = await until(look)
        return found

    async def loans(self) -> int:
        store = self.owner.hosted.store
        found = 0
        for shard in await store.shards("shop"):
            page = await store.find(Query(app="shop", kind=None, shard=shard), None, 100)
            for head in page.heads:
                found += len(await store.waits(shard, head.id)) if is_lender(head.id) else 0
        return found


@asynccontextmanager
async def serving(store: MemoryStore) -> AsyncIterator[Server]:
    listeners = (Listener(app_id="shop", grpc_port=0, http_port=None),)
    server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0))
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def pair(test: Callable[[Pair], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    """A test with two servers on one store."""

    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(peers, "LOOK_SECONDS", 0.05)

        async def play() -> None:
            store = MemoryStore(2, LEASE_SECONDS)
            async with AsyncExitStack() as stack:
                servers = [await stack.enter_async_context(serving(store)) for _ in range(2)]
                peers = [
                    await stack.enter_async_context(Peer(server.listeners[0].grpc_port, MICROSOFT))
                    for server in servers
                ]
                await test(Pair(*servers, *peers))

        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@pair
async def test_turns_and_attempts_go_to_the_server_whose_worker_has_the_code(pair: Pair) -> None:
    id = await pair.begin()
    await pair.two.answer(await pair.able.turn(), CHARGE)
    await pair.two.finish(await pair.able.activity(), "8")
    await pair.two.answer(await pair.able.turn(), DONE)
    assert await pair.ended(id) == 'completed "paid"'
    async with asyncio.timeout(10):
        while await pair.loans():
            await asyncio.sleep(0.01)


@pair
async def test_answers_to_lent_work_may_come_to_its_owner(pair: Pair) -> None:
    id = await pair.begin()
    await pair.one.answer(await pair.able.turn(), CHARGE)
    await pair.one.finish(await pair.able.activity(), "8")
    await pair.one.answer(await pair.able.turn(), DONE)
    assert await pair.ended(id) == 'completed "paid"'
    await until(lambda: not pair.other.hosted.dispatcher.is_out)


async def answers_anew(pair: Pair, first: TurnItem, second: Stream) -> None:
    """A worker gets the turn that another one has had, under another token, and the old one's answer is refused."""
    turn = await second.turn()
    assert (turn.instance, turn.token == first.token) == (first.instance, False)
    stale = CompleteRun(number=-1, status="completed", output=json('"stale"'))
    for peer in (pair.one, pair.two):
        await peer.answer(first, stale)
    await pair.two.answer(turn, DONE)
    assert await pair.ended(first.instance) == 'completed "paid"'


@pair
async def test_a_turn_whose_worker_has_left_is_lent_anew(pair: Pair) -> None:
    await pair.begin()
    first = await pair.able.turn()
    pair.able.leave()
    await until(lambda: not pair.other.hosted.dispatcher.streams)
    await answers_anew(pair, first, pair.two.work(filters=CHECKOUT))


@pytest.mark.long
@pair
async def test_a_turn_whose_worker_has_left_another_one_behind_is_lent_anew(pair: Pair) -> None:
    await pair.begin()
    first = await pair.able.turn()
    second = pair.two.work(filters=CHECKOUT)
    await until(lambda: len(pair.other.hosted.dispatcher.streams) == 2)
    pair.able.leave()
    await answers_anew(pair, first, second)


@pair
async def test_a_worker_that_comes_to_the_owner_gets_what_the_other_server_had(pair: Pair) -> None:
    id = await pair.begin()
    await pair.two.answer(await pair.able.turn(), CHARGE)
    stale = await pair.able.activity()
    pair.able.leave()
    here = pair.one.work(filters=CHECKOUT)
    await pair.one.finish(await here.activity(), "8")
    await pair.two.finish(stale, "9")
    await pair.one.answer(await here.turn(), DONE)
    assert await pair.ended(id) == 'completed "paid"'


@pair
async def test_a_run_that_is_terminated_takes_its_turn_back(pair: Pair) -> None:
    id = await pair.begin()
    turn = await pair.able.turn()
    await pair.one.terminate(id)
    assert await pair.ended(id) == "terminated null"
    await pair.two.answer(turn, DONE)
    assert await pair.ended(id) == "terminated null"
    await until(lambda: not pair.other.hosted.dispatcher.is_out)
    async with asyncio.timeout(10):
        while await pair.loans():
            await asyncio.sleep(0.01)


@pair
async def test_the_owner_that_leaves_takes_its_loans_along(pair: Pair) -> None:
    id = await pair.begin()
    stale = await pair.able.turn()
    await pair.owner.close()
    turn = await pair.able.turn()
    assert turn.token != stale.token
    await pair.two.answer(stale, CompleteRun(number=-1, status="completed", output=json('"stale"')))
    await pair.two.answer(turn, DONE)
    view = await pair.two.ended(id)
    assert text(view.output) == '"paid"'


@pair
async def test_what_a_lost_shard_had_lent_is_called_off(pair: Pair) -> None:
    id = await pair.begin()
    await pair.able.turn()
    engine, ended = pair.engine(pair.owner), []
    shard = engine.owner_of(id)
    loan = Loan("perdure.lend.nobody", Payload(JSON, None, Raw(b"1")), None, ended.append)
    engine.lend(id, loan)
    await until(lambda: loan.place)
    async with asyncio.timeout(10):
        while await pair.loans() < 2:
            await asyncio.sleep(0.01)
    await pair.one.terminate(id)  # so that nothing is lent anew, which would load the lender
    engine._ownership.lost(shard, "a test")
    async with asyncio.timeout(20):
        while await pair.loans():
            await asyncio.sleep(0.01)
    assert [failure.type for failure in ended] == [GIVEN_BACK]


@pair
async def test_operations_of_an_entity_go_to_the_server_whose_worker_has_its_code(pair: Pair) -> None:
    await until(lambda: len(pair.engine(pair.owner).owned) == 1)
    pair.two.work(filters=Filters(entities=frozenset(("counter",))))
    await pair.know()
    owns = pair.engine(pair.owner).owner_of
    id = next(id for id in (f"@counter@{number}" for number in range(100)) if owns(id) is not None)
    await pair.engine(pair.owner).operations.entities.signal(id, "add", "r1")
    found = await pair.caused(id, "lent")
    assert "no worker of its server" in found.sentence


@pair
async def test_explain_tells_of_all_servers_whoever_is_asked(pair: Pair) -> None:
    id = await pair.begin()
    await pair.able.turn()
    for server in (pair.owner, pair.other):
        told = await pair.caused(id, "lent", server)
        owner, other = (pair.engine(one).owner for one in (pair.owner, pair.other))
        assert f"no worker of its server {owner} has workflow checkout, so it is lent" in told.sentence
        assert other in told.sentence
    await pair.one.start("ghost", "ghost-1")
    await pair.one.start("ghost", "ghost-2")
    for server in (pair.owner, pair.other):
        for id in ("ghost-1", "ghost-2"):
            told = await pair.caused(id, "no-code", server)
            assert told.sentence == (
                f"ghost {id} has not begun: no worker of any of the 2 servers of app shop has workflow ghost."
            )


def lines(url: str) -> App:
    """A worker with an activity that yields."""
    app = App("shop", server=url, drain_seconds=0.0)

    @app.activity
    async def lines(count: int):
        for number in range(count):
            yield number

    return app


@pytest.mark.long
@pair
async def test_an_activity_that_yields_waits_for_a_worker_at_the_owner(pair: Pair) -> None:
    id = await pair.begin()
    async with lines(f"grpc://127.0.0.1:{pair.two.port}"):
        await pair.two.answer(await pair.able.turn(), ScheduleActivity(number=1, name="lines", input=json("3")))
        told = await pair.caused(id, "no-worker")
        assert "activity lines yields, which takes a worker at the server that owns its run" in told.sentence
    async with lines(f"grpc://127.0.0.1:{pair.one.port}"):
        await pair.two.answer(await pair.able.turn(), DONE)
    assert await pair.ended(id) == 'completed "paid"'
