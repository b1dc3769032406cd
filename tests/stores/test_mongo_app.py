"""An app on MongoDB's protocol: children in other shards, with hints and without; one node goes on for another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.stores.mongo import hints
from servers.mongo import Mongo
from tests.stores import topic_story
from tests.stores.test_redis_app import PROGRAM, orders

pytestmark = pytest.mark.long


@pytest.mark.parametrize("is_deaf", [False, True])
def test_parents_and_children_in_many_shards_finish(
    mongo: Mongo, is_deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hints, and if every one of them is lost."""
    mongo.clear()
    if is_deaf:
        monkeypatch.setattr(hints.Hints, "tell", lambda self: None)
    app, order = orders(mongo.url("?assume_durable=yes&shards=4"))

    async def play() -> None:
        async with app:
            handle = await order.start(10)
            assert await asyncio.wait_for(handle.result(), 40) == sum(range(1, 11))

    asyncio.run(play())
    with mongo.client() as client:
        assert client.shop.perdure_heads.count_documents({"flags": {"$all": ["sends"]}}) == 0


def test_another_node_finishes_what_one_that_was_killed_has_begun(mongo: Mongo, tmp_path: Path) -> None:
    mongo.clear()
    program, ledger = tmp_path / "program.py", tmp_path / "ledger"
    program.write_text(PROGRAM)
    url = mongo.url("?assume_durable=yes&shards=2&lease=1")
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


def test_topics_keep_their_order_and_their_place(mongo: Mongo) -> None:
    mongo.clear()
    # from an app, because this server confuses the answers to a client that asks it two things at once all the time
    asyncio.run(topic_story.tell(mongo.url("?assume_durable=yes&shards=2"), publishes_outside=False))
