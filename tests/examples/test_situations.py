"""Each example runs by itself, says what it is there to show, and leaves nothing behind but its store."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "chaining": """
        attempt 1: the bank does not answer
        attempt 2: the bank does not answer
        attempt 3: 7.50 charged
        shipped 3 x teapot
        receipt: Receipt(order=Order(item='teapot', amount=3), cents=750)
        """,
    "fan_out": """
        200 pictures at once: 19,900,000 bytes
        20 pictures, five at a time: 190,000 bytes
        the fastest mirror: near
        """,
    "human_approval": """
        mail to boss: may ada have 80?
        mail to boss: may bob have 900?
        mail to ada: approved by carol
        ada: approved
        mail to director: nobody decides about bob's 900
        bob: escalated
        """,
    "monitor": """
        db1: one look in four raised an alarm: True
        several runs, of 5 looks each: True
        """,
    "schedule": """
        often has started clean['/cache']: True
        paused: enough for an example; ticks ahead: 0
        triggered
        5 ticks of a minute ago, one after the other
        ['weekly']
        """,
    "streaming": """
        1: it
        2: goes
        3: on
        4: existing
        5: through
        6: changes
        from 4 on: existing through changes
        {'words': 6, 'letters': 30}
        """,
    "actors": """
        30 done
        500 refused: ValueError: only 70 left
        salary 100
        to bob -30
        fee -1
        fee -1
        """,
    "queues": """
        sent 35
        never more at once than 4: True and of acme than 2: True
        {'charged order 7'} by 1
        """,
    "saga": """
        reserved a flight
        reserved a hotel
        reserved a car
        paid 800
        first trip: booked

        reserved a flight
        reserved a hotel
        reserved a car
        released the car
        released the hotel
        released the flight
        second trip: workflow book (ID) failed: ActivityFailed: activity pay failed on attempt 1: \
ValueError: 1200 is more than the card's 1000 [PERDURE-1301]
        """,
    "child_workflows": """
        lamp delivered
        failed: ActivityFailed
        chair delivered
        child order-7:0003: completed
        child order-7:0002: failed
        child order-7:0001: completed
        review of order-7 asked for by order-7-review
        """,
    "generator_style": """
        385, approved by ada
        """,
    "plain_script": """
        backing up letters
        backing up music
        backing up pictures
        backing up taxes
        done: 25 files
        """,
    "notebook": """
        by itself: page 1
        open: True
        result: ['page 0', 'page 1', 'page 2']
        completed after 3 activities
        closed
        """,
}
DONE_ONCE = {"plain_script"}
CONCURRENT = {"human_approval", "child_workflows"}
"""Examples whose instances run beside each other, so that the order of their lines is not fixed."""


def run(name: str, folder: Path) -> list[str]:
    """What an example prints, line by line."""
    command = [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return re.sub(r"\([0-9a-f]{32}\)", "(ID)", done.stdout).splitlines()


def expected(name: str) -> list[str]:
    return [line.removeprefix(" " * 8) for line in SAYS[name].rstrip().splitlines()[1:]]


def test_every_example_is_tested() -> None:
    apart = {"fastapi_app", "test_checkout"}  # have tests of their own
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SAYS.keys() | apart


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"^\| `(?!agents/)([\w/.]+)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == {f"{name}.py" for name in SAYS} | {"fastapi_app.py", "test_checkout.py", "stdlib_census/"}


@pytest.mark.long
@pytest.mark.parametrize("name", SAYS)
def test_an_example_says_what_it_shows(name: str, tmp_path: Path) -> None:
    order = sorted if name in CONCURRENT else list
    assert order(run(name, tmp_path)) == order(expected(name))
    # the second time with the store of the first, where what was started by "return" is done
    assert order(run(name, tmp_path)) == order(expected(name)[-1:] if name in DONE_ONCE else expected(name))
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {f"{name}.db", f"{name}.db-wal", f"{name}.db-shm", f"{name}.db.owner"}


@pytest.mark.long
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_the_plain_script_goes_on_where_it_was_stopped(stop: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "plain_script.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert [first.stdout.readline() for _ in range(2)] == ["backing up letters\n", "backing up music\n"]
        first.send_signal(stop)
        rest = first.stdout.read()
    assert rest == ("\nstopped; run me again\n" if stop == signal.SIGINT else "")
    again = run("plain_script", tmp_path)
    assert again[-3:] == ["backing up pictures", "backing up taxes", "done: 25 files"]
    # The one it was stopped in may run again, if its result was not committed; the one before it may not.
    assert again[:-3] in ([], ["backing up music"])
