"""What is left of an interruption when the code that it was meant for has ended: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from perdure import App
from perdure.codec import encode_arguments
from perdure.history.events import RunStarted
from perdure.history.work import Identity, Stall
from perdure.sdk.watchdog import Watchdog
from perdure.sdk.worker import Worker

PROGRAM = """
import sys
from perdure.sdk.watchdog import Interrupted, Watchdog

watchdog = Watchdog(turn_seconds=0.1)
watchdog.start()
watchdog.enter("turn")
try:
    while True:
        pass
except Interrupted:
    assert watchdog.leave() is not None

steps = []
sys.settrace(lambda frame, what, argument: steps.append(what))


def traced():
    return 1


traced()
sys.settrace(None)
print(steps)
"""


def test_python_goes_on_under_a_debugger_after_a_turn_was_interrupted():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.stderr) == ("['call']\n", "")


STOPPED = """
import os, signal, time
from perdure.sdk.watchdog import Watchdog

watchdog = Watchdog(turn_seconds=1.4)
watchdog.start()
watchdog.enter("turn")
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
ends = time.monotonic() + 0.4
while time.monotonic() < ends:
    pass
print(watchdog.leave())
"""


@pytest.mark.long
def test_a_turn_is_not_blamed_for_the_time_in_which_its_process_was_stopped():
    child = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    while os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT | os.WEXITED).si_code != os.CLD_STOPPED:
        pass
    time.sleep(1.5)
    child.send_signal(signal.SIGCONT)
    assert child.communicate(timeout=50) == ("None\n", "")


CROWDED = """
import os, subprocess, sys, time
from perdure.sdk.watchdog import Watchdog

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
try:
    watchdog = Watchdog(turn_seconds=1.0)
    watchdog.start()
    watchdog.enter("turn")
    began = time.monotonic()
    while time.thread_time() < 0.5 or time.monotonic() - began < 2.0:
        pass
    print(watchdog.leave())
finally:
    for process in crowd:
        process.kill()
        process.wait()
"""


@pytest.mark.long
def test_a_turn_is_not_blamed_for_the_time_in_which_it_waited_for_a_processor():
    done = subprocess.run([sys.executable, "-c", CROWDED], check=False, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_nobody_is_interrupted_for_a_turn_that_has_ended_by_an_error_of_its_own():
    app = App("blame")

    class Untellable(Exception):
        @property
        def __cause__(self):
            raise ValueError("no cause for you")

    @app.workflow
    async def main() -> None:
        raise Untellable

    async def scenario():
        worker = Worker("blame", app.definitions, watchdog=Watchdog(turn_seconds=0.1))
        worker.start()
        live = worker.open(Identity("blame", "i", "0123456789abcdef" * 2, 1, "main", 0), is_new=True)
        found = []
        live.advance(0, [RunStarted(name="main", execution="e", input=encode_arguments((), {}))], found.append)
        ends = time.monotonic() + 0.6
        while time.monotonic() < ends:
            pass
        worker.stop()
        return found

    (found,) = asyncio.run(scenario())
    assert isinstance(found, Stall)
    assert found.reason == "refused"
