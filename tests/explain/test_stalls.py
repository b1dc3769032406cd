"""Instances that stand still: each is brought to it, the cause is mended, and the command lets it go on."""

from __future__ import annotations

import re
import shutil

import pytest

from perdure import KeyRing
from tests.explain.place import APPROVAL, HEADER, Place

pytestmark = pytest.mark.long  # with real processes, for minutes

STEPS = """
@app.activity
async def reserve() -> str:
    return "reserved"

@app.activity
async def charge() -> str:
    return "charged"

"""
ORDER = """
@app.workflow
async def order() -> str:
    await {first}()
    await {second}()
    return await wait_for_event("go")
"""


def test_workers_that_lack_the_workflow(place: Place) -> None:
    with place.running(STEPS):
        place.begin("approval", id="a")
        told = place.told("a", "stalled:workflow-not-registered")
        assert "no workflow 'approval' is registered in app 'shop'" in told.sentence
        assert told.next.startswith("it is tried again by itself when a worker starts")
    place.shell(place.command("a"))
    with place.running(APPROVAL):
        place.moves("a", "event", "approved")


def test_workers_that_lack_the_version(place: Place) -> None:
    old = """
@app.workflow(version="{version}")
async def approval():
    return await wait_for_event("approved")
"""
    with place.running(old.format(version="1")):
        place.begin("approval", id="a")
        place.told("a", "event")
    with place.running(old.format(version="2")):
        place.shell("perdure raise a approved")
        told = place.told("a", "stalled:version-not-registered")
        assert "no version '1' of workflow 'approval' is registered" in told.sentence
    place.shell(place.command("a"))
    with place.running(old.format(version="1")):
        assert place.ends("a").status == "completed"


def test_code_that_does_not_fit_the_history(place: Place) -> None:
    with place.running(STEPS, ORDER.format(first="reserve", second="charge")):
        place.begin("order", id="o")
        place.told("o", "event")
    with place.running(STEPS, ORDER.format(first="charge", second="reserve")):
        place.shell("perdure raise o go")
        told = place.told("o", "stalled:non-determinism")
        assert "charge" in told.sentence
        assert "reserve" in told.sentence
        assert told.line is not None
    place.shell(place.command("o"))
    with place.running(STEPS, ORDER.format(first="reserve", second="charge").replace(") -> str", ")")):
        assert place.ends("o").status == "completed"


def test_a_payload_that_cannot_be_read(place: Place) -> None:
    code = """
@app.workflow
async def count(n: {type}):
    return n
"""
    with place.running(code.format(type="int")):
        place.begin("count", "seven", id="c")
        told = place.told("c", "stalled:payload-not-decodable")
        assert "Expected `int`" in told.sentence
        command = place.command("c")
    with place.running(code.format(type="str")):
        place.does(command, "c")


def test_an_event_that_brought_what_its_type_does_not_take(place: Place) -> None:
    code = """
@app.workflow
async def asking():
    return await wait_for_event("approved", {type})
"""
    with place.running(code.format(type="bool")):
        place.begin("asking", id="a")
        place.told("a", "event")
        place.shell("perdure raise a approved '\"yes\"'")
        told = place.told("a", "stalled:payload-not-decodable")
        assert "Expected `bool`, got `str`" in told.sentence
    place.shell(place.command("a"))
    with place.running(code.format(type="bool | str")):
        assert place.ends("a").output == "yes"


def test_a_payload_that_is_too_large(place: Place) -> None:
    code = """
@app.activity
async def keep(text: str) -> int:
    return len(text)

@app.workflow
async def large():
    return await keep("x" * {size})
"""
    with place.running(code.format(size=200_000_000)):
        place.begin("large", id="l")
        told = place.told("l", "stalled:payload-too-large")
        assert told.line is None or "shop.py" in told.line
    place.shell(place.command("l"))
    with place.running(code.format(size=10)):
        assert place.ends("l").status == "completed"


