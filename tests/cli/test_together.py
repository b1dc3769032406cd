"""A server and its programs begin and end together: who ends first, how, and with which code."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_SECONDS = 30.0
BESIDE = Path(__file__).with_name("beside.py")
WAITS = """
import os, signal, sys, time
from pathlib import Path
def heard(number, frame):
    print("heard", signal.Signals(number).name, flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, heard)
Path(f"began-{os.environ['APP_ID']}").write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS.replace(
    "signal.signal(signal.SIGTERM, heard)", ""
)
PARENT = (
    f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {DEAF!r}])\n"
    "import time, pathlib\nwhile not pathlib.Path('began-shop').exists(): time.sleep(0.01)\n"
)


class Beside:
    """A running `perdure run` with a stand-in for the server."""

    def __init__(self, folder: Path, program: str, **variables: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(BESIDE), sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, file: str) -> int:
        """The number in a file, as soon as it is there."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not (path := self.folder / file).exists() or not (text := path.read_text()):
            assert time.monotonic() < ends, (file, self.process.poll())
            time.sleep(0.01)
        return int(text) if text.isdigit() else 0

    def finish(self) -> tuple[int, str, str]:
        """Its exit code and what it printed on either stream."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert "Traceback" not in err, err
        return self.process.returncode, out, err

    @property
    def server(self) -> list[str]:
        path = self.folder / "server.log"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def beside(tmp_path):
    @contextmanager
    def begin(program, **variables):
        started = Beside(tmp_path, program, **variables)
        try:
            yield started
        finally:
            if started.process.poll() is None:
                started.process.kill()
            started.process.communicate()

    return begin


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_exit_code_is_the_programs_and_the_server_closes(beside, code):
    with beside(f"raise SystemExit({code})") as started:
        assert started.finish()[0] == code
        assert started.server == ["opened", "closed"]


def test_a_program_that_a_signal_ended_is_told_as_a_shell_does(beside):
    with beside("import os; os.kill(os.getpid(), 9)") as started:
        assert started.finish()[0] == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_program_with_sigterm_and_then_the_server(beside, number):
    with beside(WAITS) as started:
        pid = started.until("began-shop")
        started.process.send_signal(number)
        code, out, err = started.finish()
        assert (code, out) == (7, "shop    | heard SIGTERM\n")
        assert "draining" in err
        assert started.server == ["opened", "closed"]
        assert not lives(pid)


def test_a_program_that_does_not_end_is_killed_after_the_bound(beside):
    with beside(DEAF, DRAIN_SECONDS="0.3") as started:
        pid = started.until("began-shop")
        asked = time.monotonic()
        started.process.terminate()
        assert started.finish()[0] == 128 + signal.SIGKILL
        assert time.monotonic() - asked >= 0.3
        assert not lives(pid)


@pytest.mark.long
def test_what_a_program_has_started_and_left_behind_is_ended_too(beside):
    with beside(PARENT, DRAIN_SECONDS="0.3") as started:
        assert started.finish()[0] == 0
        assert not lives(started.until("began-shop"))


@pytest.mark.long
def test_the_whole_group_ends_when_a_signal_comes(beside):
    with beside(PARENT + "time.sleep(60)", DRAIN_SECONDS="0.3") as started:
        pid = started.until("began-shop")
        started.process.terminate()
        assert started.finish()[0] == 128 + signal.SIGTERM
        assert not lives(pid)


def test_a_second_signal_kills_the_program_and_ends_at_once(beside):
    with beside(DEAF, DRAIN_SECONDS="60") as started:
        pid = started.until("began-shop")
        started.process.terminate()
        while started.process.poll() is None:
            started.process.terminate()
            time.sleep(0.05)
        assert started.process.returncode == -signal.SIGTERM
        ends = time.monotonic() + PATIENCE_SECONDS
        while lives(pid):
            assert time.monotonic() < ends
            time.sleep(0.01)


