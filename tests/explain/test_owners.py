"""Instances that nobody takes a turn of, or whose owner cannot: no process, no worker, no code, no time, no store."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sqlite3

import pytest

from perdure.errors import StoreNotUsable
from perdure.stores.sql.sqlite import SqliteConnection
from tests.explain.place import APPROVAL, HEADER, Place
from tests.explain.test_waits import GATE
from tests.remote.peer import Peer

pytestmark = pytest.mark.long  # with real processes, for minutes

FOREIGN = """
@app.workflow
def foreign(ctx, name: str):
    return (yield ctx.call_activity("charge", input=name))
"""
CHARGE = """
@app.activity
async def charge(name: str) -> str:
    return name
"""


def test_no_process_runs_the_app(place: Place) -> None:
    place.program(GATE)
    place.begin("gated", "shop.py", id="g")
    told = place.moves("g", "no-node", r"^gated g has not begun: no process runs its app\.$", verb="worker")
    assert told.command == "perdure worker --app shop"
    assert told.next == "it goes on as soon as a worker or server of the app starts"


def test_no_process_runs_the_app_any_more(place: Place) -> None:
    with place.running(GATE):
        place.begin("gated", "open", id="g")
        place.told("g", "activity")
    (place.folder / "open").touch()
    place.moves("g", "no-node", r"^gated g waits for activity gate, attempt 1 at shop.py:\d+ in gated: no process runs")


def test_a_message_that_nobody_takes(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
    place.shell("perdure raise a approved")
    place.moves("a", "no-node", r"^approval a has a message that nobody takes: no process runs its app\.$")


def test_another_app_is_not_that_of_the_process_that_has_the_store(place: Place) -> None:
    code = """
other = App("other", drain_seconds=0.5)

@other.workflow
async def ship():
    return "shipped"

@app.workflow
async def order():
    return await ship.with_options(id="ship", app_id="other")()
"""
    with place.running(code):
        place.begin("order", id="o")
        told = place.told("o", "store-held")
        assert "order o waits for its child ship at shop.py" in told.sentence
        assert "has the store to itself and does not run its app other" in told.sentence
        command = place.command("o", "--app", "shop")
        assert command == "perdure worker --app other"
    place.does(command, "ship", app="other")
    with place.running():
        assert place.ends("o").status == "completed"


def test_a_process_of_another_app_has_the_store_to_itself(place: Place) -> None:
    place.program("""
other = App("other", drain_seconds=0.5)

@other.workflow
async def ship():
    return "shipped"
""")
    place.app = "other"
    with place.process("worker", "shop:app"):
        place.begin("ship", id="s")
        told = place.told("s", "store-held")
        assert re.search(
            r"^ship s has not begun: \S+:\d+ .*has the store to itself and does not run its app", told.sentence
        )
        assert told.next == "a worker of the app that stands by takes over when that process ends"
        command = place.command("s", "--app", "other")
        assert command == "perdure worker --app other"
    place.does(command, "s", app="other")


def test_an_owner_that_does_not_take_what_it_is_sent(place: Place) -> None:
    place.program(APPROVAL)
    place.begin("approval", id="a")
    with place.process("worker", "shop:app") as process:
        place.told("a", "event")
        process.send(signal.SIGSTOP)
        place.shell("perdure raise a approved")
        told = place.told("a", "turn")
        assert "approval a has a message that its owner " in told.sentence
        place.begin("approval", id="b")
        assert "has not begun: its owner " in place.told("b", "pending").sentence
        place.sql("update perdure_mail set at = at - 20000000")
        told = place.told("a", "late")
        assert "has a message that its owner " in told.sentence
        assert "has not taken for 2" in told.sentence
        assert (told.command, told.is_normal) == (None, False)
        assert place.printed("explain", "a")[-1].startswith("  next: the owner takes it")
        process.send(signal.SIGCONT)
        assert place.ends("a").status == "completed"


def test_clocks_that_disagree(place: Place) -> None:
    code = """
@app.workflow
async def nap():
    await asyncio.sleep(60)
"""
    ahead = "import time\nreal = time.time_ns\ntime.time_ns = lambda: real() + 7_200_000_000_000\n"
    place.program(code, ahead + HEADER)
    place.begin("nap", id="n")
    with place.process("worker", "shop:app"):
        place.told("n", "clock-skew")
    with place.running(code):
        told = place.moves(
            "n",
            "clock-skew",
            r"^nap n was written at 20.* UTC, which is (2 h|1 h 59 min).* from now: the clock of its node, or the one",
            status="canceled",
        )
        assert told.next.startswith("it goes on at 20")


def test_a_store_that_does_not_take_writes_in_time(place: Place) -> None:
    code = """
@app.workflow
async def nap():
    await asyncio.sleep(0.5)
