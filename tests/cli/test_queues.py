"""The command that shows the queues."""

import pytest


@pytest.mark.long
def test_queues_show_what_waits_and_runs(shell):
    with shell.worker():
        assert "Nothing waits" in shell.error("queues", code=0)
        shell.begin("posted", id="a")
        shell.begin("posted", id="b")
        shell.until("b", lambda state: state["status"] == "running")
        (state,) = shell.lines("queues")
        while state["running"] != 1 or state["waiting"] != 1:
            (state,) = shell.lines("queues")
        assert (state["name"], state["waiting"], state["running"], state["concurrency"]) == ("post", 1, 1, 1)
        assert "1 at once" in shell.text("queues")
        told = shell.json("explain", "b")
        assert "in queue post, number 1 of 1 (1 at once)" in told["sentence"]
