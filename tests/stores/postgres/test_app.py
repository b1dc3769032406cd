"""An app on PostgreSQL: the workflows of a laptop, at another address."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

import perdure
from perdure import App, Client, Retry, Transaction
from perdure.errors import ActivityFailed, InvalidArgument
from perdure.stores.sql.postgres.database import PostgresDatabase
from perdure.stores.sql.postgres.guest import check
from tests.stores import topic_story
from tests.stores.postgres.places import Execute

ACCOUNTS = """
create table account (name text primary key, balance bigint not null check (balance >= 0));
insert into account values ('ada', 100), ('bob', 0)
"""


@pytest.fixture
def app(address: str) -> App:
    return App("bank", store=address)


@pytest.fixture
def balances(execute: Execute):
    """What the accounts hold now."""
    execute(ACCOUNTS)

    def read() -> dict[str, int]:
        found = execute("select name, balance from account order by name")
        return {name: int(balance) for name, balance in (line.split("|") for line in found.splitlines())}

    return read


@pytest.fixture
def transfer(app):
    @app.transaction(retry=Retry(max_attempts=1))
    def move(db: Transaction, source: str, target: str, amount: int) -> int:
        db.execute("update account set balance = balance - $1 where name = $2", (amount, source))
        db.execute("update account set balance = balance + $1 where name = $2", (amount, target))
        ((left,),) = db.execute("select balance from account where name = $1", (source,))
        return left

    @app.workflow
    async def transfer(source: str, target: str, amount: int) -> int:
        return await move(source, target, amount)

    return transfer


def test_workflows_children_timers_and_events(run, app):
    @app.activity
    async def double(x: int) -> int:
        return 2 * x

    @app.workflow
    async def child(x: int) -> int:
        await asyncio.sleep(0.01)
        return await double(x)

    @app.workflow
    async def parent(count: int) -> int:
        more = await perdure.wait_for_event("more")
        return sum(await asyncio.gather(*(child(number) for number in range(count)))) + more

    async def scenario():
        async with app:
            handles = [await parent.start(number) for number in range(10)]
            for handle in handles:
                await handle.raise_event("more", 7)
            return [await handle.result(30) for handle in handles]

    assert run(scenario) == [count * (count - 1) + 7 for count in range(10)]


@pytest.mark.long
def test_an_agent_of_another_app_is_asked_by_name(run, address):
    from tests.agents.across import paid_across  # because pydantic-ai takes a second to import

    assert run(lambda: paid_across({"store": address}, {"store": address})) == ("paid", 4)


@pytest.mark.long
def test_a_process_that_comes_later_goes_on(run, address):
    def app_of_a_process():
        app = App("shop", store=f"{address}&lease=1")

        @app.workflow
        async def waiting() -> str:
            return await perdure.wait_for_event("go")

        return app, waiting

    async def scenario():
        first, waiting = app_of_a_process()
        async with first:
            handle = await waiting.start()
            id = handle.id
        second, waiting = app_of_a_process()
        async with second:
            handle = second.client.get(id)
            await handle.raise_event("go", "on")
            return await handle.result(30)

    assert run(scenario) == "on"


@pytest.mark.long
@pytest.mark.parametrize("has_hints", [True, False])
def test_what_another_process_starts_is_found_with_hints_and_without(run, address, monkeypatch, has_hints):
    async def nothing() -> AsyncIterator[frozenset[int]]:
        return
        yield frozenset()

    if not has_hints:
        monkeypatch.setattr(PostgresDatabase, "hints", lambda _: nothing())
    app = App("shop", store=address)

    @app.workflow
    async def greet(name: str) -> str:
        return f"hello {name}"

    async def scenario():
        async with app, Client(address, app_id="shop") as client:
            handles = [await client.workflow("greet").start(str(number)) for number in range(5)]
            return [await handle.result(30) for handle in handles]

    assert run(scenario) == [f"hello {number}" for number in range(5)]


def test_a_server_that_crashes_under_work_loses_nothing(run, server, address):
    app = App("shop", store=address)
    made = []

    @app.activity
    async def step(number: int) -> int:
        made.append(number)
        return number

    @app.workflow
    async def count(to: int) -> int:
        return sum([await step(number) for number in range(to)])

    async def scenario():
        async with app:
            handles = [await count.start(30) for _ in range(20)]
            while len(made) < 100:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            await asyncio.to_thread(server.start)
            return [await handle.result(30) for handle in handles]

    assert run(scenario) == [sum(range(30))] * 20


def test_a_step_commits_with_its_result(run, app, transfer, balances):
    async def scenario():
        async with app:
            handle = await transfer.start("ada", "bob", 30)
            assert await handle.result(30) == 70
            (done,) = [event async for event in handle.history() if type(event).__name__ == "ActivityCompleted"]
            return done.guarantee

    assert run(scenario) == "exactly-once"
    assert balances() == {"ada": 70, "bob": 30}


def test_a_step_that_raises_leaves_nothing(run, app, transfer, balances):
    async def scenario():
        async with app:
            with pytest.raises(Exception, match="CheckViolation"):
                await (await transfer.start("ada", "bob", 101)).result(30)
            assert await (await transfer.start("ada", "bob", 1)).result(30) == 99

    run(scenario)
    assert balances() == {"ada": 99, "bob": 1}


@pytest.mark.long
def test_a_step_goes_on_after_no_statement_that_failed(run, app, balances):
    @app.transaction(retry=Retry(max_attempts=1))
    def clash(db: Transaction) -> int:
        try:
            db.execute("insert into account values ('ada', 1)")
        except asyncpg.UniqueViolationError:
            return 1
        return 0

    @app.workflow
    async def clashing() -> str:
        try:
            return str(await clash())
        except ActivityFailed as error:
            return str(error.__cause__)

    async def scenario():
        async with app:
            return await (await clashing.start()).result(30)

    assert "takes nothing more in its transaction" in run(scenario)
    assert balances() == {"ada": 100, "bob": 0}


@pytest.mark.long
def test_a_statement_may_run_for_many_rows_and_a_step_start_workflows(run, app, balances):
    @app.workflow
    async def greet(name: str) -> str:
        return f"hello {name}"

    @app.transaction
    def opened(db: Transaction, names: list[str]) -> int:
        app.outbox(db).start(greet.with_options(id="greeting"), names[0])
        return db.execute_many("insert into account values ($1, 0)", [(name,) for name in names])

    @app.workflow
    async def opening(names: list[str]) -> int:
        return await opened(names)

    async def scenario():
        async with app:
            assert await (await opening.start(["eve", "mallory"])).result(30) == 2
            return await app.client.get("greeting").result(30)

    assert run(scenario) == "hello eve"
    assert balances() == {"ada": 100, "bob": 0, "eve": 0, "mallory": 0}


@pytest.mark.long
def test_an_obstacle_of_the_database_is_no_failure_of_the_step(run, app, balances, execute):
    """A deadlock, a full disk, a lost connection: the step is done again, whatever it makes of the error."""
    tries = []

    @app.transaction(retry=Retry(max_attempts=1))
    def swallows(db: Transaction) -> int:
        tries.append(1)
        try:
            if len(tries) == 1:
                db.execute("do $$ begin raise exception 'gave way' using errcode = '40P01'; end $$")
            db.execute("update account set balance = 7 where name = 'bob'")
        except asyncpg.PostgresError:
            return 0
        return len(tries)

    @app.workflow
    async def swallowing() -> int:
        return await swallows()

    async def scenario():
        async with app:
            return await (await swallowing.start()).result(30)

    assert run(scenario) == 2
    assert balances()["bob"] == 7


REFUSED = [
    "commit",
    " -- a remark\n COMMIT",
    "/* twice */ rollback",
    "savepoint mine",
    "begin",
    "set role other",
    "prepare transaction 'x'",
    "listen perdure",
    "delete from perdure_head",
    "with gone as (delete from perdure_mail returning 1) select count(*) from gone",
    "select perdure_do_0123456789abcdef(array[1])",
    'update "perdure_wait" set state = 1',
    "",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_step_can_neither_end_its_transaction_nor_touch_the_engine(sql):
    with pytest.raises(InvalidArgument, match="not for a transaction step"):
        check(sql)


@pytest.mark.parametrize(
    "sql", ["select * from perdure_instances", "(select 1)", "WITH a AS (select 1) select * from a"]
)
def test_a_step_may_read_what_it_likes(sql):
    check(sql)


@pytest.mark.long
def test_two_statements_are_not_one(run, app, balances):
    @app.transaction(retry=Retry(max_attempts=1))
    def two(db: Transaction) -> None:
        db.execute("select 1; commit")

    @app.workflow
    async def sly() -> None:
        await two()

    async def scenario():
        async with app:
            with pytest.raises(Exception, match="multiple commands"):
                await (await sly.start()).result(30)

    run(scenario)


@pytest.mark.long
def test_topics_keep_their_order_and_their_place(address: str) -> None:
    asyncio.run(topic_story.tell(address + "&shards=8"))
