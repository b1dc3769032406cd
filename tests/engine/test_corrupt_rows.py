"""One row that nobody can read harms its own instance alone: the others finish, new ones start, nothing spins."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from perdure import App, Client, Retry, WorkflowCancelled, WorkflowTerminated, wait_for_event

CORRUPTIONS = {
    "head, custom status": "update perdure_head set custom_status = '{}' where id = 'w0'",
    "head, more": "update perdure_head set more = '[1]' where id = 'w0'",
    "head, stalled": "update perdure_head set stalled = '{{x' where id = 'w0'",
    "history, no JSON": "update perdure_history set events = '{{garb' where instance = 'w0'",
    "history, blob": "update perdure_history set events = x'ff00' where instance = 'w0'",
    "history, unknown event": """update perdure_history set events = '[{"type":"Never"}]' where instance = 'w0'""",
    "wait, input": "update perdure_wait set input = 'zzz' where instance = 'w0'",
    "wait, options": "update perdure_wait set options = '{{z' where instance = 'w0'",
    "wait, due": "update perdure_wait set due = 'zzz' where instance = 'w0'",
    "wait, name": "update perdure_wait set name = x'ff' where instance = 'w0'",
    "mail, no JSON": "insert into perdure_mail (shard, instance, key, number, event, at) "
    "select shard, id, 'bad', 99, 'zzz', 0 from perdure_head where id = 'w0'",
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

    @app.workflow
    async def brief(seconds: float) -> float:
        return await pause(seconds)

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
        async with asyncio.timeout(30), parted(f"sqlite:///{path}") as app:
            client = app.client
            fresh = await client.workflow("patient").with_options(id="fresh").start(0)
            handles = [client.get("w1"), client.get("w2"), fresh]
            for handle in handles:
                await handle.raise_event("go", 7)
            return [await handle.result(30) for handle in handles]

    asyncio.run(begin())
    with sqlite3.connect(path) as connection:
        assert connection.execute(CORRUPTIONS[case]).rowcount > 0
    connection.close()
    before = time.process_time()
    assert asyncio.run(go_on()) == [7, 7, 7]
    assert time.process_time() - before < 5


LOST_WAITS = {
    "activity, deleted": (
        "slow",
        "delete from perdure_wait where instance = 'w0'",
        "wait 1: history leaves open activity nap",
    ),
    "activity, kind": ("slow", "update perdure_wait set kind = 'zzz' where instance = 'w0'", "zzz nap"),
    "activity, state": ("slow", "update perdure_wait set state = 'zzz' where instance = 'w0'", "activity nap (zzz"),
    "activity, answered": ("slow", "update perdure_wait set state = 'answered' where instance = 'w0'", "nap (answered"),
    "activity, options": (
        "slow",
        "update perdure_wait set options = '{z' where instance = 'w0'",
        "the options of activity nap",
    ),
    "activity, options of a retry": (
        "slow",
        "update perdure_wait set options = '[]', due = since + 2500000 where instance = 'w0'",
        "the options of activity nap",
    ),
    "child, deleted": (
        "parent",
        "delete from perdure_wait where instance = 'w0'",
        "wait 1: history leaves open child idle",
    ),
    "child, kind": ("parent", "update perdure_wait set kind = 'zzz' where instance = 'w0'", "zzz idle"),
    "timer, deleted": (
        "sleeper",
        "delete from perdure_wait where instance = 'w0'",
        "wait 1: history leaves open timer",
    ),
    "timer, kind": ("sleeper", "update perdure_wait set kind = 'child' where instance = 'w0'", "child timer"),
    "timer, due": (
        "sleeper",
        "update perdure_wait set due = null where instance = 'w0'",
        "timer timer (held, due None",
    ),
    "history, deleted": (
        "sleeper",
        "delete from perdure_history where instance = 'w0'; update perdure_wait set due = 1 where instance = 'w0'",
        "history leaves open nothing, the store holds timer",
    ),
    "history and wait, deleted": (
        "idle",
        "delete from perdure_history where instance = 'w0'; delete from perdure_wait where instance = 'w0'",
        "tell its start",
    ),
    "start mail, deleted": ("unknown", "delete from perdure_mail where instance = 'w0'", "tell its start"),
}


def waiting(store: str) -> App:
    app = App("waiting", store=store, drain_seconds=0.1)

    @app.activity
    async def nap() -> None:
        await asyncio.sleep(30)

    @app.workflow
    async def idle() -> int:
        return await wait_for_event("Go", int)

    @app.workflow
    async def slow() -> None:
        await nap()

    @app.workflow
    async def parent() -> None:
        await idle()

    @app.workflow
    async def sleeper() -> None:
        await asyncio.sleep(3_600)

    return app


async def begin_waiting(store: str, name: str) -> None:
    if name == "unknown":
        async with Client(store, app_id="waiting") as client:
            await client.workflow("idle").with_options(id="w0").start()
        return
    async with waiting(store) as app:
        await app.client.workflow(name).with_options(id="w0").start()
        await asyncio.sleep(0.2)


def attack(path: Path, statements: str) -> None:
    with sqlite3.connect(path) as connection:
        assert all(connection.execute(one).rowcount != 0 for one in statements.split(";"))
    connection.close()


@pytest.mark.parametrize("case", LOST_WAITS)
def test_a_wait_that_is_lost_stalls_its_run_instead_of_letting_it_wait_for_ever(tmp_path: Path, case: str) -> None:
    name, statements, told = LOST_WAITS[case]
    path = tmp_path / "waiting.db"

    async def stall() -> tuple[str, str]:
        opened = time.time_ns() // 1_000
        async with asyncio.timeout(30), waiting(f"sqlite:///{path}") as app:
            while (halt := (await app.client.get("w0").state()).stalled) is None:
                await asyncio.sleep(0.01)
            assert halt.since >= opened
            return halt.reason, halt.description

    asyncio.run(begin_waiting(f"sqlite:///{path}", name))
    attack(path, statements)
    reason, description = asyncio.run(stall())
    assert reason in ("wait-corrupt", "history-corrupt")
    assert told in description


EVENT_WAITS = {
    "deleted": "delete from perdure_wait where instance = 'w0'",
    "kind": "update perdure_wait set kind = 'zzz' where instance = 'w0'",
}


@pytest.mark.parametrize("case", EVENT_WAITS)
def test_a_lost_wait_for_an_event_is_put_right_from_the_code(tmp_path: Path, case: str) -> None:
    path = tmp_path / "waiting.db"

    async def heal() -> tuple[str, int]:
        async with asyncio.timeout(30), waiting(f"sqlite:///{path}") as app:
            handle = app.client.get("w0")
            while (told := await handle.explain()).cause != "event":
                await asyncio.sleep(0.01)
            await handle.raise_event("Go", 7)
            return told.sentence, await handle.result(30)

    asyncio.run(begin_waiting(f"sqlite:///{path}", "idle"))
    attack(path, EVENT_WAITS[case])
    sentence, result = asyncio.run(heal())
    assert "'go'" in sentence
    assert result == 7


def test_a_run_that_waits_for_nothing_by_its_own_code_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/forever.db"
    app = App("forever", store=url)

    @app.workflow
    async def until_cancelled() -> None:
        await asyncio.Event().wait()

    async def scenario() -> object:
        async with app:
            handle = await app.client.workflow("until_cancelled").with_options(id="w0").start()
        async with asyncio.timeout(30), app:
            handle = app.client.get("w0")
            await asyncio.sleep(0.3)
            state = await handle.state()
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)
            return state.stalled

    assert asyncio.run(scenario()) is None


UNREADABLE_WAITS = """
update perdure_wait set input = 'zzz' where instance = 'w0';
with recursive n(x) as (select 100 union all select x + 1 from n where x < 1200)
insert into perdure_wait (shard, instance, number, kind, name, since, attempt, state, input)
select shard, id, x, 'activity', 'pause', 0, 1, 'held', 'zzz' from perdure_head, n where id = 'w0'
"""
UNREADABLE_MAIL = """
with recursive n(x) as (select 100 union all select x + 1 from n where x < 1200)
insert into perdure_mail (shard, instance, number, key, event, at)
select shard, id, x, 'bad' || x, case x when 100 then 'zzz' else x'ff' end, 0 from perdure_head, n where id = 'w0'
"""


def paged(path: Path, rows: str, name: str, seconds: float) -> float:
    """What w1 returns when the rows of w0 before it cannot be read."""

    async def begin() -> None:
        async with parted(f"sqlite:///{path}") as app:
            await app.client.workflow("patient").with_options(id="w0").start(30)
            await app.client.workflow(name).with_options(id="w1").start(seconds)
            await asyncio.sleep(0.2)
        if name == "patient":
            async with Client(f"sqlite:///{path}") as client:
                await client.get("w1").raise_event("go", 7)

    async def go_on() -> float:
        async with asyncio.timeout(30), parted(f"sqlite:///{path}") as app:
            return await app.client.get("w1").result()

    asyncio.run(begin())
    attack(path, rows)
    return asyncio.run(go_on())


@pytest.mark.long
def test_a_page_of_waits_that_cannot_be_read_hides_no_other_page(tmp_path: Path) -> None:
    assert paged(tmp_path / "parted.db", UNREADABLE_WAITS, "brief", 0.5) == 0.5


def test_a_page_of_mail_that_cannot_be_read_hides_no_other_page(tmp_path: Path) -> None:
    assert paged(tmp_path / "parted.db", UNREADABLE_MAIL, "patient", 0) == 7


def test_a_row_put_right_lets_its_run_go_on_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "waiting.db"

    async def until(stalled: bool) -> None:
        async with asyncio.timeout(30), waiting(f"sqlite:///{path}") as app:
            while ((await app.client.get("w0").state()).stalled is None) is stalled:
                await asyncio.sleep(0.01)

    asyncio.run(begin_waiting(f"sqlite:///{path}", "slow"))
    attack(path, "update perdure_wait set options = '{z' where instance = 'w0'")
    asyncio.run(until(stalled=True))
    attack(path, "update perdure_wait set options = null where instance = 'w0'")
    asyncio.run(until(stalled=False))


@pytest.mark.long
def test_a_kept_failure_of_a_call_whose_options_are_lost_keeps_its_run_still_and_endable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/kept.db"

    def program(spins: bool) -> App:
        app = App("kept", store=url, drain_seconds=0.1)

        @app.activity(retry=Retry(max_attempts=2))
        async def fails() -> None:
            await asyncio.sleep(0.3)
            raise ValueError("no")

        @app.workflow
        async def main() -> None:
            call = asyncio.ensure_future(fails())
            await wait_for_event("go")
            while spins:
                await asyncio.sleep(0)
            await call

        return app

    async def stall() -> None:
        async with program(spins=True) as app:
            handle = await app.client.workflow("main").with_options(id="w0").start()
            await handle.raise_event("go")
            await asyncio.sleep(1)
            assert (await handle.state()).stalled.reason == "turn-too-long"

    async def go_on() -> str:
        async with asyncio.timeout(30), program(spins=False) as app:
            handle = app.client.get("w0")
            await handle.resume()
            while (halt := (await handle.state()).stalled).reason == "turn-too-long":
                await asyncio.sleep(0.01)
            await handle.terminate()
            with pytest.raises(WorkflowTerminated):
                await handle.result(30)
            return halt.description

    asyncio.run(stall())
    attack(tmp_path / "kept.db", "update perdure_wait set options = '{z' where instance = 'w0'")
    assert "the options of activity fails" in asyncio.run(go_on())
