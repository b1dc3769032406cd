"""What makes a workflow's code another one, and what does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from perdure import App
from perdure.sdk.fingerprint import fingerprint

SOURCE = """
LIMIT = 3
count = 0

def helper(x, step=1):
    return x + step if x in {"a", "b", "c", "d"} else [y for y in range(LIMIT)]

class Tool:
    def turn(self):
        return 1

async def main():
    return helper(1)
"""


def printed(source: str) -> str:
    names: dict = {"__name__": "made"}
    exec(source, names)
    return fingerprint(names["main"])


@pytest.mark.parametrize(
    "old, new",
    [
        ("helper(1)", "helper(2)"),
        ("x + step", "x - step"),
        ("range(LIMIT)", "reversed(LIMIT)"),
        ('"d"', '"e"'),
        ("step=1", "step=2"),
        ("return 1", "return 2"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("y for y", "-y for y"),
    ],
)
def test_a_change_anywhere_in_the_module_counts(old, new):
    assert printed(SOURCE.replace(old, new)) != printed(SOURCE)


@pytest.mark.parametrize("old, new", [("count = 0", "count = 1"), ("\nclass", "\n# a note\n\nclass")])
def test_comments_places_and_variables_do_not_count(old, new):
    assert printed(SOURCE.replace(old, new)) == printed(SOURCE)


PROXY = """
class Proxy:
    def __getattribute__(self, name):
        raise RuntimeError("there is no request")

request = Proxy()
REQUEST = Proxy()
"""


def test_a_lazy_proxy_among_the_globals_is_not_asked():
    source = SOURCE.replace("step=1", "step=request")
    assert printed(PROXY + source) == printed(PROXY + source)


DECORATED = """
import functools

def shout(function):
    return functools.wraps(function)(functools.partial(function))

class Tool:
    @property
    def size(self):
        return 1

    @staticmethod
    def turn():
        return 2

    @classmethod
    def make(cls):
        return 3

@shout
def loud():
    return 4

bound = Tool().make

async def main():
    return loud()
"""


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_change_inside_a_decorator_a_property_or_a_method_counts(number):
    assert printed(DECORATED.replace(f"return {number}", "return 5")) != printed(DECORATED)


def test_every_process_prints_the_same():
    program = f"from perdure.sdk.fingerprint import fingerprint\nexec({SOURCE!r})\nprint(fingerprint(main))"
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(prints) == 1


def test_a_stall_by_a_helper_is_tried_again_once_the_helper_is_right(run, url):
    module = """
from perdure import wait_for_event

def helper(found):
    RAISE

async def main() -> int:
    found = await wait_for_event("n", int)
    while not helper(found):
        await asyncio.sleep(0)
    return found
"""

    def program(does: str) -> App:
        app = App("helped", store=url)
        names: dict = {"__name__": "made"}
        exec("import asyncio" + module.replace("RAISE", does), names)
        app.workflow(names["main"])
        return app

    async def scenario():
        async with program("return False") as app:
            handle = await app.client.workflow("main").with_options(id="x").start()
            await handle.raise_event("n", 5)
            while (halt := (await handle.state()).stalled) is None:
                await asyncio.sleep(0.01)
        async with program("return False") as app:
            await app.client.get("x").raise_event("n", 6)
            same = (await app.client.get("x").state()).stalled
        async with program("return True") as app:
            return halt, same, await app.client.get("x").result(30)

    halt, same, result = run(scenario)
    assert halt == same
    assert result == 5
