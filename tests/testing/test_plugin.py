"""The pytest plugin, tested by pytest: fixture, mark, options, and what a failing test says."""

import json
import shutil
from pathlib import Path

import cryptography.hazmat.primitives.ciphers.aead
import cryptography.hazmat.primitives.hashes
import cryptography.hazmat.primitives.kdf.hkdf  # noqa: F401 because pytester would import its binary part a second time
import pytest

import perdure
from tests.docs.page import runs

pytest_plugins = ["pytester"]
EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE = Path(perdure.__file__).parents[1]
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "testing.md"

BOOK = """
import asyncio
import random
import time

import pytest

from perdure import App, activity_context, wait_for_event

app = App("book")
bank = []
books = {}
counter = 0
order = {"a": 1, "b": 2}


@app.activity
async def charge(cents: int) -> int:
    bank.append(cents)
    await asyncio.sleep(0.1)
    return cents


@app.activity
async def charge_by_key(cents: int) -> int:
    await asyncio.sleep(0.1)
    books[activity_context().idempotency_key] = cents
    return cents


@app.activity
async def note(value: float) -> float:
    return value


def count():
    global counter
    counter += 1
    return counter


def rotated():
    first = next(iter(order))
    order[first] = order.pop(first)
    return list(order)


def draw():
    return random.random()


def clock():
    return time.time_ns() % 1_000_000_007
"""


@pytest.fixture
def kit(pytester, monkeypatch):
    """Runs pytest on a file in a directory of its own, with the plugin and without others that tests do not need."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text, *arguments, plugins=()):
        if text is not None:
            pytester.makepyfile(test_it=text)
        named = [part for name in ("perdure_pytest", *plugins) for part in ("-p", name)]
        return pytester.runpytest_inprocess(*named, "-p", "no:cacheprovider", *arguments)

    return run


def test_what_is_not_used_is_not_imported(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    pytester.makepyfile("import sys\ndef test_it():\n    assert not {'perdure', 'msgspec'} & set(sys.modules)")
    pytester.runpytest_subprocess("-p", "perdure_pytest", "-p", "no:faulthandler").assert_outcomes(passed=1)


def test_the_example_passes(pytester, kit):
    shutil.copy(EXAMPLES / "test_checkout.py", pytester.path)
    kit(None, "--strict-markers").assert_outcomes(passed=3)


def test_the_blocks_of_the_how_to_are_a_file_of_tests_that_pass(kit, pytester):
    text = "\n\n".join(block.text for block, _ in runs(PAGE))
    result = kit(text, "--perdure-record", plugins=["anyio.pytest_plugin"])
    result.assert_outcomes(passed=text.count("def test_"))
    names = [path.name for path in (pytester.path / "histories" / "test_it").iterdir()]
    assert names == ["test_checkout_replays_for_ever-1.json"]


ASYNC = (
    BOOK
    + """
@app.workflow
async def century() -> int:
    await asyncio.sleep(100 * 365 * 86_400)
    return await charge(5)


{mark}
@pytest.mark.durable
async def test_async(perdure_app):
    env = perdure_app(app)
    loop = asyncio.get_running_loop()
    handle = await century.start()
    await env.sleep(days=1)
    assert (await handle.state()).status == "running"
    assert await handle.result() == 5
    assert asyncio.get_running_loop() is loop
    await asyncio.sleep(0.001)
"""
)


@pytest.mark.parametrize(
    "mark, plugin", [("@pytest.mark.asyncio", "pytest_asyncio.plugin"), ("@pytest.mark.anyio", "anyio.pytest_plugin")]
)
def test_it_works_with_the_plugins_for_coroutines(kit, mark, plugin):
    backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    scope = ("-o", "asyncio_default_fixture_loop_scope=function") if "asyncio" in mark else ()
    result = kit(ASYNC.replace("{mark}", mark) + backend, *scope, plugins=[plugin])
    result.assert_outcomes(passed=1)


# -- durable tests ----------------------------------------------------------------------------------------------

DURABLE = """

