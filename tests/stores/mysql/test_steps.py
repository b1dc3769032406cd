"""Steps that run in the transaction of their result, on MariaDB."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

from perdure import App, Retry, Transaction
from perdure.errors import InvalidArgument, WorkflowFailed
from perdure.stores.contract import Mail, Member, Outcome
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.mysql.guest import check
from perdure.testing.conformance import APP, Scene, a_call, a_mail
from servers.mariadb import MariaDb
from tests.stores.mysql.places import database_of
from tests.stores.on_servers import SECONDS, told

pytestmark = pytest.mark.mariadb

REFUSED = [
    "commit",
    " -- a remark\n COMMIT",
    "/* twice */ rollback",
    "/*! commit */",
    "select 1 /*!50000 ; commit */",
    "select 1; commit",
    "savepoint mine",
    "set autocommit = 1",
    "create table mine (id int)",
    "call anything()",
    "lock tables mine write",
    "delete from perdure_head",
    "delete from `perdure_head`",
    "",
]

NOTE = b"it's \\ \0 \xff"


class TestSteps:
    @pytest.mark.parametrize("sql", REFUSED)
    def test_can_neither_end_their_transaction_nor_touch_the_engine(self, sql: str) -> None:
        with pytest.raises(InvalidArgument, match="not for a transaction step"):
            check(sql)

    @pytest.mark.parametrize(
        "sql",
        [
            "select * from perdure_instances",
            "(select 1)",
            "insert into mine values (';', '--')",
            "update mine set a = 1;",
        ],
    )
    def test_may_read_what_they_like_and_write_their_own(self, sql: str) -> None:
        check(sql)

    def test_commit_with_their_result_and_leave_nothing_when_they_raise(self, server: MariaDb, address: str) -> None:
        database = database_of(address)
        server.run(
            "create table account "
            "(name varchar(20) primary key, balance decimal(10, 2) check (balance >= 0), note blob)",
            "insert into account values ('ada', 100, null), ('bob', 0, null)",
            database=database,
        )
        bank = App("bank", store=address)

        @bank.transaction(retry=Retry(max_attempts=1))
        def move(db: Transaction, source: str, target: str, amount: int) -> str:
            db.execute("update account set balance = balance + %s where name = %s", (Decimal(amount), target))
            db.execute("update account set note = %s where name = %s", (NOTE, source))
            db.execute("update account set balance = balance - %s where name = %s", (amount, source))
            ((left,),) = db.execute("select balance from account where name = %s", (source,))
            return str(left)

        @bank.workflow
        async def transfer(source: str, target: str, amount: int) -> str:
            return await move(source, target, amount)

        async def play() -> None:
            async with bank, asyncio.timeout(SECONDS):
                with pytest.raises(WorkflowFailed, match="CONSTRAINT"):
                    await (await transfer.start("ada", "bob", 101)).result()
                handle = await transfer.start("ada", "bob", 30)
                assert await handle.result() == "70.00"
                (done,) = [event async for event in handle.history() if type(event).__name__ == "ActivityCompleted"]
                assert done.guarantee == "exactly-once"

        asyncio.run(play())
        assert server.run("select name, balance, note from account order by name", database=database) == [
            ("ada", Decimal(70), NOTE),
            ("bob", Decimal(30), None),
        ]

    def test_do_not_hold_up_the_commits_of_others(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            other = next(id for id in map(str, range(1_000)) if scene.shard(id) == scene.shard("a"))
            await scene.start("a", opened=[a_call(1)])
            await scene.start(other)
            began, ends = threading.Event(), threading.Event()

            def work(db: Any) -> Mail:
                db.execute("select 1")
                began.set()
                ends.wait(SECONDS)
                return a_mail("a", "result", execution="e1", generation=1)

            step = asyncio.create_task(store.transact(scene.lease("a"), "a", 1, 1, work))
            await asyncio.to_thread(began.wait)
            await scene.committed(scene.turn(other, 1))
            await store.beat(APP, Member("first owner"), list(scene._leases.values()))
            ends.set()
            assert await step == Outcome.COMMITTED
            assert await scene.keys("a") == ["result"]

        told(address, story)
