"""One row that nobody can read harms its own instance alone: the others finish, new ones start, nothing spins."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from perdure import App, wait_for_event

CORRUPTIONS = {
    "head, custom status": "update head set custom_status = '{}' where id = 'w0'",
    "head, more": "update head set more = '[1]' where id = 'w0'",
    "head, stalled": "update head set stalled = '{{x' where id = 'w0'",
    "history, no JSON": "update history set events = '{{garb' where instance = 'w0'",
    "history, blob": "update history set events = x'ff00' where instance = 'w0'",
    "history, unknown event": """update history set events = '[{"type":"Never"}]' where instance = 'w0'""",
    "wait, input": "update wait set input = 'zzz' where instance = 'w0'",
    "wait, options": "update wait set options = '{{z' where instance = 'w0'",
    "mail, no JSON": "insert into mail (shard, instance, key, number, event, at) "
    "select shard, id, 'bad', 99, 'zzz', 0 from head where id = 'w0'",
}


def parted(store: str) -> App:
    app = App("parted", store=store, drain_seconds=0.1)

    @app.activity
    async def pause(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def patient(seconds: float) -> int:
        await pause(seconds)
        return await wait_for_event("go", int)

    return app


@pytest.mark.parametrize("case", CORRUPTIONS)
def test_a_row_that_cannot_be_read_harms_its_own_instance_alone(tmp_path: Path, case: str) -> None:
    path = tmp_path / "parted.db"

    async def begin() -> None:
        async with parted(f"sqlite:///{path}") as app:
            for number in range(3):
                await app.client.workflow("patient").with_options(id=f"w{number}").start(30 if number == 0 else 0)
            await asyncio.sleep(0.2)

    async def go_on() -> list[int]:
        async with asyncio.timeout(20), parted(f"sqlite:///{path}") as app:
            client = app.client
            fresh = await client.workflow("patient").with_options(id="fresh").start(0)
            handles = [client.get("w1"), client.get("w2"), fresh]
            for handle in handles:
                await handle.raise_event("go", 7)
            return [await handle.result(10) for handle in handles]

    asyncio.run(begin())
    with sqlite3.connect(path) as connection:
        assert connection.execute(CORRUPTIONS[case]).rowcount > 0
    connection.close()
    before = time.process_time()
    assert asyncio.run(go_on()) == [7, 7, 7]
    assert time.process_time() - before < 5
