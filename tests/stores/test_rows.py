"""Records as rows: what most records lack is left out at the end, and comes back as nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from perdure.codec import encode
from perdure.history.creation import creation
from perdure.history.events import RunStarted
from perdure.stores.contract import Batch, Halt, Head, Status, Turn, Wait
from perdure.stores.sql import rows, statements
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.sql.store import SqlStore

HEAD = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 1, 0, 0)
WAIT = Wait(1, "activity", "a", 0)
RARE_OF_A_HEAD = {"custom_status": encode("s"), "suspended": Halt("why", 0), "version": "v", "more": {"k": 1}}
RARE_OF_A_WAIT = {
    "due": 5, "on": "y", "token": "t", "claimed_by": "n", "claimed_until": 6, "details": encode(1), "options": b"{}",
    "failure": b"{}",
}  # fmt: skip


def test_every_length_of_a_row_has_its_statement():
    heads = [HEAD, *(msgspec.structs.replace(HEAD, **{name: value}) for name, value in RARE_OF_A_HEAD.items())]
    waits = [WAIT, *(msgspec.structs.replace(WAIT, **{name: value}) for name, value in RARE_OF_A_WAIT.items())]
    turn = Turn(shard=0, id="x", execution="e1", generation=1, expected=1, at=0)
    assert {len(rows.head_row(0, head)) for head in heads} == set(statements.INSERT_HEAD)
    assert {len(rows.head_update_row(turn, head)) for head in heads} == set(statements.REPLACE_HEAD)
    assert {len(rows.wait_row(0, "x", wait)) for wait in waits} == set(statements.INSERT_WAIT)
    assert set(statements.REPLACE_WAIT) == set(statements.INSERT_WAIT)


@pytest.mark.parametrize("name", RARE_OF_A_HEAD)
def test_what_few_heads_have_comes_and_goes(tmp_path: Path, name: str):
    rare = msgspec.structs.replace(HEAD, sequence=1, **{name: RARE_OF_A_HEAD[name]})
    plain = msgspec.structs.replace(HEAD, sequence=2)
    assert written(tmp_path, [{"head": rare}, {"head": plain}]) == [(rare, []), (plain, [])]


@pytest.mark.parametrize("name", RARE_OF_A_WAIT)
def test_what_few_waits_have_comes_and_goes(tmp_path: Path, name: str):
    rare = msgspec.structs.replace(WAIT, **{name: RARE_OF_A_WAIT[name]})
    turns = [{"opened": [WAIT]}, {"changed": [rare]}, {"changed": [WAIT]}]
    assert [waits for _, waits in written(tmp_path, turns)] == [[WAIT], [rare], [WAIT]]


def written(folder: Path, turns: list[dict]) -> list[tuple[Head, list[Wait]]]:
    """The head and waits that the store holds after each of the turns."""

    async def scenario() -> list[tuple[Head, list[Wait]]]:
        store = SqlStore(SqliteDatabase(folder / "rows.db"), InlineRunner)
        await store.open()
        (shard,) = await store.shards("shop")
        started = RunStarted(name="main", execution="e1")
        await store.create(shard, creation(msgspec.structs.replace(HEAD, sequence=0), started, "k", 0))
        (lease,) = await store.acquire("shop", "node")
        found = []
        for expected, turn in enumerate(turns):
            at = Turn(shard=shard, id="x", execution="e1", generation=1, expected=expected, at=0, **turn)
            await store.commit([Batch(lease, [at])], f"t{expected}")
            (loaded,) = await store.load(shard, ["x"])
            found.append((loaded.head, list(loaded.waits)))
        await store.close()
        return found

    return asyncio.run(scenario())
