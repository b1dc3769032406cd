"""Steps that happen exactly once, and starts within a transaction of the caller's."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure import (
    ActivityFailed,
    App,
    Client,
    InstanceExists,
    Queue,
    Rate,
    Retry,
    Transaction,
    activity_context,
    wait_for_event,
)
from perdure.engine import transact
from perdure.engine.transact import Transacting
from perdure.errors import InvalidArgument, OnlyInWorkflow, StoreFull, StoreNotUsable
from perdure.stores.sql.store import SqlStore

ACCOUNTS = "create table account (name text primary key, balance integer not null check (balance >= 0))"


@pytest.fixture
def file(tmp_path):
    """A database of the user's own, with tables of its own."""
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as db:
        db.execute(ACCOUNTS)
        db.execute("insert into account values ('ada', 100), ('bob', 0)")
    return path


@pytest.fixture
def app(file):
    return App("bank", store=f"sqlite:///{file}?shared=yes")


@pytest.fixture
def transfer(app):
    @app.transaction
    def move(db: Transaction, source: str, target: str, amount: int) -> int:
        db.execute("update account set balance = balance - ? where name = ?", (amount, source))
        db.execute("update account set balance = balance + ? where name = ?", (amount, target))
        ((left,),) = db.execute("select balance from account where name = ?", (source,))
        return left

    @app.workflow
    async def transfer(source: str, target: str, amount: int) -> int:
        return await move(source, target, amount)

    return transfer


def balances(file: Path) -> dict[str, int]:
    with sqlite3.connect(file) as db:
        return dict(db.execute("select name, balance from account"))


def test_a_step_commits_with_its_result(run, app, transfer, file):
    async def scenario():
        async with app:
            handle = await transfer.start("ada", "bob", 30)
            assert await handle.result(30) == 70
            (done,) = [event async for event in handle.history() if type(event).__name__ == "ActivityCompleted"]
            return done.guarantee

    assert run(scenario) == "exactly-once"
    assert balances(file) == {"ada": 70, "bob": 30}


def test_a_step_that_raises_leaves_nothing(run, app, transfer, file):
    async def scenario():
        async with app:
            with pytest.raises(Exception, match="IntegrityError") as failed:
                await (await transfer.start("ada", "bob", 101)).result(30)
            assert isinstance(failed.value.__cause__, Exception)
            assert await (await transfer.start("ada", "bob", 1)).result(30) == 99

    run(scenario)
    assert balances(file) == {"ada": 99, "bob": 1}


def test_a_failed_step_is_retried_by_its_policy(run, app, file):
    tries = []

    @app.transaction(retry=Retry(max_attempts=3, initial_interval=0.01))
    def credit(db: Transaction, name: str) -> int:
        db.execute("update account set balance = balance + 1 where name = ?", (name,))
        tries.append(activity_context().attempt)
        if len(tries) < 3:
            raise LookupError("not yet")
        return len(tries)

    @app.workflow
    async def credited() -> int:
        return await credit("bob")

    async def scenario():
        async with app:
            return await (await credited.start()).result(30)

    assert run(scenario) == 3
    assert tries == [1, 2, 3]
    assert balances(file)["bob"] == 1


@pytest.mark.parametrize(
    "sql",
    [
        "commit",
        "rollback",
        "savepoint mine",
        "begin",
        "attach ':memory:' as other",
        "pragma synchronous = off",
        "delete from perdure_head",
        "update perdure_wait set state = 'held'",
        "insert into perdure_tag (shard, instance, key, value, app, created) values (1, 'a', 'b', 'c', 'd', 1)",
        "drop table perdure_mail",
        "alter table perdure_mail add column x",
        "create trigger t after insert on perdure_mail begin select 1; end",
    ],
)
def test_a_step_can_neither_end_its_transaction_nor_touch_the_engine(run, app, transfer, sql):
    @app.transaction
    def wild(db: Transaction) -> None:
        db.execute("update account set balance = 0")
        db.execute(sql)

    @app.workflow
    async def wilderness() -> None:
        await wild()

    async def scenario():
        async with app:
            assert await (await transfer.start("ada", "bob", 1)).result(30) == 99  # so that all statements are compiled
            with pytest.raises(Exception, match=r"ActivityFailed|InvalidArgument|not authorized"):
                await (await wilderness.start()).result(30)
            return await (await transfer.start("ada", "bob", 1)).result(30)

    assert run(scenario) == 98


