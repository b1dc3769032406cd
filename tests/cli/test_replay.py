"""`perdure replay`: whether the code in the working tree can go on with what is not finished."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest

from perdure import App, wait_for_event

pytestmark = pytest.mark.long

BEFORE = """
import asyncio
from dataclasses import dataclass
from perdure import App, patched, wait_for_event

app = App("plant")

@dataclass
class Receipt:
    total: int

@app.activity
async def charge(x: int) -> Receipt:
    return Receipt(x)

@app.activity
async def ship(x: int) -> int:
    return x

@app.workflow
async def checkout(x: int) -> int:
    receipt = await charge(x)
    await ship(x)
    await wait_for_event("go")
    return receipt.total
"""
COUNT = 7


@pytest.fixture
def plant(shell):
    """A folder with a store that holds unfinished runs, one finished one, and the code that they ran."""
    code = shell.folder / "shop.py"
    code.write_text(BEFORE)
    asyncio.run(_fill(f"sqlite:///{shell.folder}/shop.db"))
    return shell


async def _fill(url):
    app = App("plant", store=url)

    @app.activity
    async def charge(x: int) -> dict[str, int]:
        return {"total": x}

    @app.activity
    async def ship(x: int) -> int:
        return x

    @app.workflow
    async def checkout(x: int) -> None:
        await charge(x)
        await ship(x)
        await wait_for_event("go")

    async with app:
        for number in range(COUNT):
            handle = await checkout.with_options(id=f"o-{number}").start(number)
            async with asyncio.timeout(30):
                while (await handle.explain()).cause != "event":
                    await asyncio.sleep(0.01)
        done = await checkout.with_options(id="done").start(0)
        await done.raise_event("go")
        await done.result(30)
        await checkout.with_options(id="tomorrow", at=_tomorrow()).start(9)


def _tomorrow():
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) + timedelta(days=1)


def change(shell, old, new):
    text = BEFORE.replace(old, new)
    assert text != BEFORE
    (shell.folder / "shop.py").write_text(text)


def test_the_same_code_is_compatible_with_every_unfinished_run(plant):
    done = plant.run("replay", "shop:app")
    assert done.stdout == ""
    assert f"{COUNT + 1} of {COUNT + 1} unfinished runs can go on" in done.stderr


def test_a_divergence_names_event_both_actions_line_and_the_patch(plant):
    change(plant, "    await ship(x)", "    await asyncio.sleep(5)\n    await ship(x)")
    told = plant.text("replay", "shop:app", code=1)
    assert f"checkout: {COUNT} diverges: o-0, o-1, o-2, ..." in told
    line = "shop.py:23 in checkout"
    assert f"event 2: history holds ActivityScheduled(ship), the code asked for CreateTimer at {line}" in told
    assert f'at {line}: if perdure.patched("timer-before-ship"):' in told


def test_the_patch_that_it_names_makes_the_edit_compatible_and_is_counted(plant):
    change(
        plant,
        "    await ship(x)",
        '    if patched("timer-before-ship"):\n        await asyncio.sleep(5)\n    await ship(x)',
    )
    told = plant.text("replay", "shop:app")
    assert told == f"patch 'timer-before-ship': {COUNT} runs need its old side\n"


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("    total: int", "    total: int\n    currency: str", "field $.currency was added without a default"),
        ("    total: int", "    total: str", "the type of $.total has changed: recorded is int, the code expects str"),
        (
            "@dataclass\nclass Receipt:",
            "import msgspec\nclass Receipt(msgspec.Struct, forbid_unknown_fields=True):\n    sum: int = 0\nclass Gone:",
            "field $.total was removed, and the type forbids what it does not know",
        ),
        (
            "@dataclass\nclass Receipt:",
            "import pydantic\nclass Receipt(pydantic.BaseModel):\n    currency: str",
            "field $.currency was added without a default",
        ),
    ],
)
def test_a_payload_that_no_longer_decodes_is_told_as_a_change_of_its_type(plant, old, new, words):
    change(plant, old, new)
    told = plant.text("replay", "shop:app", code=1)
    assert f"checkout: {COUNT} undecodable" in told
    assert "ActivityCompleted(1) no longer decodes as Receipt" in told
    assert words in told


def test_a_field_with_a_default_is_no_change_that_matters(plant):
    change(plant, "    total: int", '    total: int\n    currency: str = "EUR"')
    plant.run("replay", "shop:app")


def test_an_input_that_no_longer_decodes_is_found_before_the_run_begins(plant):
    change(plant, "async def checkout(x: int)", "async def checkout(x: list[int])")
    document = json.loads(plant.text("replay", "shop:app", "--json", code=1).splitlines()[-1])
    (group,) = document["summary"]["groups"]
    assert group["count"] == COUNT + 1
    assert "RunStarted(checkout) no longer decodes" in group["description"]


def test_missing_code_is_told(plant):
    change(plant, "async def checkout(", "async def check_out(")
    told = plant.text("replay", "shop:app", code=1)
    assert f"checkout: {COUNT + 1} missing" in told
    assert "there are: check_out" in told


def test_code_that_never_comes_to_an_await_is_told_with_its_line(plant):
    change(plant, "    await ship(x)", "    while True: pass")
    told = plant.text("replay", "shop:app", "--sample", "1", code=1)
    assert "checkout: 1 stuck: " in told
    assert "the turn held its thread for more than its bound" in told


def test_code_that_ends_its_process_is_told_in_a_sentence(plant):
    change(plant, "    await ship(x)", "    __import__('os')._exit(3)  # perdure: allow")
    assert "a process that replayed has ended by itself" in plant.error("replay", "shop:app", code=2)


def test_json_has_a_document_for_each_run_and_a_summary(plant):
    change(plant, "    await ship(x)", "    await ship(x)\n    await ship(x)")
    *runs, last = [json.loads(line) for line in plant.text("replay", "shop:app", "--json", code=1).splitlines()]
    assert len(runs) == COUNT + 1
    broken = next(run for run in runs if run["id"] == "o-0")
    assert broken["finding"] == "diverges"
    assert broken["difference"] == {"number": 3, "held": "nothing here", "asked": "ScheduleActivity(ship)"}
    assert last["summary"]["runs"] == COUNT + 1
    assert last["summary"]["compatible"] == 1


def test_a_sample_and_a_name_bound_what_is_looked_at(plant):
    *runs, _ = plant.text("replay", "shop:app", "--json", "--sample", "2").splitlines()
    again = plant.text("replay", "shop:app", "--json", "--sample", "2").splitlines()[:-1]
    assert len(runs) == 2
    assert sorted(runs) == sorted(again)
    assert "0 of 0" in plant.run("replay", "shop:app", "--name", "other").stderr


def test_an_exported_set_is_replayed_without_its_store(plant):
    plant.run("replay", "--app", "plant", "--export", "set.jsonl")
    (plant.folder / "shop.db").unlink()
    plant.environment.pop("PERDURE_STORE")
    assert f"{COUNT + 1} of {COUNT + 1}" in plant.run("replay", "shop:app", "--from", "set.jsonl").stderr
    change(plant, "    await ship(x)", "    pass")
    assert "history holds ActivityScheduled(ship)" in plant.text("replay", "shop:app", "--from", "set.jsonl", code=1)


def test_nothing_is_written_and_a_running_owner_goes_on(plant):
    with plant.worker():
        before = _dump(plant)
        plant.run("replay", "shop:app")
        assert _dump(plant) == before
        plant.run("raise", "o-1", "go")
        assert plant.json("start", "checkout", "5", "--id", "new")["id"] == "new"


def _dump(plant):
    connection = sqlite3.connect(plant.folder / "shop.db")
    try:
        # but for what nodes tell of themselves, whenever they like
        return [line for line in connection.iterdump() if '"perdure_about"' not in line]
    finally:
        connection.close()


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["replay"], 2, "no code is named"),
        (["replay", "shop:app", "--from", "nowhere"], 2, "cannot be read"),
        (["replay", "--from", "shop.py"], 2, "needs MODULE:APP"),
        (["replay", "shop:app", "--from", "shop.py"], 2, "no recorded run"),
        (["replay", "--export", "x"], 2, "no app is named"),
        (["replay", "shop:nothing"], 2, "has no such attribute"),
        (["replay", "shop:app", "--store", "sqlite:///none.db"], 3, "there is no store"),
    ],
)
def test_mistakes_are_told_in_a_sentence(plant, arguments, code, words):
    assert words in plant.error(*arguments, code=code)
