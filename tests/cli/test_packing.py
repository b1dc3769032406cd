"""What the command line shows of packed payloads, with the codec and without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perdure import KeyRing
from tests.cli.conftest import Shell

pytestmark = pytest.mark.long

VAULT = """
import perdure
from perdure import App, Codec, KeyRing, Secret, set_status

codec = Codec(compress=True, keys=KeyRing.from_env(), offload="blobs", offload_above=1_000)
app = App("vault", codec=codec)
plain = App("plain")
seven = 7

@app.workflow
async def keep(name: str, pin: Secret[str]) -> dict:
    set_status({"of": name, "pin": pin})
    if name == "fails":
        raise ValueError(f"{name} has no pin")
    return {"name": name, "pin": pin, "text": f"{perdure.random().getrandbits(8_000):02000x}"}

@app.workflow
async def waits(name: str, pin: Secret[str]) -> str:
    return name + await perdure.wait_for_event("go", str)
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    shell = Shell(tmp_path)
    (tmp_path / "vault.py").write_text(VAULT)
    shell.environment |= {"PERDURE_KEYS": f"k1={KeyRing.new_key()}", "PERDURE_STORE": "sqlite:///vault.db"}
    return shell


def keep(shell, *names):
    program = f"""
import asyncio
from vault import app, keep
from perdure import Secret, WorkflowFailed
async def main():
    async with app:
        for name in {names!r}:
            try:
                await (await keep.with_options(id=name).start(name, Secret("hunter2"))).result(30)
            except WorkflowFailed:
                pass
asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=shell.folder, env=shell.environment, timeout=30, check=True)


def test_without_the_codec_it_shows_which_key_is_missing_and_with_it_all_but_secrets(shell):
    keep(shell, "ada", "fails")
    blind = shell.json("show", "ada")
    assert blind["input"] == blind["output"] == blind["custom_status"] == "<encrypted, key k1>"
    assert shell.json("show", "fails")["failure"]["cause"]["message"] == "<encrypted, key k1>"
    assert "<encrypted, key k1>" in shell.text("list")
    told = [event for event in shell.lines("history", "ada") if "input" in event]
    assert [event["input"] for event in told] == ["<encrypted, key k1>"]

    shell.environment["PERDURE_CODEC"] = "vault:app"
    seen = shell.json("show", "ada")
    assert seen["input"] == [["ada", "***"], {}]
    assert seen["custom_status"] == {"of": "ada", "pin": "***"}
    assert (seen["output"]["name"], seen["output"]["pin"], len(seen["output"]["text"])) == ("ada", "***", 2_000)
    assert shell.json("show", "fails")["failure"]["cause"]["message"] == "fails has no pin"
    shown = [
        shell.text(*words) for words in (("show", "ada"), ("list",), ("history", "ada"), ("history", "ada", "--json"))
    ]
    assert all("ada" in text for text in shown)
    assert not any("hunter2" in text for text in shown)


def test_what_it_sends_is_packed_too_and_a_sweep_is_a_command(shell):
    keep(shell, "ada")
    codec = ("--codec", "vault:codec")
    shell.json("start", "keep", '"ben"', '"1234"', "--id", "ben", "--app", "vault", *codec)
    assert shell.json("show", "ben")["input"] == "<encrypted, key k1>"
    assert shell.json("show", "ben", *codec)["input"] == [["ben", "1234"], {}]
    assert shell.json("sweep", *codec) == {"command": "sweep", "count": 0}
    assert "offload" in shell.error("sweep", code=2)
    assert "--days" in shell.run("sweep", "--days", "1", *codec, code=2).stderr


@pytest.mark.parametrize("address, told", [("vault", "MODULE"), ("vault:seven", "int"), ("vault:no", "nothing")])
def test_an_address_that_names_no_codec_is_refused(shell, address, told):
    keep(shell, "ada")
    assert told in shell.error("list", "--codec", address, code=2)


def test_the_deploy_gate_reads_packed_histories(shell):
    begun = """
import asyncio
from vault import app, waits
from perdure import Secret
async def main():
    async with app:
        await waits.with_options(id="w").start("x" * 2_000, Secret("hunter2"))
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", begun], cwd=shell.folder, env=shell.environment, timeout=30, check=True)
    assert "1 of 1 unfinished runs can go on" in shell.run("replay", "vault:app").stderr


def test_a_debugger_shows_no_secret_that_the_code_passes_on(shell):
    (shell.folder / "vault.py").write_text(
        VAULT
        + """
@app.activity
async def open_door(pin: Secret[str]) -> Secret[str]:
    return pin

@app.workflow
async def enter(pin: Secret[str]) -> Secret[str]:
    perdure.set_state(pin)
    return await open_door(pin)
"""
    )
    program = """
import asyncio
from vault import app, enter
from perdure import Secret
async def main():
    async with app:
        await (await enter.with_options(id="e").start(Secret("hunter2"))).result(30)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], cwd=shell.folder, env=shell.environment, timeout=30, check=True)
    shown = shell.run("debug", "e", "vault:app", "--json")
    assert "ScheduleActivity" in shown.stdout
    assert "***" in shown.stdout
    assert "hunter2" not in shown.stdout
    spoken = shell.run("debug", "e", "vault:app", "--at", "3", stdin="asked\nwaits\nlist all\nnext\nnext\nasked\nq\n")
    assert "open_door" in spoken.stdout
    assert "hunter2" not in spoken.stdout