def test_a_statement_may_run_for_many_rows(run, app, file):
    @app.transaction
    def opened(db: Transaction, names: list[str]) -> int:
        return db.execute_many("insert into account values (?, 1)", [(name,) for name in names])

    @app.workflow
    async def opens() -> int:
        return await opened(["eve", "joe"])

    async def scenario():
        async with app:
            return await (await opens.start()).result(30)

    assert run(scenario) == 2
    assert balances(file)["joe"] == 1


def test_many_steps_share_what_they_count(run, app, transfer, file):
    async def scenario():
        async with app:
            handles = await asyncio.gather(*(transfer.start("ada", "bob", 1) for _ in range(100)))
            left = await asyncio.gather(*(handle.result(30) for handle in handles))
            return sorted(left)

    assert run(scenario) == list(range(100))
    assert balances(file) == {"ada": 0, "bob": 100}


def test_keyed_and_plain_activities_say_so(run, app):
    @app.activity
    async def keyed() -> str:
        return activity_context().idempotency_key

    @app.activity
    async def plain() -> int:
        return 1

    @app.workflow
    async def both() -> None:
        await keyed()
        await plain()

    async def scenario():
        async with app:
            handle = await both.start()
            await handle.result(30)
            done = [event async for event in handle.history() if type(event).__name__ == "ActivityCompleted"]
            return [event.guarantee for event in done]

    assert run(scenario) == ["keyed", None]


def test_what_is_wrong_is_said(run, app, transfer):
    async def coroutine(db: Transaction) -> None: ...

    def bare() -> None: ...

    for function in (coroutine, bare):
        with pytest.raises(InvalidArgument, match="transaction"):
            app.transaction(function)
    memory = App("bank", store="memory:")

    @memory.transaction
    def step(db: Transaction) -> None: ...

    @memory.workflow
    async def steps() -> None:
        await step()

    async def scenario():
        with pytest.raises(OnlyInWorkflow, match=r"step.function\(db"):
            await step()
        async with memory:
            with pytest.raises(Exception, match="needs a SQL store"):
                await (await steps.start()).result(30)

    run(scenario)


KILLED = """
    import asyncio, os, signal, sqlite3, sys
    from perdure import App, Transaction

    app = App("bank", store="sqlite:///bank.db?shared=yes", quarantine_deaths=None)  # because it dies by us alone

    @app.transaction
    def count(db: Transaction, number: int) -> int:
        db.execute("insert into counted values (?)", (number,))
        return number

    @app.workflow
    async def counting(count_to: int) -> int:
        total = 0
        for number in range(count_to):
            total += await count(number)
        return total

    async def main():
        async with app:
            handle = await counting.with_options(id="c", if_exists="return").start(200)
            print("up", flush=True)
            print(await handle.result(), flush=True)

    asyncio.run(main())
"""


@pytest.mark.long
def test_no_kill_makes_a_step_happen_twice_or_never(tmp_path):
    with sqlite3.connect(tmp_path / "bank.db") as db:
        db.execute("create table counted (number integer not null)")  # without a key: a second time would show
    lives = 0
    while True:
        lives += 1
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PERDURE_TEST": "1"},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            try:
                process.wait(0.05 + 0.03 * lives)
            except subprocess.TimeoutExpired:
                process.kill()
                continue
            assert process.stdout.read() == f"{sum(range(200))}\n"
            break
    with sqlite3.connect(tmp_path / "bank.db") as db:
        counted = [number for (number,) in db.execute("select number from counted order by rowid")]
    assert counted == list(range(200))
    assert lives > 2


def test_a_step_that_is_done_and_tried_again_is_not_done_again(run, app, transfer, file, monkeypatch):
    """As after an answer of the store that was lost: the second try finds that the call has its result."""
    once = Transacting.transact

    async def twice(self, running, step):
        await once(self, running, step)
        return await once(self, running, step)

    monkeypatch.setattr(Transacting, "transact", twice)

    async def scenario():
        async with app:
            await (await transfer.start("ada", "bob", 10)).result(30)

    run(scenario)
    assert balances(file) == {"ada": 90, "bob": 10}


# -- outbox -----------------------------------------------------------------------------------------------------