"""
    with place.running(code) as app:
        place.begin("nap", id="n")
        place.told("n", "timer")
        with contextlib.closing(sqlite3.connect(place.folder / "shop.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            told = place.here(app, "n", "store-slow")
            other.execute("rollback")
        assert "goes on when the store answers: a commit has been under way for 5" in told.sentence
        assert told.command is None
        assert told.next == "it goes on by itself as soon as the store takes the commit"
        assert place.ends("n").status == "completed"


def test_a_store_that_has_become_read_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = SqliteConnection.begin

    def refused(connection: SqliteConnection, *, write: bool) -> None:
        if write:  # by hand, because root writes whatever the modes are
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        begin(connection, write=write)

    with place.running(APPROVAL) as app:
        place.begin("approval", id="a")
        place.told("a", "event")
        monkeypatch.setattr(SqliteConnection, "begin", refused)
        with pytest.raises(StoreNotUsable, match="cannot be written"):
            place.inside(app, app.client.get("a").raise_event("approved"))
        told = place.here(app, "a", "store-refuses")
        assert re.fullmatch(
            r"approval a goes on when its process can write to the store again: .*shop\.db cannot be written "
            r"\(attempt to write a readonly database\); make the file and its directory writable for this user\.",
            told.sentence,
        )
        assert (told.command, told.is_normal) == (None, False)
        monkeypatch.undo()
        told = place.here(app, "a", "event")
        place.does(told.command or "", "a")


def test_a_server_without_a_worker(place: Place) -> None:
    place.program(APPROVAL.replace('wait_for_event("approved")', "asyncio.sleep(0)"))
    with place.serving():
        place.begin("approval", id="a")
        told = place.moves("a", "no-worker", "has not begun: no worker of app shop is connected", verb="worker")
        assert told.command == "perdure worker --app shop"


def test_workers_of_a_server_that_lack_the_workflow(place: Place) -> None:
    with place.serving(), place.running(CHARGE, server=place.address):
        place.begin("foreign", "a", id="f")
        place.program(CHARGE + FOREIGN)
        place.moves(
            "f", "no-code", "has not begun: the only worker of app shop that is connected has no workflow foreign"
        )


def test_workers_of_a_server_that_lack_the_activity(place: Place) -> None:
    with place.serving(), place.running(FOREIGN, server=place.address):
        place.begin("foreign", "a", id="f")
        place.program(CHARGE + FOREIGN)
        place.moves("f", "no-code", "charge, attempt 1 at .*: the only worker .* has no activity charge")


def test_a_worker_of_a_server_that_is_at_work(place: Place) -> None:
    place.program(GATE, HEADER.replace("drain_seconds=0.5", "drain_seconds=0.5, slots=1"))
    with place.serving(), place.running(server=place.address):
        place.begin("gated", "never", id="g")
        told = place.told("g", "with-worker")
        assert "waits for activity gate, attempt 1 at shop.py:" in told.sentence
        assert "in gated: the worker " in told.sentence
        place.begin("gated", "never", id="h")
        place.moves("h", "no-room", "in line (before it )?until a worker has room", status="canceled")
        place.moves("g", "with-worker", "waits for activity gate", status="canceled")


def test_a_turn_that_a_worker_has_given_back(place: Place) -> None:
    place.program(APPROVAL)

    async def given_back() -> str:
        async with Peer(int(place.address.rpartition(":")[2])) as peer:
            token = (await peer.work().turn()).token.encode()
            await peer.call("AbandonTaskOrchestratorWorkItem", bytes([10, len(token)]) + token)
            told = await asyncio.to_thread(place.told, "a", "given-back")
            assert "has not begun: a worker has given it back; it is handed out again in" in told.sentence
            return await asyncio.to_thread(place.command, "a")

    with place.serving():
        place.begin("approval", id="a")
        command = asyncio.run(given_back())
        with place.running(server=place.address):
            place.does(command, "a", "canceled")


def test_an_activity_that_gives_heartbeats_and_one_that_has_no_slot(place: Place) -> None:
    code = """
@app.activity
async def beats():
    while True:
        activity_context().heartbeat("alive")
        await asyncio.sleep(0.05)

@app.workflow
async def lively():
    await beats()
"""
    with place.running(code) as app:
        place.begin("lively", id="l")
        place.told("l", "activity")

        async def until_it_beats() -> str:
            while "heartbeat" not in (told := await app.client.get("l").explain()).sentence:
                await asyncio.sleep(0.05)
            return told.sentence

        sentence = place.inside(app, until_it_beats())
        assert re.search(r"attempt 1, which has run for \d+\.\d s, last heartbeat 0\.\d s ago at shop.py", sentence), (
            sentence
        )
        place.does(place.command("l"), "l", "canceled")
