"""Each pattern of several agents says what it shows, and asks its models no more often than it has to."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from perdure.events import ActivityScheduled

FOLDER = Path(__file__).parents[2] / "examples" / "agents"
SAYS = {
    "router": """
        billing: The books say: invoice 17 is settled.
        technics: Switch it off and on: the printer hums
        """,
    "round_robin": """
        optimist: It will work. (after 0 others)
        pessimist: It will break. (after 1 others)
        realist: Test it. (after 2 others)
        optimist: It will work. (after 3 others)
        pessimist: It will break. (after 4 others)
        realist: Test it. (after 5 others)
        """,
    "selected": """
        researcher: 330 metres
        writer: The tower is 330 metres high.
        """,
    "supervisor": """
        the house: the walls of the house done and the roof of the house done
        by 2 workers
        """,
    "evaluator": """
        Buy our tea. It is warm.
        """,
    "parallel": """
        Summary: an open door in main.py; a slow loop in main.py; style has no answer
        """,
}
ASKED = {
    "router": {"router": 2, "billing": 1, "technics": 1},
    "round_robin": {"optimist": 2, "pessimist": 2, "realist": 2},
    "selected": {"chair": 3, "researcher": 1, "writer": 1},
    "supervisor": {"supervisor": 2, "worker": 2},
    "evaluator": {"writer": 2, "critic": 2},
    "parallel": {"security": 1, "speed": 1, "style": 1, "editor": 1},
}
"""How many requests each agent's model had."""


def _expected(name: str) -> list[str]:
    return [line.removeprefix(" " * 8) for line in SAYS[name].rstrip().splitlines()[1:]]


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def _asked(module: ModuleType) -> Counter[str]:
    """How many model requests are in the histories, by agent."""
    asked: Counter[str] = Counter()
    async with module.app as app:
        async for state in app.client.list():
            async for event in app.client.get(state.id).history():
                if isinstance(event, ActivityScheduled):
                    asked[event.name.partition("__")[0]] += 1
    return asked


def test_every_pattern_is_tested_and_listed() -> None:
    patterns = {path.stem for path in FOLDER.glob("*.py")} - {"scripted"}
    listed = re.findall(r"^\| `agents/(\w+)\.py`", (FOLDER.parent / "README.md").read_text(), re.MULTILINE)
    assert patterns == set(SAYS) == set(ASKED) == set(listed)


@pytest.mark.parametrize("name", SAYS)
def test_a_pattern_says_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("EXAMPLE_MODEL", raising=False)
    module = _loaded(name)
    asyncio.run(module.main())
    assert capsys.readouterr().out.splitlines() == _expected(name)
    assert asyncio.run(_asked(module)) == ASKED[name]


@pytest.mark.long  # because another interpreter has to load pydantic-ai
def test_a_pattern_runs_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / "supervisor.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout.splitlines()) == ("", _expected("supervisor"))
