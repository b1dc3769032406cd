"""The words to systemd: from a process that serves, from one that works, and from a loop that no longer turns."""

import asyncio
import os
import signal
import socket
import time

import pytest

from perdure.cli.systemd import Systemd, path_of, term_of
from tests.cli.conftest import PATIENCE_SECONDS


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_SECONDS)
        yield made


def heard(listener):
    """What has come by now."""
    listener.setblocking(False)
    words = []
    while True:
        try:
            words.append(listener.recv(100).decode())
        except BlockingIOError:
            return words


@pytest.mark.parametrize("command", ["server", "worker"])
def test_a_node_says_that_it_is_up_lives_and_stops(shell, listener, command):
    shell.environment |= {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "150000"}
    with getattr(shell, command)() as node:
        assert [listener.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
        node.send(signal.SIGTERM)
        assert node.exit_code() == 0
    words = heard(listener)
    assert words.count("STOPPING=1") == 1
    assert set(words) <= {"WATCHDOG=1", "STOPPING=1"}


@pytest.mark.long
def test_a_standby_is_up_too(shell, listener):
    with shell.server():
        shell.environment |= {"NOTIFY_SOCKET": listener.getsockname()}
        with shell.server(until="standby"):
            assert listener.recv(100) == b"READY=1"


def test_a_loop_that_does_not_turn_says_nothing(run, listener):
    async def scenario():
        async with Systemd(listener.getsockname(), 0.1).told():
            await asyncio.sleep(0.2)
            turned = heard(listener)
            time.sleep(0.5)
            return turned, heard(listener)

    turned, hung = run(scenario)
    assert (turned[0], set(turned[1:]), hung) == ("READY=1", {"WATCHDOG=1"}, [])


def test_without_a_term_it_is_told_no_more_than_that_it_is_up(run, listener):
    async def scenario():
        async with Systemd(listener.getsockname(), None).told():
            await asyncio.sleep(0)
        return heard(listener)

    assert run(scenario) == ["READY=1"]


def test_a_node_goes_on_that_is_not_heard(run, tmp_path, caplog):
    async def scenario():
        async with Systemd(str(tmp_path / "nobody"), None).told():
            return True

    assert run(scenario)
    assert "systemd does not hear READY=1" in caplog.text


def test_a_node_that_systemd_did_not_start_tells_nobody(run):
    async def scenario():
        supervisor = Systemd.of({"WATCHDOG_USEC": "1"}, os.getpid())
        async with supervisor.told():
            supervisor.stopping()
            return True

    assert run(scenario)


@pytest.mark.parametrize(
    "variables, term",
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "5"}, 0.1),
    ],
)
def test_the_term_is_that_of_this_process(variables, term):
    assert term_of(variables, 7) == term


def test_an_address_may_be_in_no_file_system():
    assert (path_of("@/run/x"), path_of("/run/x")) == ("\0/run/x", "/run/x")