def test_a_turn_that_does_not_end(place: Place) -> None:
    code = """
@app.workflow
async def polls():
    while not {ready}:
        await asyncio.sleep(0)
"""
    with place.running(code.format(ready="False")):
        place.begin("polls", id="p")
        told = place.told("p", "stalled:turn-too-long")
        assert "shop.py" in told.sentence
    place.shell(place.command("p"))
    with place.running(code.format(ready="True")):
        assert place.ends("p").status == "completed"


def test_a_history_that_is_too_long(place: Place) -> None:
    code = """
@app.workflow
async def many():
    for number in range(30):
        await asyncio.sleep(0.001)
"""
    place.program(code, HEADER.replace("drain_seconds=0.5", "drain_seconds=0.5, history_events_max=20"))
    with place.running():
        place.begin("many", id="m")
        told = place.told("m", "stalled:history-too-long")
        assert "events and the bound is 20" in told.sentence
        assert told.next == "nothing"
    place.shell(place.command("m"))
    with place.running(code):
        assert place.ends("m").status == "completed"


@pytest.mark.parametrize(
    "cause, table, column",
    [
        ("stalled:history-corrupt", "perdure_history", "events"),
        ("stalled:mail-corrupt", "perdure_mail", "event"),
    ],
)
def test_rows_that_are_damaged_and_put_back(place: Place, cause: str, table: str, column: str) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
    place.shell("perdure raise a approved")
    place.sql(f"create table kept as select * from {table}", f"update {table} set {column} = '{{'")
    with place.running():
        place.told("a", cause)
        place.sql(f"delete from {table}", f"insert into {table} select * from kept", "drop table kept")
        place.does(place.command("a"), "a")


def test_waits_that_are_gone_and_put_back(place: Place) -> None:
    code = """
@app.workflow
async def naps():
    await asyncio.sleep(3600)
"""
    with place.running(code):
        place.begin("naps", id="n")
        place.told("n", "timer")
    place.sql("create table kept as select * from perdure_wait where instance = 'n'", "delete from perdure_wait")
    with place.running():
        place.told("n", "stalled:wait-corrupt")
    place.sql("insert into perdure_wait select * from kept", "update perdure_wait set due = 1", "drop table kept")
    place.shell(place.command("n"))
    with place.running():
        assert place.ends("n").status == "completed"


def test_an_activity_that_kills_its_worker(place: Place) -> None:
    place.program("""
@app.activity
async def crash() -> str:
    if not pathlib.Path("mended").exists():
        os.kill(os.getpid(), 9)
    return "well"

@app.workflow
async def deadly() -> str:
    return await crash()
""")
    place.begin("deadly", id="d")
    for _ in range(2):
        place.crash("worker", "shop:app")
    told = place.told("d", "no-node")
    assert "deadly d waits for activity crash" in told.sentence
    place.crash("worker", "shop:app")
    (place.folder / "mended").touch()
    with place.process("worker", "shop:app"):
        place.moves("d", "stalled:quarantined", r"its owner died 3 times running while .* in flight.*activity crash")


def test_one_of_whom_it_is_suspected(place: Place) -> None:
    place.program("""
@app.activity
async def crash(name: str) -> str:
    if not pathlib.Path("mended").exists():
        os.kill(os.getpid(), 9)
    while not pathlib.Path("open").exists():
        await asyncio.sleep(0.01)
    return "well"

@app.workflow
async def deadly(name: str) -> str:
    return await crash(name)
""")
    place.begin("deadly", "one", id="d1")
    place.begin("deadly", "other", id="d2")
    for _ in range(2):
        place.crash("worker", "shop:app")
    (place.folder / "mended").touch()
    with place.process("worker", "shop:app"):
        found = place.either(("d1", "d2"), "suspect")
        place.moves(
            found,
            "suspect",
            r"^deadly d\d .*\. Its owners died 2 times running while it was in flight, so suspects run one by one",
            status="terminated",
        )


