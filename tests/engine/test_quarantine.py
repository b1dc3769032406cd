"""Real processes that their own instances kill: the killer stands still after three deaths, its neighbours go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, send
from perdure.engine.quarantine import Findings, judge
from perdure.engine.settings import QUARANTINE_DEATHS
from perdure.stores.contract import Suspect
from tests.engine import killer_app

PROGRAM = Path(killer_app.__file__)
LIVES_MAX = 8
HEALTHY = [f"healthy-{number:02}" for number in range(20)]
KILLERS = {"killing_activity": "activity", "killing_event": "event", "killing_timer": "timer"}


def begin(directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def supervise(directory: Path, *words: str, lives_max: int = LIVES_MAX) -> int:
    """Start the program again and again, as a supervisor does, until it ends in good order; how often it died."""
    for deaths in range(lives_max):
        process = begin(directory, *words)
        _, said = process.communicate(timeout=60)
        if process.returncode == 0:
            return deaths
        assert process.returncode == -signal.SIGKILL, said
    return lives_max


def told(directory: Path, work: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    """What a client says while no process owns the store."""

    async def ask() -> Any:
        async with Client(f"sqlite:///{directory}/app.db", app_id="killer", **options) as client:
            return await work(client)

    return asyncio.run(ask())


def start(directory: Path, workflow: str, *ids: str) -> None:
    async def work(client: Client) -> None:
        for id in ids:
            await client.workflow(workflow).with_options(id=id).start()
            if workflow == "killing_event":
                await client.get(id).raise_event("go", "event")

    told(directory, work)


def died_of(directory: Path) -> list[str]:
    path = directory / "deaths"
    return path.read_text().split() if path.exists() else []


def suspects(directory: Path) -> dict[str, int]:
    with sqlite3.connect(directory / "app.db") as connection:
        return dict(connection.execute("select instance, deaths from perdure_suspect"))


def kill_when_ready(directory: Path) -> None:
    """One life that ends by SIGKILL from outside."""
    process = begin(directory)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workflow", KILLERS)
def test_a_killer_stands_still_after_three_deaths_and_its_neighbours_finish(tmp_path, workflow):
    start(tmp_path, "healthy", *HEALTHY)
    start(tmp_path, workflow, "killer")
    assert supervise(tmp_path) == QUARANTINE_DEATHS == 3
    assert died_of(tmp_path) == [KILLERS[workflow]] * 3

    async def look(client: Client) -> Any:
        for id in HEALTHY:
            assert await client.get(id).result(30) == list(range(killer_app.STEPS))
        killer = client.get("killer")
        return await killer.state(), await killer.explain()

    state, explanation = told(tmp_path, look)
    assert state.stalled.reason == "quarantined"
    assert "died 3 times running" in state.stalled.description
    assert explanation.cause == "stalled:quarantined"
    assert explanation.command == "perdure resume killer"
    assert "resume it, or terminate it" in explanation.sentence
    assert "`" not in explanation.sentence, "only `command` is written for a shell, whatever the id is"
    in_flight = {
        "killing_activity": "activity deadly (call 1, attempt 1)",
        "killing_event": "a turn with",
        "killing_timer": "a timer that was due",
    }
    assert in_flight[workflow] in explanation.sentence
    assert suspects(tmp_path) == {}
    assert supervise(tmp_path) == 0, "nothing of it runs any more, calls in flight neither"

    (tmp_path / "repaired").touch()
    told(tmp_path, lambda client: client.get("killer").resume())
    assert supervise(tmp_path) == 0
    assert told(tmp_path, lambda client: client.get("killer").result(30)) == f"{KILLERS[workflow]} survived"


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("method, in_flight", [("kill", "a message"), ("kill_later", "a delayed remember")])
def test_an_actor_that_kills_stands_still_too_and_its_mail_waits(tmp_path, method, in_flight):
    start(tmp_path, "healthy", *HEALTHY[:3])

    async def tell(client: Client) -> None:
        await send(getattr(killer_app.Killer("k").with_options(client=client), method))
        await send(killer_app.Neighbour("n").with_options(client=client).add)

    told(tmp_path, tell)
    assert supervise(tmp_path, "patient") == 3
    explanation = told(tmp_path, lambda client: client.get("@Killer@k").explain())
    assert explanation.cause == "stalled:quarantined"
    assert explanation.command == "perdure resume @Killer@k"
    assert explanation.sentence.endswith(f"in flight were {in_flight}; repair that and resume it.")
    assert supervise(tmp_path) == 0, "nothing of it runs any more"
    for id in HEALTHY[:3]:
        assert told(tmp_path, lambda client, id=id: client.get(id).result(30)) == list(range(killer_app.STEPS))

    (tmp_path / "repaired").touch()
    told(tmp_path, lambda client: client.get("@Killer@k").resume())
    assert supervise(tmp_path, "patient") == 0

    async def look(client: Client) -> Any:
        return [(await client.get(id).state()).custom_status for id in ("@Killer@k", "@Neighbour@n")]

    survivor = {"told": f"{'message' if method == 'kill' else 'reminder'} survived"}
    assert told(tmp_path, look) == [survivor, {"count": 1}]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_an_actor_that_never_rests_is_acquitted_when_it_gets_on(tmp_path):
    async def tell(client: Client) -> None:
        for _ in range(200):
            await send(killer_app.Neighbour("n").with_options(client=client).add_slowly)

    async def count(client: Client) -> int:
        return ((await client.get("@Neighbour@n").state()).custom_status or {"count": 0})["count"]

    told(tmp_path, tell)
    # more than are needed, because a verdict is known in the life after
    for _ in range(QUARANTINE_DEATHS + 2):
        before = told(tmp_path, count)
        process = begin(tmp_path, "stay")
        while told(tmp_path, count) < before + 5:
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=10)
        assert told(tmp_path, lambda client: client.get("@Neighbour@n").state()).stalled is None
    assert told(tmp_path, count) < 200, "it has had operations at every death"


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workflow", KILLERS)
def test_who_is_resumed_without_repair_stands_still_again(tmp_path, workflow):
    start(tmp_path, workflow, "killer")
    assert supervise(tmp_path) == 3
    told(tmp_path, lambda client: client.get("killer").resume())
    assert supervise(tmp_path) == 3, "the resume is one more try, not one at every start"
    assert told(tmp_path, lambda client: client.get("killer").state()).stalled.reason == "quarantined"
    told(tmp_path, lambda client: client.get("killer").terminate())
    assert supervise(tmp_path) == 0
    assert told(tmp_path, lambda client: client.get("killer").state()).status == "terminated"


@pytest.mark.long
@pytest.mark.timeout(120)
def test_two_killers_stand_still_one_after_the_other(tmp_path):
    start(tmp_path, "healthy", *HEALTHY[:3])
    start(tmp_path, "killing_activity", "killer-1", "killer-2")
    assert supervise(tmp_path) == 6
    for id in ("killer-1", "killer-2"):
        assert told(tmp_path, lambda client, id=id: client.get(id).state()).stalled.reason == "quarantined"
    assert told(tmp_path, lambda client: client.get(HEALTHY[0]).result(30)) == list(range(killer_app.STEPS))


@pytest.mark.long
@pytest.mark.timeout(120)
def test_without_quarantine_it_dies_for_ever(tmp_path):
    start(tmp_path, "killing_activity", "killer")
    assert supervise(tmp_path, "off") == LIVES_MAX
    assert died_of(tmp_path) == ["activity"] * LIVES_MAX
    assert told(tmp_path, lambda client: client.get("killer").state()).stalled is None
    assert suspects(tmp_path) == {}


@pytest.mark.long
@pytest.mark.timeout(120)
def test_an_innocent_that_was_in_flight_at_every_death_survives_the_lane(tmp_path):
    start(tmp_path, "working", "long")
    start(tmp_path, "healthy", "short")
    for _ in range(3):
        kill_when_ready(tmp_path)
    assert suspects(tmp_path)["long"] == 2
    explanation = told(tmp_path, lambda client: client.get("long").explain())
    assert "died 2 times running" in explanation.sentence
    process = begin(tmp_path, "hasty")
    try:
        ends = time.monotonic() + killer_app.HASTY_SECONDS + 5
        while suspects(tmp_path) and time.monotonic() < ends:
            time.sleep(0.1)
        assert suspects(tmp_path) == {}
        assert told(tmp_path, lambda client: client.get("short").result(30)) == list(range(killer_app.STEPS))
    finally:
        process.kill()
        process.communicate(timeout=30)
    kill_when_ready(tmp_path)
    assert suspects(tmp_path) == {"long": 1}


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_slow_killer_is_found_among_others_that_run_for_long(tmp_path):
    long = ["long-1", "long-2", "long-3"]
    start(tmp_path, "working", *long)
    start(tmp_path, "killing_later", "slow")
    for deaths in range(1, 5):
        process = begin(tmp_path, "hasty")
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        assert len(died_of(tmp_path)) == deaths
    (tmp_path / "stop").touch()
    assert supervise(tmp_path, "hasty") == 0
    halts = {id: told(tmp_path, lambda client, id=id: client.get(id).state()).stalled for id in (*long, "slow")}
    assert [id for id, halt in halts.items() if halt is not None] == ["slow"]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_an_end_in_good_order_clears_everybody(tmp_path):
    start(tmp_path, "working", "worker")
    for _ in range(3):
        kill_when_ready(tmp_path)
    assert suspects(tmp_path) == {"worker": 2}
    (tmp_path / "stop").touch()
    assert supervise(tmp_path) == 0
    assert suspects(tmp_path) == {}
    (tmp_path / "stop").unlink()
    for deaths in ({}, {"worker": 1}):
        kill_when_ready(tmp_path)
        assert suspects(tmp_path) == deaths


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_caretaker_neither_counts_as_a_life_nor_runs_a_suspect(tmp_path):
    start(tmp_path, "killing_activity", "killer")
    start(tmp_path, "working", "other-1", "other-2")
    for deaths in (1, 2):
        process = begin(tmp_path)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL

        async def work(client: Client) -> None:
            assert client.is_owner
            await client.get(f"other-{deaths}").terminate()  # noqa: B023 - it is run at once

        told(tmp_path, work, caretaker=True)
        assert len(died_of(tmp_path)) == deaths
        assert suspects(tmp_path).get("killer", 0) == deaths - 1
    assert supervise(tmp_path) == 1
    assert told(tmp_path, lambda client: client.get("killer").state()).stalled.reason == "quarantined"


def test_the_accused_is_convicted_and_everybody_else_cleared():
    suspects = [Suspect("a", 3), Suspect("b", 3, accused=1), Suspect("c", 1)]
    assert judge(suspects, 3) == Findings(convicted=suspects[1], cleared=tuple(suspects))


def test_several_accused_have_to_run_alone_and_everybody_else_is_cleared():
    suspects = [Suspect("a", 5), Suspect("b", 3, accused=1), Suspect("c", 3, accused=2)]
    assert judge(suspects, 3) == Findings(suspected=(suspects[2], suspects[1]), cleared=(suspects[0],))


def test_those_that_were_always_there_are_suspected_most_deaths_first():
    suspects = [Suspect("a", 2), Suspect("b", 1), Suspect("c", 4), Suspect("d", 2, accused=1)]
    assert judge(suspects, 3) == Findings(suspected=(suspects[2], suspects[0], suspects[3]))
    assert judge(suspects[1:2], 3) == Findings()
    assert judge([], 3) == Findings()
