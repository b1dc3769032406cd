"""The command that moves an app to another store."""

import asyncio
import json
import signal

import pytest

from perdure import Client
from perdure.cli.move import named

URL = "sqlite:///shop.db"


@pytest.mark.long
def test_an_app_is_moved_and_goes_on_there(shell, inside):
    with shell.worker() as worker:
        shell.begin("approval", "ann", id="a")
        shell.begin("total", 1, id="t")
        shell.until("a", lambda state: state["status"] == "running")
        shell.until("t", lambda state: state["status"] == "completed")
        assert "stop every process that runs it" in inside("move", URL, "sqlite:///new.db", code=3)[1]
        worker.send(signal.SIGTERM)
        worker.exit_code()
    dry = json.loads(inside("move", URL, "sqlite:///dry.db", "--dry-run", "--json")[0])
    assert (dry["app"], dry["instances"], dry["left"]) == ("shop", 1, 1)
    assert not (shell.folder / "dry.db").exists()
    done = shell.run("move", URL, "sqlite:///new.db")
    assert done.stdout.startswith(
        f"Moved 1 instances of shop to sqlite:///{shell.folder}/new.db; 1 finished ones stay."
    )
    assert "kept in both stores" in done.stderr
    for refused in (("list",), ("raise", "a", "approved"), ("move", URL, "sqlite:///new.db", "--abort")):
        assert f"was moved to sqlite:///{shell.folder}/new.db" in inside(*refused, code=3)[1]
    assert "was moved to" in shell.error("worker", "shop:app", code=3)
    stats = json.loads(inside("store", "stats", URL, "--json")[0])
    assert stats["apps"][0]["kept"] == f"moved to sqlite:///{shell.folder}/new.db"
    (shell.folder / "shop.db").rename(shell.folder / "old.db")
    (shell.folder / "new.db").rename(shell.folder / "shop.db")
    with shell.worker():
        inside("raise", "a", "approved", '"yes"')
        assert shell.until("a", lambda state: state["status"] == "completed")["output"] == "ann: yes"


def test_a_move_that_cannot_go_through_is_taken_back(shell, inside):
    stores = (URL, "sqlite:///other.db")
    for store in stores:
        inside("start", "approval", '"ann"', "--id", "a", "--app", "shop", "--store", store)
    assert "other instances under 1 of their ids: a" in inside("move", *stores, "--dry-run", code=1)[0]
    assert "purge those there" in inside("move", *stores, code=2)[1]
    assert "being moved away to" in inside("list", "--store", stores[0], code=3)[1]
    assert "being moved here from" in inside("list", "--store", stores[1], code=3)[1]
    assert "Taken back: 0 instances; shop may run here." in inside("move", *stores, "--abort")[0]
    for store in stores:
        assert json.loads(inside("list", "--store", store, "--json")[0])["id"] == "a"


def test_words_that_make_no_move_are_refused(refused, shell):
    assert "there is no store at" in refused("move", "sqlite:///none.db", "sqlite:///b.db", code=3)
    asyncio.run(visit(f"sqlite:///{shell.folder}/a.db"))
    pair = ("sqlite:///a.db", "sqlite:///b.db")
    assert "name one with --app" in refused("move", *pair, code=2)
    assert "holds no app 'mill'" in refused("move", *pair, "--app", "mill", code=2)
    assert "exclude each other" in refused("move", *pair, "--dry-run", "--abort", code=2)
    assert "one store" in refused("move", pair[0], "sqlite:///./a.db", "--app", "bank", code=2)
    assert "not being moved" in refused("move", pair[0], pair[0], "--app", "bank", "--abort", code=2)


async def visit(url: str) -> None:
    """Make a store with two apps."""
    for app in ("bank", "shop"):
        async with Client(url, app_id=app):
            pass


def test_a_store_is_called_the_same_from_everywhere_and_its_password_nowhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (
        named("sqlite:///a.db") == named(f"sqlite:///{tmp_path}/a.db?synchronous=full") == f"sqlite:///{tmp_path}/a.db"
    )
    assert named("postgresql://ann:secret@host:5/db?sslmode=require") == "postgresql://ann@host:5/db"
    assert named("redis://:secret@host/0") == "redis://host/0"