CODED = """
from perdure import App, Codec, KeyRing, wait_for_event

app = App("shop", drain_seconds=0.5, codec={codec})

@app.workflow
async def secretive(word: str) -> str:
    await wait_for_event("go")
    return word
"""


def test_a_key_that_is_missing(place: Place) -> None:
    place.program(CODED.format(codec='Codec(keys=KeyRing.from_file("keys"))'), "")
    keys = place.folder / "keys"
    first, second = f"k1={KeyRing.new_key()}", f"k2={KeyRing.new_key()}"
    keys.write_text(first)
    with place.running() as app:
        place.inside(app, app.client.workflow("secretive").with_options(id="s").start("word"))
        place.told("s", "event")
        keys.write_text(second)
    with place.running():
        place.shell("perdure raise s go --codec shop:app")
        told = place.told("s", "stalled:key-missing")
        assert "k1" in told.sentence
    place.shell(place.command("s"))
    keys.write_text(f"{second}\n{first}")
    with place.running():
        assert place.ends("s").status == "completed"


def test_a_blob_that_is_missing(place: Place) -> None:
    place.program(CODED.format(codec='Codec(offload="blobs", offload_above=100)'), "")
    with place.running() as app:
        place.inside(app, app.client.workflow("secretive").with_options(id="s").start("word" * 1000))
        place.told("s", "event")
    (place.folder / "blobs").rename(place.folder / "elsewhere")
    with place.running():
        place.shell("perdure raise s go")
        place.told("s", "stalled:blob-missing")
        shutil.rmtree(place.folder / "blobs", ignore_errors=True)
        (place.folder / "elsewhere").rename(place.folder / "blobs")
        place.does(place.command("s"), "s")


def test_a_payload_that_was_changed(place: Place) -> None:
    keys = place.folder / "keys"
    keys.write_text(f"k1={KeyRing.new_key()}")
    place.program(CODED.format(codec='Codec(keys=KeyRing.from_file("keys"))'), "")
    with place.running() as app:
        place.inside(app, app.client.workflow("secretive").with_options(id="s").start("word"))
        place.told("s", "event")
    place.sql("create table kept as select * from perdure_history")
    place.change("perdure_history", "events", lambda text: re.sub(r'"k1","(..)(..)', r'"k1","\2\1', text))
    with place.running():
        place.shell("perdure raise s go")
        told = place.told("s", "stalled:payload-tampered")
        assert "secretive s stands still (payload-tampered)" in told.sentence
        command = place.command("s")
    place.sql("delete from perdure_history", "insert into perdure_history select * from kept", "drop table kept")
    place.shell(command)
    with place.running():
        assert place.ends("s").status == "completed"


VAULT = """
import pathlib
from perdure import App, Codec, KeyRing, wait_for_event

class Vault:
    is_personal = False

    def __init__(self):
        self.ring = KeyRing.from_file("keys")

    def choose(self, tags, beside):
        return self.ring.choose(tags, beside)

    def secret(self, id):
        if pathlib.Path("sealed").exists():
            raise RuntimeError("the vault is sealed")
        return self.ring.secret(id)

app = App("shop", drain_seconds=0.5, codec=Codec(keys=Vault()))

@app.workflow
async def secretive(word: str) -> str:
    await wait_for_event("go")
    return word
"""


def test_a_codec_that_fails(place: Place) -> None:
    (place.folder / "keys").write_text(f"k1={KeyRing.new_key()}")
    place.program(VAULT, "")
    with place.running() as app:
        place.inside(app, app.client.workflow("secretive").with_options(id="s").start("word"))
        place.told("s", "event")
    sealed = place.folder / "sealed"
    sealed.touch()
    with place.running():
        place.shell("perdure raise s go")
        place.moves("s", "stalled:codec-failed", "RuntimeError: the vault is sealed", mended=sealed.unlink)
