"""The command that shows which nodes live."""

import pytest


@pytest.mark.long
def test_nodes_show_who_lives_with_shards_and_code(shell):
    with shell.worker() as worker:
        shell.begin("total", 1, id="a")
        shell.until("a", lambda state: state["status"] == "completed")
        (node,) = shell.lines("nodes")
        while not node["pid"]:  # because it tells of itself just after it has begun to own
            (node,) = shell.lines("nodes")
        assert node["pid"] == worker.pid
        assert (node["app"], node["shards"], node["has_code"]) == ("shop", [0], True)
        assert {"total", "gated"} <= set(node["workflows"])
        assert {"add", "gate"} <= set(node["activities"])
        shown = shell.text("nodes")
        assert f"{len(node['workflows'])} workflows" in shown
        assert "busy" not in shown, "who holds a lock tells no beat, so nobody knows"
        assert "busy" not in shell.text("store", "stats")
    assert "No node of the app lives" in shell.error("nodes", code=0)


@pytest.mark.long
def test_a_server_tells_where_it_listens(shell):
    with shell.server() as server:
        ports = server.wait_for("owner")
        address = ("--server", f"127.0.0.1:{ports['grpc_port']}")
        doors = [f"grpc://127.0.0.1:{ports['grpc_port']}", f"http://127.0.0.1:{ports['http_port']}"]
        (node,) = shell.lines("nodes", *address)
        while node["doors"] != doors:
            (node,) = shell.lines("nodes", *address)
        assert node["pid"] == server.pid