def test_a_start_happens_with_the_transaction_or_not_at_all(run, app, transfer, file):
    async def scenario():
        async with app:
            db = sqlite3.connect(file, isolation_level=None)
            outbox = app.outbox(db)
            for fate in ("rollback", "commit"):
                db.execute("begin immediate")
                db.execute("insert into account values (?, 5)", (fate,))
                id = outbox.start(transfer.with_options(id=fate, tags={"a": "b"}), "ada", "bob", 7)
                assert id == fate
                db.execute(fate)
            assert await app.client.get("commit").result(30) == 93
            assert [state.id async for state in app.client.list()] == ["commit"]
            db.execute("begin immediate")
            later = transfer.with_options(id="later")
            outbox.start(later, "ada", "bob", 1)
            with pytest.raises(InstanceExists):
                outbox.start(later, "ada", "bob", 1)
            db.execute("rollback")
            db.close()

    run(scenario)
    assert set(balances(file)) == {"ada", "bob", "commit"}


def test_events_go_out_with_the_transaction(run, app, file):
    @app.workflow
    async def waits() -> int:
        return await wait_for_event("paid", int)

    async def scenario():
        async with app:
            handle = await waits.with_options(id="w").start()
            with sqlite3.connect(file) as db:
                app.outbox(db).raise_event("w", "paid", 3)
            return await handle.result(30)

    assert run(scenario) == 3


@pytest.mark.long
def test_a_step_may_start_workflows(run, app, transfer, file):
    @app.transaction
    def order(db: Transaction) -> str:
        db.execute("insert into account values ('new', 50)")
        return app.outbox(db).start(transfer.with_options(id="follows"), "new", "bob", 20)

    @app.workflow
    async def orders() -> str:
        return await order()

    async def scenario():
        async with app:
            assert await (await orders.start()).result(30) == "follows"
            return await app.client.get("follows").result(30)

    assert run(scenario) == 30


def test_an_outbox_needs_a_store_that_was_opened(app, transfer, file, tmp_path):
    with pytest.raises(InvalidArgument, match=r"sqlite3\.Connection"):
        app.outbox("bank.db")
    with sqlite3.connect(tmp_path / "empty.db") as db, pytest.raises((StoreNotUsable, sqlite3.OperationalError)):
        app.outbox(db).start(transfer, "a", "b", 1)


def test_a_file_of_another_program_is_taken_only_if_asked(run, file):
    async def opened(url: str) -> None:
        async with App("bank", store=url):
            pass

    with pytest.raises(StoreNotUsable, match="shared=yes"):
        asyncio.run(opened(f"sqlite:///{file}"))
    asyncio.run(opened(f"sqlite:///{file}?shared=yes"))
    asyncio.run(opened(f"sqlite:///{file}"))  # because now it is known

    async def found() -> list[str]:
        async with Client(f"sqlite:///{file}", app_id="bank") as client:
            return [state.id async for state in client.list()]

    assert asyncio.run(found()) == []
    assert balances(file) == {"ada": 100, "bob": 0}


def test_a_start_in_a_transaction_keeps_to_the_queue_of_its_workflow(run, app, file):
    narrow = Queue("narrow", concurrency=1)
    running: list[int] = []
    most: list[int] = []

    @app.activity
    async def work(number: int) -> int:
        running.append(number)
        most.append(len(running))
        await asyncio.sleep(0.05)
        running.remove(number)
        return number

    @app.workflow(queue=narrow)
    async def queued(number: int) -> int:
        return await work(number)

    async def scenario():
        async with app:
            with sqlite3.connect(file) as db:
                ids = [app.outbox(db).start(queued.with_options(id=f"q{number}"), number) for number in range(4)]
            return [await app.client.get(id).result(30) for id in ids]

    assert run(scenario) == [0, 1, 2, 3]
    assert max(most) == 1


def test_options_that_an_outbox_cannot_keep_are_refused(run, app, transfer, file):
    async def scenario():
        async with app:
            with sqlite3.connect(file) as db:
                outbox = app.outbox(db)
                for wrong, said in (({"app_id": "other"}, "app 'bank'"), ({"dedup_key": "k"}, "dedup_key")):
                    with pytest.raises(InvalidArgument, match=said):
                        outbox.start(transfer.with_options(**wrong), "ada", "bob", 1)
            return [state.id async for state in app.client.list()]

    assert run(scenario) == []


def test_a_step_that_the_store_has_no_room_for_happens_when_there_is_some(run, app, transfer, file, monkeypatch):
    taken = SqlStore.transact
    refusals = [StoreFull("no room"), StoreNotUsable("read-only")]

    async def full(self, *args):
        if refusals:
            raise refusals.pop()
        return await taken(self, *args)

    monkeypatch.setattr(SqlStore, "transact", full)
    monkeypatch.setattr(transact, "AGAIN_SECONDS", 0.01)

    async def scenario():
        async with app:
            return await (await transfer.start("ada", "bob", 10)).result(30)

    assert run(scenario) == 90
    assert balances(file) == {"ada": 90, "bob": 10}


