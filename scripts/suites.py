"""Runs the suites of a group from .ci/budgets.toml and holds each to its wall-time budget.

    python scripts/suites.py test

What suites need, their `prepare`, is made beside those before them, because most of its time is that of downloads.
Prints a table of time against budget. Exit codes: 0 all suites passed within budget, 1 one did not, 2 usage.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = ROOT / ".ci" / "budgets.toml"
PREPARED = ROOT / ".ci" / "out" / "prepared"
GRACE_SECONDS = 15.0  # between asking a suite that is over budget to stop and killing it


@dataclass(frozen=True)
class Suite:
    """One row of the table: a command and what it may cost."""

    name: str
    groups: tuple[str, ...]
    command: str
    seconds: float
    junit: str | None = None
    skips_allowed: int = 0
    prepare: str | None = None


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
    with _preparing(suites) as preparations:
        for suite in suites:
            if outcomes and outcomes[-1].fault:
                outcomes.append(Outcome(suite, None, "not run"))
            else:
                outcomes.append(_run(suite, deadline, preparations.get(suite.name)))
    return outcomes


def _run(suite: Suite, deadline: float, preparation: "Preparation | None") -> Outcome:
    print(f"\n== {suite.name}: {suite.command}", flush=True)
    report = _fresh_report(suite)
    started = time.monotonic()
    ends = min(started + suite.seconds, deadline)
    fault = preparation.fault(ends - started) if preparation is not None else None
    if fault is None:
        with _process_group(suite.command) as process:
            try:
                status = process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                return Outcome(suite, time.monotonic() - started, "over budget")
        fault = f"exit code {status}" if status else _skip_fault(suite, report)
    return Outcome(suite, time.monotonic() - started, fault)


class Preparation:
    """What a suite needs while it is being made; its words are in a file, and printed when it fails."""

    def __init__(self, suite: Suite) -> None:
        assert suite.prepare is not None, "only suites that have one are prepared"
        self.command = suite.prepare
        self.log = PREPARED / f"{suite.name}.log"
        self._ended = threading.Event()
        self._status: int | None = None  # of a command that ran to its end

    def make(self, stopping: threading.Event) -> None:
        """Run the command, unless and until it is no longer wanted."""
        began = time.monotonic()
        try:
            with self.log.open("wb") as log, _process_group(self.command, log, nice=19) as process:
                while process.poll() is None and not stopping.wait(0.2):
                    pass  # because a process cannot be waited for together with an event
                self._status = process.poll()
                log.write(f"prepared in {time.monotonic() - began:.0f} s: {self.command}\n".encode())
        finally:
            self._ended.set()

    def fault(self, seconds: float) -> str | None:
        """Wait for its end; None when all is there."""
        if not self._ended.wait(max(0.0, seconds)):
            return "over budget in its preparation"
        print(self.log.read_text(errors="replace"), end="", flush=True)
        return f"exit code {self._status} of its preparation" if self._status != 0 else None


@contextmanager
def _preparing(suites: Sequence[Suite]) -> Iterator[dict[str, Preparation]]:
    """Make what suites need, by name, one after another: two that install packages of Debian would meet at its lock."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    preparations = {suite.name: Preparation(suite) for suite in suites if suite.prepare is not None}
    stopping = threading.Event()

    def make_all() -> None:
        for preparation in preparations.values():
            if not stopping.is_set():
                preparation.make(stopping)

    thread = threading.Thread(target=make_all, name="preparing")
    thread.start()
    try:
        yield preparations
    finally:
        stopping.set()
        thread.join()


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
def _process_group(
    command: str, output: IO[bytes] | None = None, *, nice: int = 0
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `command` in a process group of its own and leave none of its processes behind."""
    process = subprocess.Popen(
        [*(("nice", "-n", str(nice)) if nice else ()), *shlex.split(command)],
        cwd=ROOT,
        env={**os.environ, "PATH": _path_with_this_python()},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    if nice:
        _step_back(process.pid, nice)
    try:
        yield process
    finally:
        if process.poll() is None:
            _signal_group(process, signal.SIGINT)  # because pytest then still says which tests have failed
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                pass  # because the kill below is the answer to that
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _step_back(session: int, nice: int) -> None:
    """Have a session step back for others: where Linux groups processes by session, `nice` counts only within one."""
    group = Path(f"/proc/{session}/autogroup")
    if group.exists():
        try:
            group.write_text(str(nice))
        except (ProcessLookupError, PermissionError):
            pass  # because it has ended already, or the machine does not allow it: it is only less polite


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
