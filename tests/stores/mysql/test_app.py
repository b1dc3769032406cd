"""Apps on MariaDB, of one process and of several."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure import App, Client
from perdure.stores.sql.mysql.database import MysqlDatabase
from servers.mariadb import running
from tests.stores import topic_story
from tests.stores.on_servers import SECONDS

pytestmark = pytest.mark.mariadb


class TestApp:
    def test_topics_keep_their_order_and_their_place(self, address: str) -> None:
        asyncio.run(topic_story.tell(address + "&shards=8"))

    def test_runs_workflows(self, address: str) -> None:
        async def play() -> None:
            shop = App("shop", store=address)

            @shop.activity
            async def double(number: int) -> int:
                return 2 * number

            @shop.workflow
            async def order(number: int) -> int:
                return await double(await double(number))

            async with shop:
                handles = [await order.start(number) for number in range(20)]
                assert [await handle.result(timeout=SECONDS) for handle in handles] == [4 * n for n in range(20)]

        asyncio.run(play())

    @pytest.mark.parametrize("has_hints", [True, False])
    def test_what_another_process_starts_is_found_with_hints_and_without(
        self, address: str, monkeypatch: pytest.MonkeyPatch, has_hints: bool
    ) -> None:
        async def nothing() -> AsyncIterator[frozenset[int]]:
            return
            yield frozenset()

        if not has_hints:
            monkeypatch.setattr(MysqlDatabase, "hints", lambda _: nothing())
        shop = App("shop", store=address)

        @shop.workflow
        async def greet(name: str) -> str:
            return f"hello {name}"

        async def play() -> None:
            async with shop, Client(address, app_id="shop") as client, asyncio.timeout(SECONDS):
                handles = [await client.workflow("greet").start(str(number)) for number in range(5)]
                assert [await handle.result() for handle in handles] == [f"hello {number}" for number in range(5)]

        asyncio.run(play())

    def test_a_server_that_crashes_under_work_loses_nothing(self) -> None:
        with running() as durable:
            shop = App("shop", store=durable.new_url())
            made: list[int] = []

            @shop.activity
            async def step(number: int) -> int:
                made.append(number)
                return number

            @shop.workflow
            async def count(to: int) -> int:
                return sum([await step(number) for number in range(to)])

            async def play() -> None:
                async with shop, asyncio.timeout(50):
                    handles = [await count.start(30) for _ in range(20)]
                    while len(made) < 100:
                        await asyncio.sleep(0.01)
                    await asyncio.to_thread(durable.kill)
                    await asyncio.to_thread(durable.start)
                    assert [await handle.result() for handle in handles] == [sum(range(30))] * 20

            asyncio.run(play())

    def test_two_processes_share_the_work_and_one_goes_on_when_the_other_is_killed(
        self, address: str, tmp_path: Path
    ) -> None:
        """Each order takes two steps; the process that did the first of some of them is killed before the second."""
        program = tmp_path / "shop.py"
        program.write_text(PROGRAM)
        environment = {**os.environ, "STORE": address + "&lease=2", "LEDGER": str(tmp_path / "ledger")}
        both = [
            subprocess.Popen([sys.executable, str(program)], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        try:
            for process in both:
                assert process.stdout is not None
                assert process.stdout.readline() == "open\n"

            async def play() -> None:
                async with Client(address + "&lease=2", app_id="shop") as client:
                    handles = [await client.workflow("order").start(n) for n in range(40)]
                    await wait_for_lines(tmp_path / "ledger", 40)
                    both[0].send_signal(signal.SIGKILL)
                    for handle in handles:
                        await handle.raise_event("go")
                    assert [await handle.result(timeout=SECONDS) for handle in handles] == list(range(40))

            asyncio.run(play())
            lines = (tmp_path / "ledger").read_text().splitlines()
            assert {line.split()[1] for line in lines} == {str(process.pid) for process in both}
        finally:
            for process in both:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


PROGRAM = """
import asyncio, os
from perdure import App, wait_for_event

shop = App("shop", store=os.environ["STORE"])


@shop.activity
async def note(number: int) -> int:
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"{number} {os.getpid()}\\n")
    return number


@shop.workflow
async def order(number: int) -> int:
    await note(number)
    await wait_for_event("go")
    return await note(number)


async def main() -> None:
    async with shop:
        print("open", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
"""


async def wait_for_lines(path: Path, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while not path.exists() or len(path.read_text().splitlines()) < count:
            await asyncio.sleep(0.02)
