"""`perdure debug`: a run's history replayed in the shell, beside its owner and from a file."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import PATIENCE_SECONDS

pytestmark = pytest.mark.long


@pytest.fixture
def held(shell):
    """A folder with a run that waits at its second gate, and whose owner has ended."""
    shell.begin("gated", ["a", "b"], id="g")
    (shell.folder / "a").touch()
    with shell.worker():
        shell.until("g", lambda state: state["custom_status"] == {"done": 1, "total": 2})
    return shell


def attempts(shell):
    return (shell.folder / "attempts").read_text().split()


def test_a_snapshot_says_where_the_code_stands_before_any_event(held):
    told = held.json("debug", "g", "shop:app", "--at", "5")
    assert (told["id"], told["at"], told["next"]["type"]) == ("g", 5, "ActivityCompleted")
    (task,) = told["tasks"]
    assert task["frames"][-1]["source"] == "passed.append(await gate(name))"
    assert task["frames"][-1]["locals"]["name"] == "'a'"
    assert [wait["name"] for wait in told["waits"]] == ["gate"]
    after = held.json("debug", "g", "shop:app")
    assert (after["at"], after["next"], after["end"], after["stall"]) == (after["events"] + 1, None, None, None)
    assert after["tasks"][0]["frames"][-1]["locals"]["passed"] == "['a']"
    assert [action["type"] for action in after["asked"]].count("ScheduleActivity") == 2


def test_a_finished_run_can_be_debugged_too(shell):
    shell.begin("total", 3, id="t")
    with shell.worker():
        shell.until("t", lambda state: state["status"] == "completed")
    told = shell.json("debug", "t", "shop:app")
    assert (told["tasks"], told["end"]["status"], told["end"]["output"]) == ([], "completed", 4)


def prompted(shell, *lines, options=()):
    return shell.run("debug", "g", "shop:app", *options, stdin="\n".join(lines) + "\n")


def test_the_prompt_steps_both_ways_and_looks(held):
    said = prompted(held, "n", "locals", "b", "goto 1", "tasks", "list all", "asked", "q", options=("--at", "5")).stdout
    assert said.startswith("before event 5 of ")
    assert "passed = ['a']" in said
    assert "passed.append(await gate(name))" in said
    assert "\nbefore event 1 of " in said
    assert ">    1 TurnStarted" in said
    before = attempts(held)
    assert before.count("a") == 1


def test_a_what_if_goes_to_the_end_and_back(held):
    lines = ("waits", 'answer 2 "b"', "list", "b", "fail 2 KeyError gone", "b", "v", "quit")
    said = prompted(held, *lines).stdout
    assert '"output": ["a", "b"], "status": "completed"' in said
    assert "what if ActivityCompleted" in said
    assert "activity gate failed on attempt 1: KeyError: gone" in said
    assert "passed = ['a']" in said.splitlines()


def test_pdb_takes_over_for_one_event(held):
    said = prompted(held, "p passed", "n", "p len(passed)", "q", "where", "q", options=("--at", "4", "--pdb")).stdout
    assert "(Pdb) ['a']" in said
    assert "set_status(" in said
    assert said.count("before event") == 2  # because `where` comes after pdb has let go


def test_mistakes_at_the_prompt_are_sentences_and_it_goes_on(held):
    done = prompted(held, "nonsense", "goto", "answer 9", "answer 2 {", "raise", "fail 2", "help", "where")
    assert [line.split(" ")[0] for line in done.stderr.splitlines()] == [
        *["there", "''", "the", "the", "an", "write"],
    ]
    assert "passed.append" in done.stdout.splitlines()[-1]


def test_a_run_whose_mail_waits_can_be_stepped_into_it(shell):
    with shell.worker():
        shell.begin("approval", "ada", id="g")
        shell.until("g", lambda state: state["status"] == "running")
        while shell.json("explain", "g")["cause"] != "event":
            time.sleep(0.02)
    shell.run("raise", "g", "approved", '"yes"')
    said = prompted(shell, "n").stdout
    assert "EventRaised" in said
    assert '"output": "ada: yes"' in said
    assert shell.status("g") == "running"


def test_code_that_does_not_fit_stops_at_the_difference(held):
    code = (held.folder / "shop.py").read_text()
    code = code.replace("    passed = []\n", "    passed = []\n    await asyncio.sleep(1)\n")
    (held.folder / "shop.py").write_text(code)
    told = held.json("debug", "g", "shop:app")
    assert told["at"] == 3
    assert told["stall"]["reason"] == "non-determinism"
    assert "history holds ActivityScheduled(gate), the code asked for CreateTimer" in told["stall"]["description"]
    assert "the code stands still (non-determinism)" in prompted(held, "n").stdout


def test_nothing_is_written_and_no_activity_runs_beside_an_owner_that_goes_on(held):
    file = held.folder / "shop.db"
    content, tried = file.read_bytes(), attempts(held)
    prompted(held, 'answer 2 "b"', "goto 1", "n", "n", "n", "pdb", "c")
    assert file.read_bytes() == content
    assert attempts(held) == tried
    with held.worker() as owner:
        held.until("g", lambda state: attempts(held) != tried and _says_who_it_is(owner, file))
        before, tried = _dump(file), attempts(held)
        prompted(held, 'answer 2 "b"', "goto 1", "n", "n", "n")
        assert _dump(file) == before
        assert attempts(held) == tried
        (held.folder / "b").touch()
        held.until("g", lambda state: state["status"] == "completed")


def _says_who_it_is(owner, file):
    """Whether the owner's own description, the last thing that it writes unasked, is in the store."""
    return any(f'"pid":{owner.pid},' in line for line in _dump(file))


