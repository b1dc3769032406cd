"""An app on Valkey: children in other shards, with hints and without, and a node that goes on where another died."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import App, Client
from perdure.sdk.workflow import Workflow
from perdure.stores.redis import hints
from servers.valkey import Valkey
from tests.stores import topic_story

PROGRAM = """
import asyncio, sys
from perdure import App, Client

app = App("shop", store=sys.argv[1])

@app.activity
async def charge(amount: int) -> int:
    with open(sys.argv[2], "a") as ledger:
        ledger.write(f"{amount}\\n")
    if sys.argv[3] == "hang":
        print("hangs", flush=True)
        await asyncio.sleep(3600)
    return amount + 1

@app.workflow
async def pay(amount: int) -> int:
    return await charge(amount)

@app.workflow
async def order(count: int) -> int:
    return sum(await asyncio.gather(*(pay(number) for number in range(count))))

async def main():
    async with app:
        if sys.argv[3] == "hang":
            await order.with_options(id="order").start(3)
            await asyncio.sleep(3600)
        else:
            async with Client(sys.argv[1]) as client:
                print(await client.get("order").result(), flush=True)

asyncio.run(main())
"""


def orders(url: str) -> tuple[App, Workflow[[int], int]]:
    app = App("shop", store=url)

    @app.activity
    async def charge(amount: int) -> int:
        return amount + 1

    @app.workflow
    async def pay(amount: int) -> int:
        return await charge(amount)

    @app.workflow
    async def order(count: int) -> int:
        return sum(await asyncio.gather(*(pay(number) for number in range(count))))

    return app, order


@pytest.mark.parametrize("is_deaf", [False, True])
def test_parents_and_children_in_many_shards_finish(
    valkey: Valkey, is_deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hints, and if every one of them is lost."""
    valkey.clear()
    if is_deaf:
        monkeypatch.setattr(hints.Hints, "tell", lambda self: None)
    app, order = orders(valkey.url("?accept_durability=C&shards=8"))

    async def play() -> None:
        async with app:
            handle = await order.start(20)
            assert await asyncio.wait_for(handle.result(), 30) == sum(range(1, 21))

    asyncio.run(play())
    with valkey.client() as client:
        assert list(client.scan_iter("perdure:{*}:out*")) == []


@pytest.mark.long
def test_another_node_finishes_what_one_that_was_killed_has_begun(valkey: Valkey, tmp_path: Path) -> None:
    valkey.clear()
    program, ledger = tmp_path / "program.py", tmp_path / "ledger"
    program.write_text(PROGRAM)
    url = valkey.url("?accept_durability=C&shards=8&lease=1")
    command = [sys.executable, str(program), url, str(ledger)]
    first = subprocess.Popen([*command, "hang"], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"hangs\n"
    first.kill()
    first.wait()
    first.stdout.close()
    second = subprocess.run([*command, "go"], stdout=subprocess.PIPE, timeout=40, check=True)
    assert second.stdout == b"6\n"
    amounts = ledger.read_text().split()
    assert set(amounts) == {"0", "1", "2"}
    assert len(amounts) <= 6, "each is attempted once more at most"


@pytest.mark.long
def test_an_app_moves_from_a_file_to_the_server_while_its_workflows_sleep(valkey: Valkey, tmp_path: Path) -> None:
    valkey.clear()
    file, url = f"sqlite:///{tmp_path}/shop.db", valkey.url("?accept_durability=C&shards=4")

    def sleepers(store: str) -> tuple[App, Workflow[[int], int]]:
        app = App("shop", store=store)

        @app.activity
        async def add(number: int) -> int:
            return number + 1

        @app.workflow
        async def slow(number: int) -> int:
            number = await add(number)
            await asyncio.sleep(1)
            return await add(number)

        return app, slow

    async def begin() -> list[str]:
        app, slow = sleepers(file)
        async with app:
            handles = [await slow.start(number) for number in range(5)]
            while min([len([event async for event in handle.history()]) for handle in handles]) < 4:
                await asyncio.sleep(0.01)
            return [handle.id for handle in handles]

    async def finish(ids: list[str]) -> list[int]:
        app, _ = sleepers(url)
        async with app, Client(url) as client:
            return [await client.get(id).result() for id in ids]

    ids = asyncio.run(begin())
    command = [sys.executable, "-m", "perdure", "move", file, url]
    subprocess.run(command, check=True, capture_output=True, timeout=40)
    assert asyncio.run(finish(ids)) == [2, 3, 4, 5, 6]


def test_topics_keep_their_order_and_their_place(valkey: Valkey) -> None:
    valkey.clear()
    asyncio.run(topic_story.tell(valkey.url("?accept_durability=C&shards=8")))