@pytest.mark.parametrize("swallows", [False, True])
def test_a_disk_that_is_full_inside_a_step_is_waited_for(run, app, file, monkeypatch, swallows):
    monkeypatch.setattr(transact, "AGAIN_SECONDS", 0.01)
    tries = []

    @app.transaction(retry=Retry(max_attempts=1))
    def fill(db: Transaction, name: str) -> int:
        tries.append(name)
        bound = 1 if len(tries) == 1 else 1_000_000
        # because no disk is to be filled for a test; the engine refuses the pragma itself to steps
        db.lender.rows(f"pragma max_page_count = {bound}").fetchall()
        try:
            db.execute("create table more (text)")
            db.execute("insert into more values (?)", ("x" * 100_000,))
        except sqlite3.OperationalError:
            if not swallows:
                raise
        db.execute("insert into account values (?, 1)", (name,))
        return 1

    @app.workflow
    async def filling() -> int:
        return await fill("eve")

    async def scenario():
        async with app:
            return await (await filling.start()).result(30)

    assert run(scenario) == 1
    assert balances(file) == {"ada": 100, "bob": 0, "eve": 1}
    assert len(tries) > 1


@pytest.mark.parametrize("swallows", [False, True])
def test_a_step_whose_transaction_was_rolled_back_by_a_conflict_leaves_nothing(run, app, file, swallows):
    @app.transaction(retry=Retry(max_attempts=1))
    def clash(db: Transaction) -> int:
        db.execute("insert into account values ('eve', 1)")
        try:
            db.execute("insert or rollback into account values ('ada', 1)")
        except sqlite3.IntegrityError:
            if not swallows:
                raise
        db.execute("insert into account values ('mallory', 1)")
        return 1

    @app.workflow
    async def clashing() -> str:
        try:
            return str(await clash())
        except ActivityFailed as error:
            return type(error.__cause__).__name__ + str(error.__cause__)

    async def scenario():
        async with app:
            return await (await clashing.start()).result(30)

    said = run(scenario)
    assert ("rolled the transaction back" if swallows else "UNIQUE") in said
    assert balances(file) == {"ada": 100, "bob": 0}


def test_nothing_is_written_through_a_transaction_that_a_step_has_kept(run, app, file):
    kept = []

    @app.transaction
    def keep(db: Transaction) -> int:
        kept.append(db)
        return 1

    @app.workflow
    async def keeping() -> int:
        return await keep()

    async def scenario():
        async with app:
            await (await keeping.start()).result(30)
            with pytest.raises(InvalidArgument, match="has ended"):
                kept[0].execute("insert into account values ('eve', 1)")

    run(scenario)
    assert "eve" not in balances(file)


@pytest.mark.parametrize(
    "error", [GeneratorExit, StopIteration, StopAsyncIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt]
)
def test_whatever_a_step_raises_fails_it(run, app, error):
    @app.transaction(retry=Retry(max_attempts=1))
    def odd(db: Transaction) -> int:
        raise error

    @app.workflow
    async def oddly() -> str:
        try:
            return str(await odd())
        except ActivityFailed as failed:
            return str(failed)

    async def scenario():
        async with app:
            return await (await oddly.start()).result(30)

    assert error.__name__ in run(scenario)


def test_steps_wait_in_queues_as_calls_do(run, app, file):
    line = Queue("line", concurrency=1, rate=Rate(3, per=0.5))
    before = time.monotonic()
    began, again = [], []

    @app.transaction(queue=line, retry=Retry(max_attempts=2, initial_interval=0.01))
    def pay(db: Transaction, name: str) -> int:
        began.append(time.monotonic())
        db.execute("insert into account values (?, ?)", (name, len(began)))
        if name == "eve" and not again:
            again.append(name)
            raise ValueError("once more")
        return 1

    @app.activity(queue=line)
    async def look(name: str) -> AsyncIterator[str]:
        began.append(time.monotonic())
        yield name

    @app.workflow
    async def main() -> int:
        return sum(await asyncio.gather(pay("eve"), look("x"), pay("mallory"), look("y"), pay("zoe")))

    async def scenario():
        async with app:
            assert await (await main.start()).result(30) == 5
            return await app.client.queues()

    assert run(scenario) == []
    assert {"eve", "mallory", "zoe"} < set(balances(file))
    assert len(began) >= 6  # five calls, and one again
    # from the beginning on, because a step may begin long after it was let through
    assert all(at - before >= place // 3 * 0.49 for place, at in enumerate(began))