def test_the_program_begins_when_the_server_is_ready(beside, tmp_path):
    (tmp_path / "unready").touch()
    with beside("import pathlib; assert not pathlib.Path('unready').exists()") as started:
        line = started.process.stderr.readline()
        assert "standby: somebody owns the store" in line
        (tmp_path / "unready").unlink()
        assert started.finish()[0] == 0


def test_a_signal_before_the_server_is_ready_starts_no_program(beside, tmp_path):
    (tmp_path / "unready").touch()
    with beside(WAITS) as started:
        started.process.stderr.readline()
        started.process.terminate()
        assert started.finish()[:2] == (0, "")
        assert not (tmp_path / "began-shop").exists()
        assert started.server == ["opened", "closed"]


def test_a_server_that_fails_ends_the_program(beside, tmp_path):
    with beside(WAITS) as started:
        started.until("began-shop")
        (tmp_path / "failed").touch()
        code, out, err = started.finish()
        assert (code, out) == (1, "shop    | heard SIGTERM\n")
        assert "perdure: the server failed: RuntimeError('no more') [PERDURE-1000]" in err


def test_a_caller_who_shuts_the_server_down_ends_the_program(beside, tmp_path):
    with beside(WAITS) as started:
        started.until("began-shop")
        (tmp_path / "shutdown").touch()
        assert started.finish()[:2] == (7, "shop    | heard SIGTERM\n")


@pytest.mark.long
def test_a_server_that_does_not_close_is_left_behind(beside, tmp_path):
    (tmp_path / "stuck").touch()
    with beside("raise SystemExit(3)", DRAIN_SECONDS="0.1") as started:
        code, _, err = started.finish()
        assert (code, started.server) == (3, ["opened"])
        assert "left behind what did not end" in err


def test_a_server_that_fails_and_does_not_close_is_left_behind_too(beside, tmp_path):
    (tmp_path / "stuck").touch()
    with beside(WAITS, DRAIN_SECONDS="0.1") as started:
        started.until("began-shop")
        (tmp_path / "failed").touch()
        assert started.finish()[0] == 1


def test_one_app_that_fails_ends_the_others(beside, tmp_path):
    program = WAITS.replace("while True:", "while os.environ['APP_ID'] == 'a' or not Path('go').exists():").replace(
        "time.sleep(60)", "time.sleep(0.01)"
    )
    with beside(program + "sys.exit(5)\n", APPS="a,b") as started:
        a, b = started.until("began-a"), started.until("began-b")
        (tmp_path / "go").touch()
        code, out, _ = started.finish()
        assert (code, out) == (5, "a       | heard SIGTERM\n")
        assert not lives(a)
        assert not lives(b)


def test_apps_that_end_well_leave_the_others_to_go_on(beside, tmp_path):
    program = "import os, pathlib, time\n"
    program += "while os.environ['APP_ID'] == 'b' and not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    with beside(program + "pathlib.Path('ended-' + os.environ['APP_ID']).write_text('1')", APPS="a,b") as started:
        started.until("ended-a")
        assert started.process.poll() is None
        (tmp_path / "go").touch()
        assert started.finish()[0] == 0
        assert (tmp_path / "ended-b").exists()


def test_each_program_finds_the_ports_of_its_own_listener(beside):
    program = "import os; print(*(os.environ[name] for name in ('APP_ID', 'DAPR_GRPC_PORT', 'DAPR_HTTP_PORT')))"
    with beside(program, APPS="a,b") as started:
        code, out, _ = started.finish()
        assert (code, sorted(out.splitlines())) == (0, ["a       | a 50001 3500", "b       | b 50002 3501"])


def test_a_program_that_is_not_there_is_told_before_the_server_opens(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BESIDE), "no-such-program"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "perdure: shop: there is no program 'no-such-program' that can be started; check the "
    )
    assert not (tmp_path / "server.log").exists()
