"""Commands that steer: with a worker that runs, and without one."""

import sqlite3

import pytest


def test_event_reaches_the_workflow(shell):
    with shell.worker():
        shell.begin("approval", "bob", id="a")
        assert shell.text("raise", "a", "approved", '"yes"') == "a: event 'approved' sent\n"
        assert shell.until("a", lambda state: state["finished"])["output"] == "bob: yes"


@pytest.mark.long
def test_cancel_runs_compensations(shell):
    with shell.worker():
        shell.begin("careful", id="c")
        shell.until("c", lambda state: state["status"] == "running")
        assert shell.json("cancel", "c", "--reason", "no more")["command"] == "cancel"
        state = shell.until("c", lambda state: state["finished"])
        assert state["status"] == "canceled"
        assert any(event["type"] == "ActivityCompleted" for event in shell.lines("history", "c"))


@pytest.mark.long
def test_suspended_workflow_keeps_its_event_until_it_is_resumed(shell):
    with shell.worker():
        shell.begin("approval", "bob", id="a")
        shell.until("a", lambda state: state["status"] == "running")
        shell.run("suspend", "a", "--reason", "lunch")
        assert shell.until("a", lambda state: state["suspended"])["suspended"]["reason"] == "lunch"
        assert "running suspended" in shell.text("list")
        shell.run("raise", "a", "approved", '"yes"')
        assert shell.status("a") == "running"
        shell.run("resume", "a")
        assert shell.until("a", lambda state: state["finished"])["output"] == "bob: yes"


@pytest.mark.long
def test_termination_needs_no_worker_and_takes_children_along(shell):
    with shell.worker():
        shell.begin("parent", "bob", id="p")
        assert "waits for its child child-of-bob" in shell.text("explain", "p")
    assert shell.json("terminate", "p", "--output", "[1]") == {
        "id": "p",
        "command": "terminate",
        "status": "terminated",
    }
    assert shell.state("p")["output"] == [1]
    assert shell.status("child-of-bob") == "terminated"
    assert shell.json("purge", "p") == {"id": "p", "command": "purge", "count": 2}
    assert shell.lines("list") == []


@pytest.mark.long
def test_suspension_needs_no_worker_and_holds_when_one_comes(shell):
    with shell.worker():
        shell.begin("approval", "bob", id="a")
        shell.until("a", lambda state: state["status"] == "running")
    assert shell.text("suspend", "a") == "a: suspended\n"
    raised = shell.run("raise", "a", "approved", '"yes"')
    assert raised.stderr == "No process runs this app: the command is kept until a worker does.\n"
    with shell.worker():
        shell.run("start", "total", "1", "--wait")
        assert shell.status("a") == "running"
        shell.run("resume", "a")
        assert shell.until("a", lambda state: state["finished"])["output"] == "bob: yes"


@pytest.mark.long
def test_a_command_without_worker_leaves_all_other_work_alone(shell):
    with shell.worker():
        for id in ("one", "two"):
            shell.begin("gated", [id], id=id)
            shell.until(id, lambda state: state["status"] == "running")
    shell.begin("total", 20, 22, id="new")
    before = (shell.state("two"), shell.state("new"))
    shell.run("terminate", "one")
    assert (shell.state("two"), shell.state("new")) == before
    (shell.folder / "two").touch()
    with shell.worker():
        assert shell.until("two", lambda state: state["finished"])["output"] == ["two"]
        assert shell.until("new", lambda state: state["finished"])["output"] == 42


@pytest.mark.long
def test_finished_instances_take_no_commands(shell):
    with shell.worker():
        shell.run("start", "total", "1", "--wait", "--id", "t")
    for command in (["cancel", "t"], ["raise", "t", "e"]):
        assert "PERDURE-1204" in shell.error(*command, code=2)
    assert "PERDURE-1203" not in shell.text("purge", "t")


@pytest.mark.long
def test_batches_take_the_filters_of_list(shell):
    for number in range(4):
        tag = "even" if number % 2 == 0 else "odd"
        shell.begin("approval", "x", id=f"i{number}", tags={"parity": tag})
    shell.begin("total", 1, id="other")
    batch = ("terminate", "--all", "--name", "approval", "--tag", "parity=even")
    assert "--yes" in shell.error(*batch, code=2)
    assert shell.json(*batch, "--yes") == {"command": "terminate", "count": 2}
    left = shell.lines("list", "--status", "pending")
    assert sorted(state["id"] for state in left) == ["i1", "i3", "other"]
    assert shell.text("purge", "--all", "--yes", "--status", "terminated") == "2 instances purged\n"
    assert shell.text("suspend", "--all", "--yes", "--text", "I3") == "1 instance asked to suspend\n"
    assert shell.text("resume", "--all", "--yes") == "3 instances asked to resume\n"
    assert shell.text("cancel", "--all", "--yes", "--text", "I3") == "1 instance asked to cancel\n"


@pytest.mark.long
def test_ids_and_filters_exclude_each_other(shell):
    shell.begin("total", 1, id="t")
    assert "either ids, or --all" in shell.error("terminate", code=2)
    assert "either ids, or --all" in shell.error("terminate", "t", "--all", code=2)
    assert "only with --all" in shell.error("terminate", "t", "--name", "total", code=2)
    assert shell.status("t") == "pending"


@pytest.mark.long
def test_rerun_keeps_what_came_before(shell):
    with shell.worker():
        shell.begin("gated", ["one", "two"], id="g")
        for name in ("one", "two"):
            (shell.folder / name).touch()
        shell.until("g", lambda state: state["finished"])
        scheduled = [event for event in shell.lines("history", "g") if event["type"] == "ActivityScheduled"]
        again = shell.run("rerun", "g", "--from", str(scheduled[1]["number"]), "--id", "g2", "--wait")
        assert again.stdout == '["one", "two"]\n'
        assert (shell.folder / "attempts").read_text().split() == ["one", "two", "two"]
        assert "PERDURE-1206" in shell.error("rerun", "g", "--from", "99", code=2)


@pytest.mark.long
def test_purge_leaves_no_row(shell):
    with shell.worker():
        shell.run("start", "total", "1", "--id", "t", "--wait", "--tag", "k=v")
        shell.run("purge", "t")
    with sqlite3.connect(shell.folder / "shop.db") as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}
    connection.close()
    kept = {"perdure_meta", "perdure_shard", "perdure_about", "perdure_audit", "perdure_audit_head"}
    assert {name for name, count in rows.items() if count} <= kept