@pytest.mark.durable
def test_it(perdure_app):
    bank.clear()
    books.clear()
    env = perdure_app(app)

    async def scenario():
        handle = await workflow.start()
        result = await handle.result()
        {check}

    env.run(scenario())
"""

BUGS = {
    "a payment that is not idempotent": ("return await charge(5)", "assert bank == [5]", "assert [5, 5] == [5]"),
    "a counter": ("return await note(count())", "pass", "holds a call of note with 4, the code asked for one with 5"),
    "a counter that decides": (
        "if count() % 2:\n        await charge_by_key(1)\n    return await note(2)",
        "pass",
        "history holds ActivityScheduled(note), the code asked for ScheduleActivity(charge_by_key)",
    ),
    "randomness": ("return await note(draw())", "pass", "non-determinism"),
    "the clock": ("return await note(clock())", "pass", "non-determinism"),
    "the order of a dict": ("return [await note(ord(key)) for key in rotated()]", "pass", "non-determinism"),
    "the order of ids": (
        "return [await note(id(each)) for each in sorted((object() for _ in range(3)), key=id)]",
        "pass",
        "non-determinism",
    ),
}


def _durable(body, check):
    return f"{BOOK}\n\n@app.workflow\nasync def workflow():\n    {body}\n{DURABLE.format(check=check)}"


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found_at_a_crash_point_that_can_be_repeated_alone(kit, bug):
    body, check, says = BUGS[bug]
    result = kit(_durable(body, check))
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert says in text
    (command,) = [line.split() for line in text.splitlines() if "--perdure-crash" in line]
    assert command[:2] == ["pytest", "test_it.py::test_it"]
    assert f"[crash point {command[3]}: crash" in text


def test_the_command_of_a_failure_repeats_it_with_its_story(kit):
    text = _durable("return await charge(5)", "assert bank == [5]")
    command = next(line.split() for line in kit(text).outlines if "--perdure-crash" in line)
    again = kit(None, *command[2:])
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*fails at crash point*", "The store's story:", "*commit*"])
    assert again.stdout.str().count("The test passes undisturbed") == 1


def test_a_workflow_without_bugs_passes_at_all_its_crash_points(kit, pytester):
    body = "await note(1)\n    await asyncio.sleep(60)\n    return await charge_by_key(5)"
    result = kit(_durable(body, "assert result == 5 and list(books.values()) == [5]"), "--junitxml=report.xml")
    result.assert_outcomes(passed=1)
    assert _points(pytester) > 15


SHOP = """
import asyncio
import sqlite3

import pytest

from perdure import App, Codec, KeyRing, Queue, Rate, Secret, Transaction, activity_context

app = App("shop", codec=Codec(keys=KeyRing({"k1": KeyRing.new_key()}), offload="blobs", offload_above=100))
line = Queue("line", concurrency=1, rate=Rate(2, per=60))


@app.activity
async def items(pin: Secret[str]):
    for place in range(activity_context().stream_offset, len(pin.reveal())):
        await asyncio.sleep(1)
        yield place


@app.transaction
def sell(db: Transaction, count: int) -> str:
    db.execute("insert into sold values (?)", (count,))
    return "x" * 500


@app.workflow(queue=Queue("shops", concurrency=1))
async def shop(pin: Secret[str]) -> int:
    count = await items.with_options(queue=line)(pin)
    return count + len(await sell.with_options(queue=line)(count))


@pytest.mark.durable(crash="every-step")
def test_it(perdure_app):
    env = perdure_app(app, store="sqlite")
    with sqlite3.connect(env.path) as db:
        db.execute("create table if not exists sold (count integer)")

    async def scenario():
        handle = await shop.with_options(id="s").start(Secret("12"))
        assert await handle.result() == 502
        assert [item async for item in handle.stream(items)] == [0, 1]

    env.run(scenario())
    with sqlite3.connect(env.path) as db:
        assert db.execute("select count from sold").fetchall() == [(2,)]
