"""Live views: on a pseudo-terminal they draw over themselves, elsewhere they print what changes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import PATIENCE_SECONDS, _command

pytestmark = pytest.mark.long

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal of 100 columns."""

    def __init__(self, shell, *arguments):
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        environment = {**shell.environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        self.process = subprocess.Popen(
            _command(*arguments), cwd=shell.folder, env=environment, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self.raw = ""

    @property
    def text(self):
        return ESCAPE.sub("", self.raw)

    def until(self, pattern):
        """Read until the text matches."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.text):
            assert time.monotonic() < ends, self.text
            self._read()

    def type(self, text):
        os.write(self._master, text.encode())

    def exit_code(self):
        ends = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < ends, self.text
            self._read()
        self._read()
        os.close(self._master)
        return self.process.returncode

    def _read(self):
        if select.select([self._master], [], [], 0.05)[0]:
            try:
                self.raw += os.read(self._master, 65_536).decode("utf-8", "replace")
            except OSError:  # because Linux says EIO once the last writer has closed
                time.sleep(0.01)


def test_start_wait_draws_a_bar_and_then_the_result(shell):
    with shell.worker():
        terminal = Terminal(shell, "start", "gated", '["one", "two"]', "--id", "g", "--wait")
        terminal.until(r"gated g .*running")
        (shell.folder / "one").touch()
        terminal.until(r"1 of 2")
        terminal.until(r"waits for activity gate")
        (shell.folder / "two").touch()
        assert terminal.exit_code() == 0
    assert "\x1b[2K" in terminal.raw  # because a live view erases lines that it draws again
    assert terminal.text.rstrip().endswith('["one", "two"]')


def test_list_watch_shows_changes_until_interrupted(shell):
    with shell.worker():
        shell.begin("approval", "bob", id="a")
        terminal = Terminal(shell, "list", "--watch", "--interval", "0.1")
        terminal.until(r"a +approval +running")
        shell.run("raise", "a", "approved", '"yes"')
        terminal.until(r"a +approval +completed")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.exit_code() == 0


def test_batch_asks_on_a_terminal(shell):
    shell.begin("total", 1, id="t")
    terminal = Terminal(shell, "terminate", "--all")
    terminal.until(r"terminate 1 instance\? \[y/N\]")
    terminal.type("n\n")
    assert terminal.exit_code() == 1
    assert shell.status("t") == "pending"
    terminal = Terminal(shell, "terminate", "--all")
    terminal.until(r"\[y/N\]")
    terminal.type("y\n")
    assert terminal.exit_code() == 0
    assert shell.status("t") == "terminated"


def test_show_watch_follows_to_the_end_in_json_lines(shell):
    with shell.worker():
        shell.begin("approval", "bob", id="a")
        watch = subprocess.Popen(
            _command("show", "a", "--watch", "--json"),
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = json.loads(watch.stdout.readline())
        shell.run("raise", "a", "approved", '"yes"')
        rest, _ = watch.communicate(timeout=PATIENCE_SECONDS)
    assert watch.returncode == 0
    states = [first, *map(json.loads, rest.splitlines())]
    assert states[0]["output"] is None
    assert (states[-1]["status"], states[-1]["output"]) == ("completed", "bob: yes")


def test_list_watch_into_a_pipe_prints_a_line_per_change(shell):
    shell.begin("total", 1, id="t")
    watch = subprocess.Popen(
        _command("list", "--watch", "--json", "--interval", "0.1"),
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert json.loads(watch.stdout.readline())["status"] == "pending"
    shell.run("terminate", "t")
    assert json.loads(watch.stdout.readline())["status"] == "terminated"
    watch.send_signal(signal.SIGINT)
    rest, _ = watch.communicate(timeout=PATIENCE_SECONDS)
    assert (watch.returncode, rest) == (0, "")
