"""`perdure schedule ...` as a shell runs it, with and without a worker."""

import asyncio
import json

import pytest

from perdure import Client
from perdure.cli.schedule import document

pytestmark = pytest.mark.long

PATIENCE_SECONDS = 30.0


def documents(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_a_worker_a_schedule_is_made_shown_and_kept(shell):
    done = shell.run(
        *("schedule", "create", "nightly", "total", "1", "2", "--cron", "30 2 * * mon-fri"),
        *(
            "--app",
            "shop",
            "--timezone",
            "Europe/Berlin",
            "--overlap",
            "queue",
            "--jitter",
            "1m",
            "--catch-up",
            "2h",
            "--tag",
            "a=b",
        ),
    )
    assert done.stdout == "nightly is made\n"
    assert "waits for a worker" in done.stderr
    (shown,) = documents(shell.run("schedule", "show", "nightly", "--json"))
    assert shown["workflow"] == "total"
    assert (shown["cron"], shown["timezone"], shown["every"]) == ("30 2 * * mon-fri", "Europe/Berlin", None)
    assert (shown["overlap"], shown["jitter"], shown["catch_up"]) == ("queue", 60.0, 7200.0)
    assert shown["tags"] == {"a": "b"}
    assert len(shown["next"]) == 5
    assert shown["counts"] == {"started": 0, "skipped": 0, "missed": 0, "existing": 0}
    assert [each["id"] for each in documents(shell.run("schedule", "list", "--json"))] == ["nightly"]
    table = shell.run("schedule", "list").stdout
    assert "nightly" in table
    assert "30 2 * * mon-fri Europe/Berlin" in table
    facts = shell.run("schedule", "show", "nightly").stdout
    assert "queue" in facts
    assert shell.run("list", "--json").stdout == ""


def test_a_worker_obeys_every_command(shell):
    with shell.worker():
        shell.run("schedule", "create", "often", "total", "1", "--every", "1s")
        shown = until(shell, lambda state: state["counts"]["started"] >= 2 and state["recent"])
        assert shown["recent"][0]["status"] == "completed"
        shell.run("schedule", "pause", "often", "--note", "enough")
        paused = until(shell, lambda state: state["paused"] is not None)
        assert (paused["paused"], paused["next"]) == ("enough", [])
        (told,) = documents(shell.run("schedule", "trigger", "often", "--json"))
        assert shell.until(told["run"], lambda state: state["status"] == "completed")["output"] == 2
        before = paused["counts"]["started"]
        (told,) = documents(shell.run("schedule", "backfill", "often", "--from", "-1h", "--to", "-3590s", "--json"))
        assert told["ticks"] == 10
        until(shell, lambda state: state["counts"]["started"] >= before + 11 and not state["running"])
        shell.run("schedule", "update", "often", "--every", "1h", "--overlap", "allow")
        shell.run("schedule", "resume", "often")
        resumed = until(shell, lambda state: state["paused"] is None)
        assert (resumed["every"], resumed["overlap"]) == (3600.0, "allow")
        shell.run("schedule", "create", "often", "total", "5", "--every", "2h", "--replace")
        assert until(shell, lambda state: state["every"] == 7200.0)["input"] == 5
        assert "often" in shell.run("schedule", "delete", "often").stdout
    assert "no schedule" in shell.run("schedule", "show", "often", code=2).stderr
    assert "There is no schedule." in shell.run("schedule", "list").stderr


def test_a_schedule_is_deleted_without_a_worker(shell):
    make(shell, "there")
    shell.run("schedule", "delete", "there")
    assert shell.run("schedule", "list", "--json").stdout == ""


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (("create", "s", "total", "--cron", "61 * * * *"), "Bad minute"),
        (("create", "s", "total", "--cron", "* * * * *", "--timezone", "Nowhere"), "time zone"),
        (("create", "s", "total"), "give one of them"),
        (("create", "s", "total", "--every", "soon"), "--every"),
        (("create", "there", "total", "--every", "5"), "exists"),
        (("show", "none"), "no schedule"),
        (("backfill", "there", "--from", "+1h", "--to", "+2h"), "has passed"),
        (("backfill", "there", "--from", "yesterday"), "--from"),
        (("update", "there", "--cron", "x"), "five fields"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(shell, arguments, sentence):
    make(shell, "there")
    done = shell.run("schedule", *arguments, code=2)
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def make(shell, id: str) -> None:
    """A schedule, without the cost of a process."""

    async def create() -> None:
        async with Client(shell.url, app_id="shop") as client:
            await client.workflow("total").with_schedule(id, every=3_600).create(1)

    asyncio.run(create())


def until(shell, condition) -> dict:
    """What `show --json` tells of the schedule `often`, as soon as it meets the condition."""

    async def look() -> dict:
        async with asyncio.timeout(PATIENCE_SECONDS), Client(shell.url, app_id="shop") as client:
            while not condition(shown := document(await client.get_schedule("often").describe())):
                await asyncio.sleep(0.05)
            return shown

    return asyncio.run(look())
