"""Metrics of processes that a shell has started, scraped over their ports."""

import asyncio
import urllib.error
import urllib.request

import pytest

from tests.remote.exposition.scrapes import OPENMETRICS, scrape

pytestmark = pytest.mark.long


def scraped(port: int, *accept: str, **headers: str):
    return asyncio.run(scrape(f"http://127.0.0.1:{port}/metrics", *accept, **headers))


def test_a_server_shows_what_waits_for_a_worker_and_who_is_connected(shell):
    with shell.server() as server:
        port = server.wait_for("owner")["http_port"]
        before = scraped(port)
        assert (before.value("perdure_waiting", reason="turn"), before.value("perdure_workers_connected")) == (0, 0)
        grpc = f"127.0.0.1:{server.wait_for('owner')['grpc_port']}"
        shell.run("start", "total", "1", "--id", "i", "--server", grpc)
        found = scraped(port, OPENMETRICS)
        while not found.value("perdure_backlog"):  # because a scrape may see what was read a moment ago
            found = scraped(port, OPENMETRICS)
        assert found.value("perdure_waiting", reason="turn", app_id="shop") == 1
        assert found.value("perdure_backlog_age_seconds") > 0
        assert found.value("dapr_runtime_workflow_operation_count", operation="create_workflow", status="success") == 1
        with shell.worker("--server", grpc) as worker:
            assert shell.text("start", "total", "1", "--id", "j", "--server", grpc, "--wait") == "2\n"
            found = scraped(port)
            assert worker.wait_for("owner")
        assert found.value("perdure_workers_connected") == 1
        assert found.value("dapr_runtime_workflow_execution_count", workflow_name="total", status="success") >= 1
        assert found.value("dapr_runtime_workflow_activity_execution_count", activity_name="add") >= 1


def test_a_server_with_a_token_shows_its_metrics_to_those_who_have_it(shell):
    shell.environment["DAPR_API_TOKEN"] = "secret"
    with shell.server() as server:
        port = server.wait_for("owner")["http_port"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
        assert scraped(port, "text/plain", authorization="Bearer secret").value("perdure_shards") == 1


def test_a_worker_has_a_port_for_its_metrics(shell):
    with shell.worker("--metrics-port", "0") as worker:
        port = worker.wait_for("owner")["metrics_port"]
        assert shell.text("start", "total", "1", "--wait") == "2\n"
        found = scraped(port)
        assert found.value("perdure_workflows_started_total", workflow_name="total", app_id="shop") == 1
        assert found.value("perdure_slots") == 1_000


def test_a_worker_of_a_server_says_where_its_metrics_are(shell):
    with shell.server() as server:
        grpc = f"127.0.0.1:{server.wait_for('owner')['grpc_port']}"
        with shell.worker("--server", grpc, "--metrics-port", "0") as worker:
            port = worker.wait_for("owner")["metrics_port"]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
            assert refused.value.code == 503
            assert "the server that it works for" in refused.value.read().decode()
