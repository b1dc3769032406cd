"""What single stores of values have of their own: their files, formats, and what they say when a server is away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from perdure import App
from perdure.errors import (
    EtagMismatch,
    ForkedEngine,
    InvalidArgument,
    NotOpen,
    StoreError,
    StoreNotUsable,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores.values.contract import FORMAT, SWEEP_ROWS, Delete, Operation, Put, StateStore
from perdure.stores.values.opening import open_values
from perdure.stores.values.plan import Kind, steps_of
from perdure.stores.values.sqlite import CALLS_PER_TRANSACTION_MAX
from perdure.stores.values.undone import TRIES_MAX, Undone, until_done
from servers.valkey import Valkey


def told(url: str, story: Callable[[StateStore], Awaitable[None]]) -> None:
    async def play() -> None:
        store = open_values(url, "own")
        await store.open()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(play())


async def nothing(store: StateStore) -> None:
    """Opening is enough."""


@pytest.mark.parametrize(
    "url, kind",
    [
        ("oracle://h/d", InvalidArgument),
        ("sqlite://host/a.db", InvalidArgument),
        ("sqlite:///", InvalidArgument),
        ("sqlite:///a.db?mode=ro", UnknownConfiguration),
        ("sqlite:///a.db?synchronous=off", UnknownConfiguration),
        ("redis://h/x", InvalidArgument),
        ("postgresql://h", InvalidArgument),
        ("mysql://h/d", InvalidArgument),
        ("mongodb://", InvalidArgument),
    ],
)
def test_an_address_that_is_none(url: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        open_values(url)


@pytest.mark.parametrize(
    "operation, kind",
    [
        (Put("a", b""), Kind.PUT),
        (Put("a", b"", first_write=True), Kind.PUT_FIRST),
        (Put("a", b"", etag="e"), Kind.PUT_OVER),
        (Put("a", b"", etag="e", first_write=True), Kind.PUT_OVER),
        (Delete("a"), Kind.DELETE),
        (Delete("a", etag="e"), Kind.DELETE_OF),
    ],
)
def test_which_step_does_an_operation(operation: Operation, kind: Kind) -> None:
    (step,) = steps_of([operation])
    assert step.kind is kind
    assert (step.expected == "e") == kind.is_conditional or kind is Kind.PUT_FIRST


def test_steps_go_by_key_and_those_of_one_key_as_they_came() -> None:
    steps = steps_of([Put("b", b"1"), Put("a", b"2"), Delete("b"), Put("a", b"3", ttl=0.0011)])
    assert [(step.key, step.value) for step in steps] == [("a", b"2"), ("a", b"3"), ("b", b"1"), ("b", b"")]
    assert [step.ttl for step in steps] == [None, 1, None, None]
    assert len({step.etag for step in steps}) == 4 or steps[-1].etag == ""


def test_a_transaction_that_is_undone_is_begun_anew_within_a_bound() -> None:
    tried = []

    async def work() -> None:
        tried.append(1)
        if len(tried) % 5:
            raise Undone("the database", ValueError())

    asyncio.run(until_done(work))
    assert len(tried) == 5

    async def never() -> None:
        tried.append(1)
        raise Undone("the database", ValueError())

    tried.clear()
    with pytest.raises(StoreUnavailable, match="undid a transaction"):
        asyncio.run(until_done(never))
    assert len(tried) == TRIES_MAX


# -- SQLite --------------------------------------------------------------------------------------------------------


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    told(url, nothing)
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("update perdure_values_meta set format = ?", (FORMAT + 1,))
    database.close()
    with pytest.raises(StoreVersion, match="install a later perdure"):
        told(url, nothing)


def test_a_file_that_is_no_database_or_in_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database, but some text that is long enough to be looked at" * 20)
    for url in (f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/nowhere/a.db"):
        with pytest.raises(StoreError):
            told(url, nothing)


def test_many_calls_share_a_transaction_and_the_refused_ones_harm_no_other(tmp_path: Path) -> None:
    async def story(store: StateStore) -> None:
        calls = CALLS_PER_TRANSACTION_MAX * 2 + 10
        puts = [
            store.apply([Put(f"half{n}", b"1"), Put(f"key{n}", b"1", etag="wrong" if n % 3 == 0 else None)])
            for n in range(calls)
        ]
        ends = await asyncio.gather(*puts, return_exceptions=True)
        assert [n for n, end in enumerate(ends) if isinstance(end, EtagMismatch)] == list(range(0, calls, 3))
        found = await store.get([f"half{n}" for n in range(calls)])
        assert [n for n, item in enumerate(found) if item is None] == list(range(0, calls, 3))

    told(f"sqlite:///{tmp_path}/a.db", story)


def test_a_call_that_is_given_up_harms_no_other(tmp_path: Path) -> None:
    async def story(store: StateStore) -> None:
        tasks = [asyncio.ensure_future(store.apply([Put(f"key{n}", b"1")])) for n in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, end in enumerate(ends) if end is not None] == [3]

    told(f"sqlite:///{tmp_path}/a.db", story)


def test_a_sweep_is_bounded(tmp_path: Path) -> None:
    async def story(store: StateStore) -> None:
        for first in range(0, SWEEP_ROWS + 10, 100):
            await store.apply([Put(f"{first + n}", b"1", ttl=0.001) for n in range(100)])
        await asyncio.sleep(0.05)
        assert await store.sweep() == SWEEP_ROWS
        assert await store.sweep() == 100
        assert await store.sweep() == 0

    told(f"sqlite:///{tmp_path}/a.db", story)


def test_what_comes_while_the_store_opens_or_closes_is_told_that_it_is_not_open(tmp_path: Path) -> None:
    store = open_values(f"sqlite:///{tmp_path}/a.db", "own")

    async def refused_during(change: Awaitable[None]) -> None:
        changing = asyncio.ensure_future(change)
        await asyncio.sleep(0)
        while not changing.done():
            with pytest.raises(NotOpen):
                await store.sweep()
            with pytest.raises(NotOpen):
                await store.apply([Put("key", b"1")])
            await asyncio.sleep(0)
        await changing

    async def play() -> None:
        await refused_during(store.open())
        assert await store.sweep() == 0
        await refused_during(store.close())

    asyncio.run(play())


def test_a_process_that_was_forked_is_told(tmp_path: Path) -> None:
    async def story(store: StateStore) -> None:
        child = os.fork()
        if not child:
            code = 1
            try:
                await store.get(["a"])
            except ForkedEngine:
                try:
                    await store.apply([Put("a", b"1")])
                except ForkedEngine:
                    await store.close()  # which leaves what is the parent's alone
                    code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await store.apply([Put("a", b"1")])

    told(f"sqlite:///{tmp_path}/a.db", story)


def test_a_store_of_workflows_and_one_of_values_share_a_file_while_both_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    app = App("shop", store=url)

    @app.workflow
    async def echo(n: int) -> int:
        return n

    async def story(store: StateStore) -> None:
        async with app:
            writes = [store.apply([Put(f"key{n}", b"1")]) for n in range(50)]
            runs = [(await echo.start(n)).result() for n in range(50)]
            ends = await asyncio.gather(*writes, *runs)
            assert ends[50:] == list(range(50))
        assert None not in await store.get([f"key{n}" for n in range(50)])

    told(url, story)


# -- servers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "postgresql://u@127.0.0.1:1/d", "mysql://u@127.0.0.1:1/d"])
def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(StoreUnavailable):
        told(url, nothing)


def test_a_server_that_went_and_came_back(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey", "always")

    async def story(store: StateStore) -> None:
        await store.apply([Put("a", b"1")])
        server.kill()
        with pytest.raises(StoreUnavailable):
            await store.apply([Put("a", b"2")])
        server.restart()
        (found,) = await store.get(["a"])
        assert found is not None
        await store.apply([Put("a", b"3", etag=found.etag)])

    try:
        told(server.url(), story)
    finally:
        server.stop()


def test_values_of_a_later_version_on_a_server(valkey: Valkey) -> None:
    told(valkey.url(), nothing)
    valkey.client().set("perdure:{values-own}:format", str(FORMAT + 1))
    with pytest.raises(StoreVersion):
        told(valkey.url(), nothing)
    valkey.client().delete("perdure:{values-own}:format")


def test_a_database_that_refuses_is_not_taken_for_one_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreNotUsable):
        told(f"sqlite:///{tmp_path}/folder", nothing)
