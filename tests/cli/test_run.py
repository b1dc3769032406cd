"""`perdure run` as a shell calls it: what it refuses, what a program finds. How things end is in test_together.py."""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys

import pytest

PATIENCE_SECONDS = 30.0


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((), "no app is named; give --app-id NAME -- COMMAND, or -f dapr.yaml"),
        (("--", "true"), "no app is named"),
        (("--app-id", "a", "-f", "x"), "give either -f FILE or --app-id NAME"),
        (("-f", "x", "--", "true"), "give either -f FILE or --app-id NAME"),
        (("-f", "missing.yaml"), "the run file missing.yaml cannot be read"),
        (("-f", "."), "the run file dapr.yaml cannot be read"),
        (("-f", "shop.py"), "shop.py:"),
        (("-f", "bad.yaml"), "bad.yaml:2: a run file has no key 'app'"),
        (("-f", "folderless.yaml"), "x: there is no folder"),
        (("-f", "programless.yaml"), "a: there is no program './absent'"),
        (("--app-id", "a", "--", "no-such-program"), "a: there is no program 'no-such-program'"),
        (("--app-id", "a", "--", "./shop.py"), "a: there is no program './shop.py' that can be started"),
        (("--app-id", "a", "no-such-program", "--help"), "a: there is no program 'no-such-program'"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_begins(shell, refused, arguments, told):
    (shell.folder / "bad.yaml").write_text("version: 1\napp: []\n")
    (shell.folder / "folderless.yaml").write_text("version: 1\napps: [{appDirPath: x, command: [a]}]\n")
    programless = "version: 1\napps: [{appID: a, appDirPath: ., command: [./absent]}]\n"
    (shell.folder / "programless.yaml").write_text(programless)
    assert told in refused("run", *arguments, code=2)
    assert not list(shell.folder.glob("*.db"))


PROGRAM = """
import json, os, sys, urllib.request
import grpc
token = os.environ.get("DAPR_API_TOKEN")
metadata = [("dapr-api-token", token)] if token else []
with grpc.insecure_channel("127.0.0.1:" + os.environ["DAPR_GRPC_PORT"]) as channel:
    channel.unary_unary("/TaskHubSidecarService/Hello")(b"", timeout=10, metadata=metadata)
url = "http://127.0.0.1:" + os.environ["DAPR_HTTP_PORT"] + "/v1.0/metadata"
with urllib.request.urlopen(urllib.request.Request(url, headers=dict(metadata)), timeout=10) as answer:
    print(json.load(answer)["id"], os.environ["APP_ID"], os.getcwd())
print("to standard error", file=sys.stderr)
sys.exit(int(os.environ.get("CODE", "3")))
"""


@pytest.mark.long
def test_a_program_finds_the_server_and_its_exit_code_is_the_commands(shell):
    done = shell.run("run", "--app-id", "till", "--", sys.executable, "-c", PROGRAM, code=3)
    assert done.stdout == f"till    | till till {shell.folder}\n"
    told = done.stderr.splitlines()
    assert [line.partition(")")[2].partition(":")[0] for line in told if line.startswith("perdure | ")] == [
        " owner", " draining", " stopped",
    ]  # fmt: skip
    assert [line for line in told if not line.startswith("perdure | ")] == ["till    | to standard error"]
    assert (shell.folder / "shop.db").exists()


@pytest.mark.long
def test_ports_that_are_named_are_taken(shell):
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    options = ("--dapr-grpc-port", str(ports[0]), "-H", str(ports[1]), "-p", "8080")
    prints = "import os; print(*map(os.environ.get, ('DAPR_GRPC_PORT', 'DAPR_HTTP_PORT', 'APP_PORT')))"
    text = shell.text("run", "--app-id", "a", *options, "--", sys.executable, "-c", prints)
    assert text == f"a       | {ports[0]} {ports[1]} 8080\n"


def test_the_token_of_the_server_is_handed_to_the_program(shell):
    (shell.folder / "token").write_text("own")
    shell.run("run", "--app-id", "a", "--api-token-file", "token", "--", sys.executable, "-c", PROGRAM, code=3)


@pytest.mark.long
def test_what_is_piped_in_goes_to_the_program(shell):
    done = shell.run("run", "--app-id", "a", "cat", "-", stdin="one\ntwo\n")
    assert done.stdout == "a       | one\na       | two\n"


@pytest.mark.long
def test_the_apps_of_a_run_file_have_ports_of_their_own_on_one_server(shell):
    for name in ("till", "stock"):
        (shell.folder / name).mkdir()
        (shell.folder / name / "app.py").write_text(PROGRAM)
    (shell.folder / "dapr.yaml").write_text(
        f"""
version: 1
common:
  logLevel: debug
  env: {{CODE: 0}}
apps:
  - {{appID: till, appDirPath: till, command: [{sys.executable}, app.py]}}
  - {{appDirPath: stock, command: [{sys.executable}, app.py]}}
"""
    )
    done = shell.run("run", "-f", ".")
    assert sorted(done.stdout.splitlines()) == [
        f"stock   | stock stock {shell.folder}/stock",
        f"till    | till till {shell.folder}/till",
    ]
    assert "perdure | dapr.yaml:4: logLevel has no effect here" in done.stderr
    assert re.search(r"owner: serves till on grpc [^;]+; stock on grpc ", done.stderr)


def test_a_port_in_use_is_told_and_the_program_does_not_begin(shell):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        sentence = shell.error("run", "--app-id", "a", "-G", port, "--", "touch", "begun", code=3)
    assert sentence.endswith("[PERDURE-1701]")
    assert not (shell.folder / "begun").exists()


@pytest.mark.long
def test_ctrl_c_at_a_terminal_reaches_the_program_once_and_as_sigterm(shell):
    program = """
import signal, sys
def heard(number, frame):
    print("heard", signal.Signals(number).name)
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, heard)
print("began")
while True:
    signal.pause()
"""
    leader, terminal = pty.openpty()
    # because only a process of its own may take a terminal as the one that its Ctrl-C comes from
    takes = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-m", "perdure", "run", "--app-id", "a", "--", sys.executable, "-c", program]
    process = subprocess.Popen(
        [sys.executable, "-c", takes, *command],
        cwd=shell.folder,
        env={**shell.environment, "NO_COLOR": "1"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    printed = b""
    try:
        while b"began" not in printed:
            printed += os.read(leader, 1_000)
        os.write(leader, b"\x03")
        assert process.wait(PATIENCE_SECONDS) == 0
        with contextlib.suppress(OSError):  # because that is how the end of a terminal reads
            while read := os.read(leader, 1_000):
                printed += read
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert printed.count(b"heard") == 1
    assert b"heard SIGTERM" in printed
