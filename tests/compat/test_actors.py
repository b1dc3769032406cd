"""Actors of the published `dapr` package, over its own port and over the stream that it opens, with kills in between.

One program hosts them (actors/program.py), another one calls them (actors/client.py); neither knows the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from perdure.remote.wire.schema import RUNTIME_SCHEMA
from servers.ports import free_port
from tests.compat.sdk import python_with
from tests.compat.server import free_ports
from tests.remote.native.processes import Process

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]
HERE = Path(__file__).parent / "actors"
ENVIRONMENT = ("dapr-actors", "--requirement", str(HERE / "requirements.txt"))
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment that has the package."""
    return python_with(*ENVIRONMENT)


class Theatre:
    """A server, the program that hosts actors, and a client of them; each can be killed."""

    def __init__(self, folder: Path, python: Path, transport: str) -> None:
        self.folder, self._python, self._transport = folder, python, transport
        self._grpc, self._http = free_ports()
        self._app = free_port()
        self._starts = 0
        self.env = {
            "DAPR_HTTP_PORT": str(self._http),
            "DAPR_GRPC_PORT": str(self._grpc),
            "DAPR_HTTP_TIMEOUT_SECONDS": "60",
        }
        self.server = self.start_server()
        self.program = self.start_program()
        self._client = subprocess.Popen(
            [python, HERE / "client.py"],
            env={**os.environ, **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start_server(self) -> Process:
        self._starts += 1
        words = ["serve", "--app-id", "shop", "--store", f"sqlite:///{self.folder}/server.db", "--no-ui"]
        words += ["--grpc-port", str(self._grpc), "--http-port", str(self._http)]
        if self._transport == "http":
            words += ["--app-port", str(self._app)]
        log = self.folder / f"server-{self._starts}.log"
        server = Process(log, sys.executable, "-m", "perdure", *words)
        server.until("owner")
        return server

    def start_program(self) -> Process:
        self._starts += 1
        log = self.folder / f"program-{self._starts}.log"
        return Process(log, str(self._python), str(HERE / "program.py"), self._transport, str(self._app), env=self.env)

    def restart_server(self) -> None:
        self.server.kill()
        self.server = self.start_server()

    def restart_program(self) -> None:
        self.program.kill()
        self.program = self.start_program()

    def ask(self, type: str, id: str, method: str, argument: Any = None) -> None:
        assert self._client.stdin is not None
        self._client.stdin.write(json.dumps([type, id, method, argument]) + "\n")
        self._client.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._client.stdout is not None
        line = self._client.stdout.readline()
        assert line, "the client has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, type: str, id: str, method: str, argument: Any = None) -> Any:
        self.ask(type, id, method, argument)
        answer = self.answer()
        assert "error" not in answer, (answer, self.program.output[-2_000:])
        return answer["result"]

    def failure(self, type: str, id: str, method: str, argument: Any = None) -> str:
        self.ask(type, id, method, argument)
        error: str = self.answer()["error"]
        return error

    def notes(self, id: str) -> list[str]:
        file = self.folder / "notes" / id
        return file.read_text().splitlines() if file.exists() else []

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < ends, f"{what}\n{self.program.output[-2_000:]}\n{self.server.output[-2_000:]}"
            time.sleep(0.02)

    def rpc(self, rpc: str, /, **fields: Any) -> bytes:
        """A call of Dapr's own API that the Python package has no method for."""
        request = getattr(RUNTIME_SCHEMA, f"{rpc}Request")(**fields)
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc}") as channel:
            call = channel.unary_unary(f"/dapr.proto.runtime.v1.Dapr/{rpc}")
            data: bytes = call(request.SerializeToString(), timeout=PATIENCE_SECONDS)
            return data

    def close(self) -> None:
        self._client.kill()
        self._client.communicate()
        for process in (self.program, self.server):
            process.kill()


@pytest.fixture(scope="module", params=["http", "stream"])
def theatre(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, python: Path
) -> Iterator[Theatre]:
    with contextlib.closing(Theatre(tmp_path_factory.mktemp("actors"), python, request.param)) as there:
        yield there


def test_a_method_is_called_and_its_state_kept(theatre: Theatre) -> None:
    assert theatre.call("Counter", "plain", "Add", 5) == 5
    assert theatre.call("Counter", "plain", "Add", 2) == 7
    assert theatre.call("Counter", "other", "Get") == 0
    assert theatre.notes("plain") == ["activated", "add 5", "add 2"]
    assert theatre.call("Counter", "plain", "Forget") is True
    assert theatre.call("Counter", "plain", "Get") == 0


def test_a_method_that_raises_keeps_nothing_that_it_has_not_saved(theatre: Theatre) -> None:
    assert theatre.call("Counter", "failing", "Add", 1) == 1
    assert "not today" in theatre.failure("Counter", "failing", "AddThenFail", 10)
    assert theatre.call("Counter", "failing", "Get") == 1


def test_state_outlives_the_program_and_the_server(theatre: Theatre) -> None:
    assert theatre.call("Counter", "lasting", "Add", 5) == 5
    theatre.restart_program()
    assert theatre.call("Counter", "lasting", "Add", 1) == 6
    theatre.restart_server()
    assert theatre.call("Counter", "lasting", "Add", 1) == 7
    theatre.restart_program()
    theatre.restart_server()
    assert theatre.call("Counter", "lasting", "Get") == 7


def test_a_method_whose_program_dies_counts_once(theatre: Theatre) -> None:
    hold = theatre.folder / "hold"
    hold.touch()
    theatre.ask("Counter", "dying", "AddSlowly", 3)  # which has saved its state by its note, and has not answered
    theatre.until(lambda: "add 3" in theatre.notes("dying"), "the method has not begun")
    theatre.program.kill()
    hold.unlink()
    theatre.program = theatre.start_program()
    assert theatre.answer() == {"result": 3}
    assert theatre.notes("dying").count("add 3") == 2
    assert theatre.call("Counter", "dying", "Get") == 3


def test_what_a_turn_saved_is_not_kept_if_the_server_dies_in_it(theatre: Theatre) -> None:
    hold = theatre.folder / "hold"
    hold.touch()
    theatre.ask("Counter", "halved", "AddSlowly", 3)
    theatre.until(lambda: "add 3" in theatre.notes("halved"), "the method has not begun")
    theatre.server.kill()
    hold.unlink()
    theatre.server = theatre.start_server()
    assert theatre.answer()  # an answer or a lost connection, as the package makes of it
    theatre.until(lambda: theatre.notes("halved").count("add 3") >= 2, "the method is not run again")
    assert theatre.call("Counter", "halved", "Get") == 3 * (theatre.notes("halved").count("add 3") - 1)


def test_reminders_come_again_after_both_were_killed(theatre: Theatre) -> None:
    theatre.call("Counter", "reminded", "Remind", "wake")
    theatre.until(lambda: "reminded wake soon 0.2 0.2" in theatre.notes("reminded"), "no reminder comes")
    theatre.program.kill()
    theatre.restart_server()
    seen = len(theatre.notes("reminded"))
    theatre.program = theatre.start_program()
    theatre.until(lambda: len(theatre.notes("reminded")) > seen + 3, "no reminder comes after the kills")
    listed = RUNTIME_SCHEMA.parse("ListActorRemindersResponse", theatre.rpc("ListActorReminders", actor_type="Counter"))
    assert [(one.name, one.reminder.actor_id, one.reminder.period) for one in listed.reminders] == [
        ("wake", "reminded", "0h0m0s200ms0μs")
    ]
    theatre.call("Counter", "reminded", "StopReminding", "wake")
    seen = len(theatre.notes("reminded"))
    time.sleep(0.6)
    assert len(theatre.notes("reminded")) <= seen + 2  # one that was on its way, and what it adds
    with pytest.raises(grpc.RpcError, match="has no reminder 'wake'"):
        theatre.rpc("GetActorReminder", actor_type="Counter", actor_id="reminded", name="wake")


def test_reminders_of_a_type_are_unregistered_together(theatre: Theatre) -> None:
    for id in ("many-1", "many-2"):
        theatre.call("Reentrant", id, "Remind", "wake")
    theatre.rpc("UnregisterActorRemindersByType", actor_type="Reentrant")
    listed = theatre.rpc("ListActorReminders", actor_type="Reentrant")
    assert not RUNTIME_SCHEMA.parse("ListActorRemindersResponse", listed).reminders


def test_timers_come_until_the_program_dies(theatre: Theatre) -> None:
    theatre.call("Counter", "timed", "Tick", "t")
    theatre.until(lambda: theatre.notes("timed").count("ticked 2") > 2, "no timer comes")
    theatre.program.kill()
    time.sleep(0.3)
    seen = theatre.notes("timed").count("ticked 2")
    theatre.program = theatre.start_program()
    value = theatre.call("Counter", "timed", "Get")
    time.sleep(0.4)
    assert theatre.notes("timed").count("ticked 2") == seen
    assert theatre.call("Counter", "timed", "Get") == value


def test_an_idle_actor_is_put_away_and_comes_back(theatre: Theatre) -> None:
    assert theatre.call("Brief", "brief", "Add", 4) == 4
    theatre.until(lambda: "deactivated" in theatre.notes("brief"), "it is not put away")
    assert theatre.call("Brief", "brief", "Get") == 4
    assert theatre.notes("brief").count("activated") == 2


def test_actors_call_actors_and_come_back_where_that_is_allowed(theatre: Theatre) -> None:
    assert theatre.call("Counter", "a", "AskOther", {"type": "Counter", "id": "b"}) == 1
    back = {"type": "Reentrant", "id": "r"}
    assert theatre.call("Reentrant", "r", "AskOther", {"type": "Counter", "id": "b", "back": back}) == 2 - 1
    there_and_back = {"type": "Counter", "id": "b", "back": {"type": "Counter", "id": "a"}}
    sentence = theatre.failure("Counter", "a", "AskOther", there_and_back)
    assert "waits for the one that calls it" in sentence
    assert theatre.call("Counter", "a", "Get") == 0


def test_what_has_a_time_to_live_goes(theatre: Theatre) -> None:
    assert theatre.call("Counter", "borrower", "Borrow", 1) == 7
    fields = {"actor_type": "Counter", "actor_id": "borrower", "key": "borrowed"}
    assert RUNTIME_SCHEMA.parse("GetActorStateResponse", theatre.rpc("GetActorState", **fields)).data == b"7"
    time.sleep(1.2)
    assert theatre.rpc("GetActorState", **fields) == b""


def test_a_type_that_nobody_hosts_is_refused_in_words(theatre: Theatre) -> None:
    with pytest.raises(grpc.RpcError, match="no program hosts actors of type 'Nobody'"):
        theatre.rpc("InvokeActor", actor_type="Nobody", actor_id="1", method="Get")


def test_metadata_count_the_active_actors(theatre: Theatre) -> None:
    theatre.call("Counter", "counted", "Get")
    told = RUNTIME_SCHEMA.parse("GetMetadataResponse", theatre.rpc("GetMetadata"))
    counts = {one.type: one.count for one in told.actor_runtime.active_actors}
    assert counts["Counter"] >= 1
    assert set(counts) == {"Counter", "Reentrant", "Brief"}


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_both_end_in_peace(theatre: Theatre, number: signal.Signals) -> None:
    os.kill(theatre.server.pid, number)
    theatre.until(lambda: "stopped" in theatre.server.output, "the server does not stop")
