"""How samples are taken: a fresh process each, in a fresh folder, engines in turn, round after round."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import actors, cluster
from benchmarks.place import drop_cached_pages
from benchmarks.size import QUICK, Size

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 600.0
BOUNDS = {**actors.BOUNDS, **cluster.BOUNDS}
END_SECONDS = 60.0
"""What a process that took too long has to end the processes that it started."""
IMPORT = """
import sys, time
before = set(sys.modules)
start = time.perf_counter()
import perdure
spent = time.perf_counter() - start
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
import json
print(json.dumps({"wall_s": spent, "others": sorted(loaded - sys.stdlib_module_names - {"perdure"})}))
"""


class MeasurementFailed(Exception):
    """A measuring process ended with an error, printed nothing, or took longer than its bound, else LIMIT seconds."""


@dataclass(frozen=True)
class Plan:
    """One scenario: on which engines, and in at most how many rounds (the longest need not all of them)."""

    scenario: str
    subjects: tuple[str, ...] = ("perdure",)
    most_rounds: int = 1_000


@dataclass
class Samples:
    """All samples of one scenario, by engine, in the order of the rounds; failures in words."""

    plan: Plan
    taken: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


BOTH = ("floor", "perdure")
PLANS = (
    Plan("one_at_1", BOTH),
    Plan("one_at_100", BOTH),
    Plan("one_at_1000", BOTH),
    Plan("tuned", BOTH),
    Plan("sequences", BOTH),
    Plan("lone", BOTH),
    Plan("stream"),
    Plan("long_run", BOTH),
    Plan("wide_run"),
    Plan("fan_out"),
    Plan("resume", most_rounds=3),
    Plan("gate", most_rounds=3),
    Plan("sleepers", most_rounds=1),
    Plan("import", most_rounds=1),
    Plan("idle", most_rounds=3),
    Plan("served", BOTH),
    Plan("connected", most_rounds=3),
    Plan("remote_worker", most_rounds=3),
    Plan("actor_call"),
    Plan("actors", most_rounds=1),
    Plan("spread", most_rounds=3),
    Plan("topic_start", most_rounds=3),
    Plan("state", most_rounds=3),
    Plan("metrics", most_rounds=3),
    Plan("agents", most_rounds=3),
    Plan("traces", most_rounds=3),
    Plan("postgres", most_rounds=3),
    Plan("valkey", most_rounds=3),
    Plan("mariadb", most_rounds=3),
    Plan("commit", most_rounds=3),
    Plan("takeover", most_rounds=1),
    Plan("two_nodes", most_rounds=3),
    Plan("idle_nodes", most_rounds=1),
    Plan("filled", most_rounds=1),
    Plan("sleeping_nodes", most_rounds=1),
)
OTHER_PROGRAMS = {
    "served": ("benchmarks.server", "workflows"),
    "connected": ("benchmarks.server", "workers"),
    "remote_worker": ("benchmarks.remote_worker",),
    "spread": ("benchmarks.spread",),
    "topic_start": ("benchmarks.topics", "started"),
    "state": ("benchmarks.state",),
    "metrics": ("benchmarks.watched", "metrics"),
    "agents": ("benchmarks.agents", "agents"),
    "traces": ("benchmarks.watched", "traces"),
    **{scenario: ("benchmarks.actors", scenario) for scenario in actors.BOUNDS},
    **{scenario: ("benchmarks.cluster", scenario) for scenario in cluster.BOUNDS},
}
"""Scenarios of several processes, each with the program that starts them, and its first arguments."""


@dataclass(frozen=True)
class Harness:
    """Takes samples of `size` below `scratch`; `tell` hears of each one."""

    scratch: Path
    size: Size
    subjects: frozenset[str]
    tell: Callable[[str], None]

    def samples(self, plan: Plan, rounds: int) -> Samples:
        """A B A B: every engine once in each round, so that a slow minute of the machine meets them all."""
        samples = Samples(plan, {subject: [] for subject in plan.subjects if subject in self.subjects})
        for number in range(min(rounds, plan.most_rounds) if samples.taken else 0):
            samples.load.append(os.getloadavg()[0])
            for subject, taken in samples.taken.items():
                self.tell(f"{plan.scenario}: round {number + 1}, {subject}")
                try:
                    taken.append(self._sample(plan.scenario, subject))
                except MeasurementFailed as failure:
                    samples.failures.append(f"{plan.scenario} on {subject}: {failure}")
                    return samples
        return samples

    def _sample(self, scenario: str, subject: str) -> dict[str, Any]:
        with self._folder() as folder:
            match scenario:
                case "import":
                    return self._import()
                case "resume":
                    return self._resume(folder)
                case "gate":
                    return self._gate(folder)
                case _ if scenario in OTHER_PROGRAMS:
                    program = self._program(*OTHER_PROGRAMS[scenario], subject, str(folder))
                    return self._finished(program, BOUNDS.get(scenario, LIMIT) + END_SECONDS)
                case _:
                    return self._finished(self._child(scenario, subject, folder))

    def _import(self) -> dict[str, Any]:
        """The first import compiles and is not counted; the fastest of the others is its own cost."""
        command = [sys.executable, "-c", IMPORT]
        with tempfile.TemporaryDirectory() as bytecode:
            # because an installed package has its bytecode, whatever this shell says about writing it
            surroundings = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            surroundings["PYTHONPYCACHEPREFIX"] = bytecode
            imports = [
                self._finished(self._process(command, surroundings=surroundings)) for _ in range(self.size.imports + 1)
            ][1:]
        walls = [sample["wall_s"] for sample in imports]
        return {"best_s": min(walls), "median_s": statistics.median(walls), "others": imports[0]["others"]}

    def _resume(self, folder: Path) -> dict[str, Any]:
        """Kill a process full of workflows, then time a new one until all of them run again."""
        # Its errors go straight to the terminal: a pipe that nobody reads while it lives could stop it.
        with self._child("hold", "perdure", folder, errors=None) as holder:
            _await_first_line(holder)
            holder.kill()
        drop_cached_pages(folder)
        spawned = time.monotonic()
        sample = self._finished(self._child("wake", "perdure", folder))
        return {**sample, "wall_s": sample["last_at_s"] - spawned}

    def _gate(self, folder: Path) -> dict[str, Any]:
        """Replay a store full of workflows against the same code, interpreters and imports included."""
        self._finished(self._child("leave", "perdure", folder))
        store = f"sqlite:///{folder / 'bench.db'}"
        command = [sys.executable, "-m", "perdure", "replay", "benchmarks.engine:app", "--store", store, "--json"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=LIMIT, check=False)
        wall = time.monotonic() - began
        if done.returncode:
            raise MeasurementFailed(f"exit code {done.returncode}: {_last_lines(done.stderr)}")
        summary = json.loads(done.stdout.splitlines()[-1])["summary"]
        if summary["compatible"] != self.size.in_flight:
            raise MeasurementFailed(f"{summary['compatible']} of {self.size.in_flight} runs are compatible")
        return {"wall_s": wall, "per_minute": 60 * summary["runs"] / wall, "count": summary["runs"]}

    def _child(
        self, scenario: str, subject: str, folder: Path, errors: int | None = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return self._program("benchmarks.child", scenario, subject, str(folder), errors=errors)

    def _program(self, *words: str, errors: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *words]
        return self._process([*command, "--quick"] if self.size is QUICK else command, errors)

    def _process(
        self,
        command: list[str],
        errors: int | None = subprocess.PIPE,
        surroundings: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors, env=surroundings)

    def _finished(self, process: subprocess.Popen[str], limit: float = LIMIT) -> dict[str, Any]:
        with process:
            try:
                output, errors = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                self._ended(process)
                raise MeasurementFailed(f"still running after {limit:.0f} s") from None
        if process.returncode or not output:
            raise MeasurementFailed(f"exit code {process.returncode}: {_last_lines(errors)}")
        return _sample_in(output.splitlines()[0])

    def _ended(self, process: subprocess.Popen[str]) -> None:
        process.terminate()
        try:
            process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def why_not_importable() -> str | None:
    """The error that `from perdure import App` raises in a fresh process; None if it works."""
    probe = [sys.executable, "-c", "from perdure import App"]
    done = subprocess.run(probe, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)
    return _last_lines(done.stderr, 1) if done.returncode else None


def _await_first_line(process: subprocess.Popen[str]) -> None:
    """Wait for the sample of a process that stays alive after it printed it."""
    assert process.stdout is not None
    alarm = threading.Timer(LIMIT, process.kill)
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if not line:
        process.kill()
        raise MeasurementFailed("the process to be killed ended before; its error is above")


def _sample_in(line: str) -> dict[str, Any]:
    sample: dict[str, Any] = json.loads(line)
    return sample


def _last_lines(text: str, count: int = 3) -> str:
    return " | ".join(text.strip().splitlines()[-count:]) or "no message"
