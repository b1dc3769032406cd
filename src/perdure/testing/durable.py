"""Durable tests: pytest runs one again and again, each time with another disturbance, and it must pass each time."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pytest
from _pytest.runner import runtestprotocol

from perdure.app import App
from perdure.errors import DurableMarkMisused
from perdure.testing.environment import Environment
from perdure.testing.golden import Shelf
from perdure.testing.trial import CALM, MODES, Disturbance, Trial

RUNS_MAX = 5_000
"""Runs of one test: more is a test too long to crash at each of its steps."""
STORY_LINES_MAX = 200
"""Lines of the store's story that a failure shows."""
TRIAL = pytest.StashKey[Trial]()
REFUSAL = pytest.StashKey[str]()


class OpenApp(Protocol):
    """What the fixture `perdure_app` is."""

    def __call__(
        self, app: App, *, store: str = "memory", strict: bool = False, start: datetime | None = None
    ) -> Environment:
        """Open an app for this test; `Environment` says what the arguments are. It is closed when the test ends."""


class Opening:
    """The environments that one test opens."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        item: pytest.Item = request.node
        self._trial = item.stash.get(TRIAL, None) or Trial()
        self._shelf = _shelf(item, records=self._trial.disturbance is CALM)
        self._stack = ExitStack()

    def __call__(
        self, app: App, *, store: str = "memory", strict: bool = False, start: datetime | None = None
    ) -> Environment:
        return self._stack.enter_context(
            Environment(app, store=store, strict=strict, start=start, trial=self._trial, shelf=self._shelf)
        )

    def close(self) -> None:
        self._stack.close()


def _shelf(item: pytest.Item, *, records: bool) -> Shelf:
    path = Path(item.path)
    return Shelf(
        path.parent / "histories" / path.stem,
        re.sub(r"\W+", "-", item.name).strip("-"),
        records=records and bool(item.config.getoption("--perdure-record")),
        command=f"record it: pytest {_quoted(item.nodeid)} --perdure-record",
    )


def refuse_misuse(item: pytest.Item) -> None:
    """Raise DurableMarkMisused if a test is marked `durable` and cannot be."""
    refusal = item.stash.get(REFUSAL, None) or _misuse(item)
    if refusal is not None:
        raise DurableMarkMisused(refusal)


def _misuse(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("durable")
    assert mark is not None
    unknown = sorted(set(mark.kwargs) - {"crash"})
    if mark.args or unknown:
        return f"the mark durable takes crash=..., not {unknown[0] if unknown else mark.args[0]!r}"
    if _mode(item) not in MODES:
        return f"durable(crash={_mode(item)!r}): there are {', '.join(map(repr, MODES))}"
    if "perdure_app" not in getattr(item, "fixturenames", ()):
        return "a durable test needs the fixture perdure_app, because what runs in its environment is what crashes"
    return None


def _mode(item: pytest.Item) -> str:
    mark = item.get_closest_marker("durable")
    return str(mark.kwargs.get("crash", "every-step")) if mark is not None else ""


def run_durably(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run a test undisturbed and then once for each disturbance, until one fails; report it as one test."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    began = time.perf_counter()
    reports = [*_runs(item), *_leave(item, nextitem)]
    for report in reports:
        if report.when == "call":
            report.duration = time.perf_counter() - began
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _runs(item: pytest.Item) -> list[pytest.TestReport]:
    """The reports of the undisturbed run, or of the first one that failed."""
    trial, reports = _run(item, CALM)
    if not _passed(reports):
        return reports
    points = MODES[_mode(item)](trial.moments)
    chosen, refusal = _chosen(item, len(points))
    if refusal is not None:
        item.stash[REFUSAL] = refusal
        return _run(item, CALM)[1]
    for number in chosen:
        trial, disturbed = _run(item, points[number - 1])
        if not _passed(disturbed):
            return _annotated(item, disturbed, number, len(points), trial)
    for report in reports:
        report.user_properties.append(("perdure_crash_points", len(chosen)))
    return reports


def _chosen(item: pytest.Item, count: int) -> tuple[Sequence[int], str | None]:
    only = item.config.getoption("--perdure-crash")
    if only is not None and not 1 <= only <= count:
        return (), f"--perdure-crash {only}: this test has the crash points 1 to {count}"
    if count > RUNS_MAX:
        return (), f'the test has {count} crash points and the bound is {RUNS_MAX}; shorten it, or crash="every-commit"'
    return ((only,) if only is not None else range(1, count + 1)), None


def _run(item: pytest.Item, disturbance: Disturbance) -> tuple[Trial, list[pytest.TestReport]]:
    trial = item.stash[TRIAL] = Trial(disturbance)
    try:
        # the parent as the next one, because fixtures of a wider scope are to live on
        return trial, runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
    finally:
        del item.stash[TRIAL]


def _leave(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Take down the fixtures of a wider scope that the next test does not need; a report if that fails."""
    state = item.session._setupstate
    call = pytest.CallInfo.from_call(lambda: state.teardown_exact(nextitem), when="teardown")
    return [] if call.excinfo is None else [item.ihook.pytest_runtest_makereport(item=item, call=call)]


def _passed(reports: Sequence[pytest.TestReport]) -> bool:
    return all(report.passed for report in reports)


def _annotated(
    item: pytest.Item, reports: list[pytest.TestReport], number: int, count: int, trial: Trial
) -> list[pytest.TestReport]:
    """Say at which crash point a test failed, and the one command that repeats it."""
    lines = [
        f"The test passes undisturbed and fails at crash point {number} of {count}:",
        f"    {trial.disturbance.told}",
        "Repeat it alone, with its story:",
        f"    pytest {_quoted(item.nodeid)} --perdure-crash {number}",
    ]
    if item.config.getoption("--perdure-crash") is not None:
        lines += ["The store's story:", *(f"    {line}" for line in trial.story[:STORY_LINES_MAX])]
    for report in reports:
        if report.failed:
            report.sections.insert(0, ("perdure", "\n".join(lines)))
            crash = getattr(report.longrepr, "reprcrash", None)
            if crash is not None:
                crash.message = f"[crash point {number}: {trial.disturbance.told}] {crash.message}"
    return reports


def _quoted(nodeid: str) -> str:
    return f"'{nodeid}'" if re.search(r"[^\w/.:-]", nodeid) else nodeid