"""


@pytest.mark.long
def test_steps_streams_queues_and_a_codec_are_crashed_too(kit, pytester):
    result = kit(SHOP, "--junitxml=report.xml")
    result.assert_outcomes(passed=1)
    assert _points(pytester) > 30
    assert list(pytester.path.glob("blobs/*")) == []


def test_a_step_that_happens_twice_is_found(kit):
    text = SHOP.replace("@app.transaction\ndef sell(db: Transaction, ", "@app.activity\ndef sell(")
    text = text.replace('    db.execute("insert', '    write("insert')
    text = text.replace("    async def scenario", "    PATH.append(env.path)\n\n    async def scenario")
    text = text.replace("line = Queue", "PATH = []\nline = Queue")
    text += """

def write(sql, values):
    with sqlite3.connect(PATH[-1]) as db:
        db.execute(sql, values)
"""
    result = kit(text)
    result.assert_outcomes(failed=1)
    assert "fails at crash point" in result.stdout.str()


def _points(pytester):
    report = (pytester.path / "report.xml").read_text()
    return int(report.partition('name="perdure_crash_points" value="')[2].partition('"')[0])


def test_a_process_really_dies_at_each_step(kit):
    text = _durable("await note(1)\n    return await charge(5)", "lives.append(len(env.calls(charge)[0].attempts))")
    text = text.replace("bank = []", "bank = []\nlives = []")
    kit(text + "\n\ndef test_after():\n    assert lives.count(2) == 2, lives\n").assert_outcomes(passed=2)


def test_fixtures_are_made_anew_for_each_run_and_wide_ones_once(kit):
    fixtures = """
made = []

@pytest.fixture
def narrow(tmp_path):
    made.append("narrow")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    yield
    made.append("narrow gone")

@pytest.fixture(scope="module")
def wide():
    made.append("wide")
    yield
    made.append("wide gone")
"""
    text = _durable("return await note(1)", "pass").replace("(perdure_app)", "(perdure_app, narrow, wide)")
    after = """
def test_after():
    assert made.count("narrow") == made.count("narrow gone") > 5
    assert made.count("wide") == 1 and "wide gone" not in made
"""
    kit(text + fixtures + after).assert_outcomes(passed=2)


def test_a_test_that_fails_undisturbed_fails_as_any(kit):
    result = kit(_durable("return await note(1)", "assert result == 2"))
    result.assert_outcomes(failed=1)
    assert "crash point" not in result.stdout.str()


def test_a_wide_fixture_that_cannot_be_taken_down_is_an_error(kit):
    text = _durable("return await note(1)", "pass").replace("(perdure_app)", "(perdure_app, wide)")
    fixture = "\n@pytest.fixture(scope='module')\ndef wide():\n    yield\n    raise KeyError('taken down')\n"
    kit(text + fixture).assert_outcomes(passed=1, errors=1)


def test_skips_and_expected_failures_stay_what_they_are(kit):
    skipped = _durable("return await note(1)", "pytest.skip('not here')")
    kit(skipped).assert_outcomes(skipped=1)
    fails = _durable("return await note(1)", "assert False")
    kit(fails.replace("@pytest.mark.durable", "@pytest.mark.xfail\n@pytest.mark.durable")).assert_outcomes(xfailed=1)


@pytest.mark.parametrize(
    "mark, arguments, says",
    [
        ('durable(crash="sometimes")', (), "there are 'every-step', 'every-commit'"),
        ('durable("every-step")', (), "the mark durable takes crash=..."),
        ("durable(every='step')", (), "takes crash=..., not 'every'"),
        ("durable", ("--perdure-crash", "9999"), "has the crash points 1 to"),
    ],
)
def test_a_mark_that_cannot_be_is_told(kit, mark, arguments, says):
    text = _durable("return await note(1)", "pass").replace("pytest.mark.durable", f"pytest.mark.{mark}")
    result = kit(text, *arguments)
    result.assert_outcomes(errors=1)
    assert says in result.stdout.str()
    assert "PERDURE-1644" in result.stdout.str()


def test_a_durable_test_needs_the_fixture(kit):
    result = kit(BOOK + "\n@pytest.mark.durable\ndef test_it():\n    pass\n")
    result.assert_outcomes(errors=1)
    assert "needs the fixture perdure_app" in result.stdout.str()


def test_fewer_crash_points_are_tried_at_commits_alone(kit, pytester):
    def points(mode):
        text = _durable("return await charge(5)", "pass").replace("durable", f"durable(crash='{mode}')")
        kit(text, "--junitxml=report.xml").assert_outcomes(passed=1)
        return _points(pytester)

    assert points("every-commit") < points("every-step")


# -- golden histories -----------------------------------------------------------------------------------------

GOLDEN = (
    BOOK
    + """

