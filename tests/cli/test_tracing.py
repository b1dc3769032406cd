"""Traces of processes that a shell has started, at a receiver of OTLP; and the contexts that callers hand in."""

import signal
import urllib.request

import grpc
import pytest

from tests.remote.tracing.receiver import receiving

pytestmark = pytest.mark.long

CALLER, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{CALLER}-{SPAN}-01"
TRACED = """
from opentelemetry import trace
from perdure import App, activity_context

app = App("shop")

@app.activity
async def add(x: int) -> list[str | None]:
    current = trace.get_current_span().get_span_context()
    return [activity_context().traceparent, f"{current.trace_id:032x}", f"{current.span_id:016x}"]

@app.workflow
async def total(x: int = 1) -> list[str | None]:
    return await add(x)
"""


@pytest.fixture
def receiver(shell):
    (shell.folder / "shop.py").write_text(TRACED)
    with receiving() as found:
        shell.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = found.url
        yield found


def stopped(process):
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0


def test_a_worker_traces(shell, receiver):
    with shell.worker("--trace-sample", "1") as worker:
        shell.run("start", "total", "1", "--id", "i", "--wait")
        stopped(worker)
    ran, added = receiver.one("orchestration||total"), receiver.one("activity||add")
    assert (added.trace, added.parent, ran.service) == (ran.trace, ran.id, "shop")


def test_a_server_goes_on_in_the_trace_of_who_calls_it_over_http(shell, receiver):
    with shell.server("--trace-sample", "0") as server:
        told = server.wait_for("owner")
        with shell.worker("--server", f"127.0.0.1:{told['grpc_port']}"):
            start = urllib.request.Request(
                f"http://127.0.0.1:{told['http_port']}/v1.0/workflows/dapr/total/start?instanceID=h",
                data=b"1",
                headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1", "content-type": "application/json"},
                method="POST",
            )
            with urllib.request.urlopen(start, timeout=10) as answer:
                assert answer.status == 202
            output = shell.until("h", lambda state: state["finished"])["output"]
        stopped(server)
    asked, ran, added = map(receiver.one, ("create_orchestration||total", "orchestration||total", "activity||add"))
    assert {asked.trace, ran.trace, added.trace} == {CALLER}
    assert (asked.parent, ran.parent, added.parent) == (SPAN, asked.id, ran.id)
    assert asked.proto.trace_state == ran.proto.trace_state == "vendor=1"
    assert output == [f"00-{CALLER}-{added.id}-01", CALLER, added.id]  # what the activity saw in the worker's process


def test_a_server_goes_on_in_the_trace_of_who_calls_it_over_grpc(shell, receiver):
    with shell.server("--trace-sample", "0") as server:
        told = server.wait_for("owner")
        with shell.worker("--server", f"127.0.0.1:{told['grpc_port']}"):
            with grpc.insecure_channel(f"127.0.0.1:{told['grpc_port']}") as channel:
                call = channel.unary_unary("/TaskHubSidecarService/StartInstance")
                call(b"\x0a\x01g\x12\x05total", timeout=10, metadata=[("traceparent", TRACEPARENT)])
            shell.until("g", lambda state: state["finished"])
        stopped(server)
    asked, ran = receiver.one("create_orchestration||total"), receiver.one("orchestration||total")
    assert (asked.trace, asked.parent, ran.parent) == (CALLER, SPAN, asked.id)


def test_a_server_that_does_not_trace_sends_nothing(shell, receiver):
    with shell.server() as server:
        grpc_port = server.wait_for("owner")["grpc_port"]
        with shell.worker("--server", f"127.0.0.1:{grpc_port}"):
            shell.run("start", "total", "1", "--id", "i", "--server", f"127.0.0.1:{grpc_port}", "--wait")
        stopped(server)
    assert receiver.requests == 0