def _dump(file):
    connection = sqlite3.connect(file)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_an_exported_history_needs_no_store(held):
    held.run("replay", "--app", "shop", "--export", "set.jsonl")
    (held.folder / "shop.db").unlink()
    held.environment.pop("PERDURE_STORE")
    told = held.json("debug", "g", "shop:app", "--from", "set.jsonl")
    assert told["tasks"][0]["frames"][-1]["locals"]["passed"] == "['a']"
    assert "holds no instance 'other'" in held.error("debug", "other", "shop:app", "--from", "set.jsonl", code=2)


def test_on_a_terminal_it_prompts(held):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "perdure", "debug", "g", "shop:app", "--at", "5"]
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    process = subprocess.Popen(command, cwd=held.folder, env={**held.environment, "TERM": "dumb"}, **streams)
    os.close(follower)
    os.write(leader, b"n\nq\n")
    said = b""
    try:
        while chunk := os.read(leader, 4096):
            said += chunk
    except OSError:
        pass  # because a terminal that nobody holds any more ends its reader so
    finally:
        os.close(leader)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert b"help lists the commands." in said
    assert b"(before 5) " in said
    assert b"(before 6) " in said


def test_what_the_code_prints_is_no_part_of_the_snapshot(held):
    code = (held.folder / "shop.py").read_text()
    (held.folder / "shop.py").write_text(code.replace("    passed = []\n", '    passed = []\n    print("hello")\n'))
    done = held.run("debug", "g", "shop:app", "--json")
    assert json.loads(done.stdout)["stall"] is None
    assert done.stderr == "hello\n"


def test_ctrl_c_ends_the_prompt_and_a_turn_that_does_not_end(held):
    code = (held.folder / "shop.py").read_text()
    endless = '    passed.clear()\n    print("endless", flush=True)\n    while True:\n        pass\n'
    (held.folder / "shop.py").write_text(code.replace("    return passed\n", f"{endless}    return passed\n"))
    process = subprocess.Popen(
        [sys.executable, "-m", "perdure", "debug", "g", "shop:app"],
        cwd=held.folder,
        env=held.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.stdin.write(b'answer 2 "b"\n')
        process.stdin.flush()
        while process.stdout.readline() != b"endless\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["debug", "nobody", "shop:app"], 2, "no instance 'nobody'"),
        (["debug", "g", "shop:nothing"], 2, "has no such attribute"),
        (["debug", "g", "shop:app", "--at", "99"], 2, "go to 1 to"),
        (["debug", "g", "shop:app", "--pdb", "--json"], 2, "give one of them"),
        (["debug", "g", "shop:app", "--app", "other"], 2, "no instance 'g' in app 'other'"),
        (["debug", "g", "shop:app", "--store", "sqlite:///none.db"], 3, "there is no store"),
    ],
)
def test_mistakes_are_told_in_a_sentence(held, arguments, code, words):
    assert words in held.error(*arguments, code=code)