@app.workflow
async def checkout(cents: int) -> float:
    await charge(cents)
    return await note(1.0)


def test_golden(perdure_app):
    env = perdure_app(app)

    async def scenario():
        handle = await checkout.with_options(id="A").start(5)
        await handle.result()
        await env.golden(handle)

    env.run(scenario())
"""
)


def test_a_golden_history_is_recorded_once_and_replays(kit, pytester):
    missing = kit(GOLDEN)
    missing.assert_outcomes(failed=1)
    assert "record it: pytest test_it.py::test_golden --perdure-record" in missing.stdout.str()
    kit(None, "--perdure-record").assert_outcomes(passed=1)
    (path,) = (pytester.path / "histories" / "test_it").iterdir()
    assert path.name == "test_golden-1.json"
    kinds = [event["type"] for event in json.loads(path.read_text())["events"]]
    assert "ActivityScheduled" in kinds
    before = path.read_bytes()
    assert before.count(b"\n") > 20  # people read it
    kit(None).assert_outcomes(passed=1)
    kit(None, "--perdure-record").assert_outcomes(passed=1)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("await charge(cents)\n    return", "return", "history holds ActivityScheduled(charge)"),
        ("    return await note(1.0)", "    return 5", "history holds ActivityScheduled(note)"),
        ("await note(1.0)", "await note(1.0) + await note(2.0)", "the code asked for ScheduleActivity(note)"),
        (
            "return await note(1.0)",
            "raise KeyError(await note(1.0))",
            "the end",
        ),
        ("async def checkout", "async def paid", "no workflow 'checkout' is registered"),
    ],
)
def test_code_that_goes_another_way_is_held_to_what_was_recorded(kit, pytester, old, new, says):
    kit(GOLDEN, "--perdure-record").assert_outcomes(passed=1)
    assert old in GOLDEN
    changed = GOLDEN.replace(old, new)
    if "def paid" in changed:
        changed = changed.replace("checkout.with_options", "paid.with_options")
    changed = changed.replace("await handle.result()", "await env.idle()")
    result = kit(changed)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert says in text
    assert "does not replay" in text
    recording = kit(None, "--perdure-record")
    recording.assert_outcomes(failed=1)  # because what was recorded stays, for the instances that are under way


def test_another_name_and_a_broken_file(kit, pytester):
    named = GOLDEN.replace("env.golden(handle)", "env.golden(handle, 'paid')")
    kit(named, "--perdure-record").assert_outcomes(passed=1)
    path = pytester.path / "histories" / "test_it" / "paid-1.json"
    path.write_text(path.read_text()[:100])
    result = kit(None)
    result.assert_outcomes(failed=1)
    assert "cannot be read as a golden history" in result.stdout.str()
    slash = kit(GOLDEN.replace("env.golden(handle)", "env.golden(handle, 'a/b')"))
    slash.assert_outcomes(failed=1)
    assert "has a slash" in slash.stdout.str()


def test_the_options_are_documented(kit):
    shown = kit("", "--help").stdout.str()
    assert "--perdure-record" in shown
    assert "--perdure-crash" in shown
    assert "@pytest.mark.durable(crash=" in kit("", "--markers").stdout.str()
