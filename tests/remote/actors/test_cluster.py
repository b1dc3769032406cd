"""Actors over two servers on one store, each with a program beside it: whichever is asked, there is one of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from perdure.remote.http.listener import HttpListener
from servers.valkey import Valkey
from tests.remote.actors.test_hosting import Program, add, served

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]
ACTORS = 12
ROUNDS = 4


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


def test_calls_go_to_whoever_has_the_actor_and_outlive_a_server(valkey: Valkey) -> None:
    async def beside(stack: AsyncExitStack, program: Program):
        listening = await stack.enter_async_context(HttpListener(program.app, port=0, drain_seconds=0))
        return await stack.enter_async_context(served(valkey.url(), program, listening.port))

    async def scenario() -> None:
        one, two = Program(), Program()
        async with AsyncExitStack() as all_along:
            browser = await beside(all_along, one)
            async with AsyncExitStack() as for_a_while:
                other = await beside(for_a_while, two)
                for number in range(ROUNDS):
                    asked = [add((browser, other)[(number + id) % 2], str(id), 1) for id in range(ACTORS)]
                    assert await asyncio.gather(*asked) == [number + 1] * ACTORS
                    await asyncio.sleep(1.0)  # so that the second server gets its share meanwhile
                assert one.asked
                assert two.asked
            left = await asyncio.gather(*(add(browser, str(id), 1) for id in range(ACTORS)))
            assert left == [ROUNDS + 1] * ACTORS

    async def bounded() -> None:
        async with asyncio.timeout(100):
            await scenario()

    asyncio.run(bounded())
