"""Runs the suites of a group from .ci/budgets.toml and holds each to its wall-time budget.

    python scripts/suites.py test

Prints a table of time against budget. Exit codes: 0 all suites passed within budget, 1 one did not, 2 usage.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = ROOT / ".ci" / "budgets.toml"
GRACE_SECONDS = 5.0  # between asking a suite that is over budget to stop and killing it


@dataclass(frozen=True)
class Suite:
    """One row of the table: a command and what it may cost."""

    name: str
    groups: tuple[str, ...]
    command: str
    seconds: float
    junit: str | None = None
    skips_allowed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one suite; `fault` is None when it passed within its budget."""

    suite: Suite
    took: float | None
    fault: str | None


def main(arguments: list[str]) -> int:
    """Run the group named by the one argument."""
    table = tomllib.loads(BUDGETS.read_text())
    suites = [_suite(row) for row in table["suite"]]
    budgets: dict[str, float] = table["groups"]
    if len(arguments) != 1 or arguments[0] not in budgets:
        print(f"usage: suites.py {' | '.join(budgets)}", file=sys.stderr)
        return 2
    (group,) = arguments
    chosen = [suite for suite in suites if group in suite.groups]
    if not chosen:
        print(f"No suite belongs to the group {group!r}: name one in {BUDGETS.name}.", file=sys.stderr)
        return 1
    started = time.monotonic()
    outcomes = _run_all(chosen, started + budgets[group])
    return _report(group, outcomes, time.monotonic() - started, budgets[group])


def _suite(row: dict[str, Any]) -> Suite:
    return Suite(**{**row, "groups": tuple(row["groups"])})


def _run_all(suites: list[Suite], deadline: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for suite in suites:
        if outcomes and outcomes[-1].fault:
            outcomes.append(Outcome(suite, None, "not run"))
        else:
            outcomes.append(_run(suite, deadline))
    return outcomes


def _run(suite: Suite, deadline: float) -> Outcome:
    print(f"\n== {suite.name}: {suite.command}", flush=True)
    report = _fresh_report(suite)
    started = time.monotonic()
    with _process_group(suite.command) as process:
        try:
            status = process.wait(min(suite.seconds, deadline - started))
        except subprocess.TimeoutExpired:
            return Outcome(suite, time.monotonic() - started, "over budget")
    took = time.monotonic() - started
    return Outcome(suite, took, f"exit code {status}" if status else _skip_fault(suite, report))


def _fresh_report(suite: Suite) -> Path | None:
    """The path of the suite's report, with that of an earlier run gone: it must not speak for this one."""
    if suite.junit is None:
        return None
    report = ROOT / suite.junit
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    return report


def _skip_fault(suite: Suite, report: Path | None) -> str | None:
    if report is None:
        return None
    if not report.exists():
        return f"wrote no {suite.junit}"
    skipped = len(ElementTree.parse(report).findall(".//skipped"))  # noqa: S314  our own file
    return f"{skipped} skipped" if skipped > suite.skips_allowed else None


@contextmanager
def _process_group(command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `command` in a process group of its own and leave none of its processes behind."""
    process = subprocess.Popen(
        shlex.split(command),
        cwd=ROOT,
        env={**os.environ, "PATH": _path_with_this_python()},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                pass  # because the kill below is the answer to that
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass  # because the last process of the group has already gone


def _path_with_this_python() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _report(group: str, outcomes: list[Outcome], took: float, budget: float) -> int:
    late = took > budget
    failed = late or any(outcome.fault for outcome in outcomes)
    width = max(len("suite"), len(group), *(len(outcome.suite.name) for outcome in outcomes))
    print(f"\n{'suite':<{width}}  {'budget':>8}  {'time':>8}  result")
    for outcome in outcomes:
        spent = "-" if outcome.took is None else f"{outcome.took:.1f} s"
        verdict = outcome.fault.upper() if outcome.fault else "ok"
        print(f"{outcome.suite.name:<{width}}  {outcome.suite.seconds:>6.0f} s  {spent:>8}  {verdict}")
    verdict = "OVER BUDGET" if late else "FAILED" if failed else "ok"
    print(f"{group:<{width}}  {budget:>6.0f} s  {took:>6.1f} s  {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
