"""The commands that check a store, bring its layout up, and count what it holds."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from perdure import Client
from perdure.stores.contract import FORMAT
from perdure.stores.sql.schema import FORMAT_1, statements

URL = "sqlite:///shop.db"


def test_check_says_what_the_store_is(shell, inside):
    shell.begin("total", 1, id="a")
    before = contents(shell)
    found = document(inside("store", "check", URL, "--json"))
    assert found["product"] == f"SQLite {sqlite3.sqlite_version}"
    assert (found["format"], found["wrong"], found["durability"][0]) == (FORMAT, [], "A")
    assert (found["settings"]["journal_mode"], found["settings"]["synchronous"]) == ("wal", "full")
    out, err = inside("store", "check", f"{URL}?synchronous=unsafe_normal")
    assert "durability C: the newest commits may be lost" in out
    assert err == ""
    assert contents(shell) == before, "it changes nothing"


def document(told: tuple[str, str]) -> dict:
    return json.loads(told[0])


def test_an_older_layout_is_told_of_and_brought_up(shell, inside):
    with closing(sqlite3.connect(shell.folder / "shop.db")) as file:
        for statement in statements(FORMAT_1):
            file.execute(statement)
        file.execute("insert into perdure_meta values ('format', '1')")
        file.commit()
    out, err = inside("store", "check", URL, code=1)
    assert f"layout 1 of {FORMAT}" in out
    assert "perdure store migrate" in err
    assert "open it once with a worker" in inside("store", "stats", URL, code=3)[1]
    assert inside("store", "migrate", URL)[0] == f"The layout has format {FORMAT} now; it had 1.\n"
    assert document(inside("store", "migrate", URL, "--json")) == {"before": FORMAT, "after": FORMAT}
    assert document(inside("store", "check", URL, "--json"))["wrong"] == []


@pytest.mark.long
def test_what_is_no_store_is_told_in_one_sentence(refused, shell):
    assert "there is no store at" in refused("store", "check", "sqlite:///none.db", code=3)
    assert not (shell.folder / "none.db").exists()
    (shell.folder / "text.db").write_text("x" * 5_000)
    assert "damaged or no SQLite file" in refused("store", "check", "sqlite:///text.db", code=3)
    with closing(sqlite3.connect(shell.folder / "other.db")) as other:
        other.execute("create table theirs (x)")
    assert "another program" in refused("store", "check", "sqlite:///other.db", code=3)
    asyncio.run(visit(f"sqlite:///{shell.folder}/late.db"))
    with closing(sqlite3.connect(shell.folder / "late.db")) as late:
        late.execute("update perdure_meta set value = '99'")
        late.commit()
    for act in ("check", "migrate", "stats"):
        assert "install a later perdure" in refused("store", act, "sqlite:///late.db", code=3)
    assert "Missing argument" in shell_usage(shell)


def shell_usage(shell) -> str:
    del shell.environment["PERDURE_STORE"]
    return shell.run("store", "check", code=2).stderr


async def visit(url: str) -> None:
    async with Client(url, app_id="shop"):
        pass


@pytest.mark.long
def test_a_damaged_page_is_found(shell, inside):
    for number in range(30):
        shell.begin("total", 1, id=f"i{number}")
    file = shell.folder / "shop.db"
    with closing(sqlite3.connect(file)) as store:
        store.execute("pragma wal_checkpoint(truncate)")
        ((root,),) = store.execute("select rootpage from sqlite_master where name = 'perdure_head_by_age'")
        ((size,),) = store.execute("pragma page_size")
    with file.open("r+b") as damaged:
        damaged.seek((root - 1) * size)
        damaged.write(b"\xff" * 200)
    assert "the file is damaged" in inside("store", "check", URL, code=1)[1]


@pytest.mark.long
def test_stats_count_what_each_app_has(shell, inside):
    shell.begin("total", 1, id="a")
    shell.begin("approval", "ann", id="o", app="other")
    with shell.worker():
        shell.begin("gated", ["gate"], id="g")
        shell.until("a", lambda state: state["status"] == "completed")
        shell.until("g", lambda state: state["custom_status"] is None and (shell.folder / "attempts").exists())
        stats = document(inside("store", "stats", URL, "--json"))
        assert stats["bytes"] > 10_000
        other, shop = stats["apps"]
        assert (other["app"], other["workflows"], other["mail"]) == ("other", {"pending": 1}, 1)
        assert (shop["workflows"], shop["calls"], shop["entities"]) == ({"completed": 1, "running": 1}, {"held": 1}, 0)
        assert shop["segments"] >= 3
        (shard,) = shop["shards"]
        assert (shard["number"], shard["epoch"]) == (0, 1)
        assert shop["members"][0]["owner"].startswith(shard["owner"])
        text, _ = inside("store", "stats", URL, "--app", "shop")
        assert "shop: 1 completed, 1 running" in text
        assert "open calls: 1 held" in text
        assert "1 shards, 0 of them without an owner\n  shard 0: epoch 1, owner " in text
        assert "other" not in text
    assert "holds no app 'mill'" in inside("store", "stats", URL, "--app", "mill", code=2)[1]


def contents(shell) -> list[str]:
    return sorted(file.name for file in shell.folder.iterdir() if not file.name.endswith(("-shm", "-wal")))
