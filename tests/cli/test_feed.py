"""The lifecycle feed through a shell, a server's HTTP port and a server's webhook."""

import json
import urllib.request

import pytest

from tests.engine.receivers import receiving

SECONDS = 20


def events(answer, count: int) -> list[tuple[str, str, dict]]:
    """So many server-sent events: id, type, data."""
    found = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line:
            if "data" in fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
            fields = {}
    return found


def stream(port: int, query: str = "", **headers: str):
    url = f"http://127.0.0.1:{port}/perdure/v1/events{query}"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS)


@pytest.fixture
def desk(shell, inside):
    """A store with a life in it, and `perdure` within this process."""
    with shell.server("--lifecycle") as server:
        yield shell, inside, server.wait_for("owner")


@pytest.mark.long
def test_events_are_streamed_over_http_and_resumed_by_their_id(desk):
    shell, _, ports = desk
    address = ("--server", f"127.0.0.1:{ports['grpc_port']}")
    shell.run("start", "total", "1", "--id", "a", *address)
    shell.run("terminate", "a", *address)
    with stream(ports["http_port"], "?after=&instance=a") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        (id, kind, data), *_ = events(answer, 1)
        assert (kind, data["subject"], data["specversion"]) == ("perdure.workflow.terminated", "a", "1.0")
    with stream(ports["http_port"], **{"last-event-id": id}) as answer:
        shell.run("purge", "a", *address)
        ((_, kind, _),) = events(answer, 1)
        assert kind == "perdure.workflow.purged"
    for query in ("?type=ended", "?after=nonsense"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            stream(ports["http_port"], query)
        assert caught.value.code == 400
        caught.value.close()


@pytest.mark.long
def test_a_shell_follows_the_feed(desk):
    shell, inside, ports = desk
    shell.begin("total", 1, id="b")
    shell.run("terminate", "b", "--server", f"127.0.0.1:{ports['grpc_port']}")
    lines = inside("feed", "follow", "--all", "--until-now", "--json")[0].splitlines()
    told = [json.loads(line) for line in lines]
    assert [(one["subject"], one["type"].rpartition(".")[2]) for one in told] == [("b", "terminated")]
    assert "terminated" in inside("feed", "follow", "--all", "--until-now")[0]
    assert inside("feed", "follow", "--after", told[0]["cursor"], "--until-now")[0] == ""
    assert "were given up" in inside("feed", "status")[0]
    assert "exclude each other" in inside("feed", "follow", "--all", "--after", "1.1", code=2)[1]


@pytest.mark.long
def test_a_server_tells_its_webhook_with_a_signature(shell):
    shell.environment["PERDURE_WEBHOOK_SECRET"] = "a-secret-of-16-bytes-or-more"
    with receiving() as receiver, shell.server("--webhook", receiver.url) as server:
        address = ("--server", f"127.0.0.1:{server.wait_for('owner')['grpc_port']}")
        shell.run("start", "total", "1", "--id", "a", *address)
        shell.run("terminate", "a", *address)
        while receiver.kinds("a") != ["terminated"]:
            shell.run("show", "a", *address)
        assert receiver.requests[0][0]["webhook-signature"].startswith("v1,")
