"""What processes of the command line log, as they are told to."""

import json
import signal

import pytest

pytestmark = pytest.mark.long


def logged(process, code=0):
    process.send(signal.SIGTERM)
    assert process.exit_code() == code
    return process.errors()


LOGGING = """
import logging
from perdure import App, activity_context, workflow_context
app = App("shop")

@app.activity
def say(what: str) -> None:
    logging.getLogger("own").info("said %s", what)

@app.workflow
async def talk() -> None:
    workflow_context().logger.info("begins")
    await say("hello")

@app.workflow
async def stuck() -> None:
    while True:
        pass
"""


def talk(shell, *options):
    (shell.folder / "shop.py").write_text(LOGGING)
    with shell.worker(*options) as worker:
        shell.run("start", "talk", "--id", "i", "--wait")
        return logged(worker)


def test_a_worker_logs_json(shell):
    begins, said = map(json.loads, talk(shell, "--log-format", "json"))
    assert (begins["message"], begins["app"], begins["instance"], begins["run"]) == ("begins", "shop", "i", 1)
    assert (said["message"], said["instance"], said["activity"], said["attempt"]) == ("said hello", "i", "say", 1)


def test_a_port_for_metrics_adds_no_lines_of_its_server(shell):
    assert [json.loads(line)["logger"] for line in talk(shell, "--log-format", "json", "--metrics-port", "0")] == [
        "perdure.workflow.talk",
        "own",
    ]


def test_a_worker_logs_text_unless_it_is_told(shell):
    begins, said = talk(shell)
    assert begins.endswith("INFO perdure.workflow.talk: begins app=shop instance=i run=1 workflow=talk")
    assert said.endswith("INFO own: said hello app=shop instance=i run=1 activity=say attempt=1")


def test_a_server_logs_json(shell):
    with shell.server("--log-format", "json", "--verbose") as server:
        told = [json.loads(line) for line in logged(server)]
    assert any("owns shard" in line["message"] for line in told)
    assert all({"at", "level", "logger", "message"} <= line.keys() for line in told)


def test_what_the_engine_says_of_an_instance_names_it(shell):
    (shell.folder / "shop.py").write_text(LOGGING)
    with shell.worker("--log-format", "json") as worker:
        shell.begin("stuck", id="i")
        shell.until("i", lambda state: state["stalled"])
        told = [json.loads(line) for line in logged(worker)]
    (stall,) = [line for line in told if "stands still" in line["message"]]
    assert (stall["app"], stall["instance"], stall["workflow"], stall["level"]) == ("shop", "i", "stuck", "warning")
