"""Failures in groups, and the one command that makes a group run again."""

import shlex

import pytest

from perdure import KeyRing
from tests.cli.conftest import SHOP

VAULT = """
import pathlib
from perdure import App, Codec, KeyRing

app = App("-the vault", codec=Codec(keys=KeyRing.from_env()))

@app.activity
async def pin() -> str:
    if not pathlib.Path("mended").exists():
        raise ValueError("no pin")
    return "a pin"

@app.workflow
async def fails() -> str:
    return await pin()
"""
BROKEN = SHOP.replace("return x + y", "raise ConnectionError(f'the bank refused {x}')")


@pytest.mark.long
def test_a_group_of_failures_is_rerun_by_the_command_that_is_printed(shell):
    (shell.folder / "shop.py").write_text(BROKEN)
    with shell.worker():
        for number in range(3):
            shell.begin("total", number, id=f"t{number}")
        for number in range(3):
            shell.until(f"t{number}", lambda state: state["status"] == "failed")
        (group,) = shell.lines("failures")
        assert (group["count"], group["ids"]) == (3, ["t0", "t1", "t2"])
        shown = shell.run("failures", "--since", "-1h")
        assert "ConnectionError: the bank refused <n>" in shown.stdout
        assert "shop.py" in shown.stdout
        command = shown.stderr.strip().removeprefix("Once the cause is gone: perdure ").split()
        refused = shell.error(*command, code=1)
        assert "The others wait, because the first did not come through" in refused
        assert "the bank refused 0" in refused
    (shell.folder / "shop.py").write_text(SHOP)
    with shell.worker():
        # The canary that failed is a member of the group now, and the youngest.
        assert shell.text(*command) == "3 made to run again, t1.rerun first.\n"
        for id in ("t1.rerun", "t2.rerun", "t0.rerun.rerun"):
            shell.until(id, lambda state: state["status"] == "completed")
        assert shell.text(*command) == "0 made to run again, t0.rerun first.\n"
    assert "no failure has the fingerprint 'x'" in shell.error("failures", "--retry", "x", code=2)


@pytest.mark.long
def test_where_nothing_has_failed_it_says_so(shell):
    shell.begin("total", 1, id="t")
    assert shell.error("failures", code=0) == "Nothing has failed or stands still."


@pytest.mark.long
def test_the_command_that_is_printed_names_app_and_target_and_needs_no_key(shell):
    (shell.folder / "shop.py").write_text(VAULT)
    store = f"sqlite:///{shell.folder}/of the vault.db"
    shell.environment |= {"PERDURE_KEYS": f"k1={KeyRing.new_key()}"}
    with shell.worker("--store", store):
        for id in ("it's 1", "-2"):
            shell.run("start", "fails", "--store", store, "--app", "-the vault", f"--id={id}")
        where = ("--store", store, "--app", "-the vault")
        while sum(group["count"] for group in shell.lines("failures", *where)) < 2:
            pass
        command = shell.run("failures", *where).stderr.strip().removeprefix("Once the cause is gone: ")
        assert shlex.split(command)[2:6] == list(where)
        (shell.folder / "mended").touch()
        assert shell.text(*shlex.split(command)[1:]).startswith("2 made to run again, ")
