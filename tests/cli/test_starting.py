"""`start`, with and without a worker, and waiting for what comes of it."""

import json

import pytest


def test_start_prints_the_id_and_says_that_nobody_runs_it(shell):
    done = shell.run("start", "total", "1", "2", "--id", "t", "--app", "shop", "--tag", "k=v", "--tag", "l=w")
    assert done.stdout == "t\n"
    assert done.stderr == "No process runs this app: the instance waits for a worker.\n"
    state = shell.state("t")
    assert (state["status"], state["tags"]) == ("pending", {"k": "v", "l": "w"})


def test_wait_gives_the_result_and_the_exit_code(shell):
    with shell.worker():
        assert shell.text("start", "total", "40", "2", "--wait") == "42\n"
        document = shell.json("start", "total", "40", "--wait", "--id", "t")
        assert (document["status"], document["output"], document["id"]) == ("completed", 41, "t")
        failed = shell.run("start", "fails", '"[red]no\\u001b[31m"', "--wait", "--id", "f", code=1)
        assert failed.stdout == ""
        lines = failed.stderr.splitlines()
        assert lines[0] == "f  fails  pending" or lines[0].startswith("WorkflowFailed")
        assert r"WorkflowFailed: workflow fails (f) failed: ValueError: [red]no\x1b[31m" in lines
        assert "KeyError: 'the cause'" in lines
        document = shell.json("start", "fails", '"no"', "--wait", code=1)
        assert document["failure"]["code"] == "PERDURE-1301"
        assert document["failure"]["cause"]["type"] == "ValueError"
        assert document["failure"]["cause"]["cause"] | {"stack": None} == {
            "type": "KeyError",
            "message": "'the cause'",
            "code": "PERDURE-1314",
            "stack": None,
            "cause": None,
        }


@pytest.mark.long
def test_wait_ends_after_its_timeout_and_the_workflow_goes_on(shell):
    done = shell.run("start", "total", "1", "--app", "shop", "--id", "t", "--wait", "--timeout", "0.3", code=3)
    assert done.stderr.splitlines()[-1] == "t is not finished after 0.3; it goes on: perdure explain --app shop t"
    with shell.worker():
        assert shell.until("t", lambda state: state["finished"])["output"] == 2


@pytest.mark.long
def test_id_that_is_active(shell):
    start = ("start", "total", "1", "--app", "shop", "--id", "t")
    first = shell.json(*start)
    assert set(first) == {"id", "execution_id"}
    assert "PERDURE-1202" in shell.error(*start, code=2)
    assert shell.json(*start, "--if-exists", "return") == first


@pytest.mark.long
def test_start_time_and_run_timeout(shell):
    with shell.worker():
        shell.run("start", "total", "1", "--id", "late", "--at", "+1h")
        assert shell.json("explain", "late")["cause"] == "start-time"
        done = shell.run("start", "approval", '"x"', "--id", "short", "--run-timeout", "0.2s", "--wait", code=1)
        assert "RunTimedOut" in done.stderr
        assert shell.status("late") == "pending"


@pytest.mark.long
def test_bad_arguments_start_nothing(shell):
    app = ("--app", "shop")
    assert "argument 2 'x' is not JSON" in shell.error("start", "total", "1", "x", *app, code=2)
    assert "--at 'soon' is no time" in shell.error("start", "total", "1", "--at", "soon", *app, code=2)
    assert r"'a\nb'" in shell.error("start", "total", "--id", "a\nb", *app, code=2)
    assert json.loads(shell.text("start", "total", "1", "--json", *app))
    assert len(shell.lines("list")) == 1
