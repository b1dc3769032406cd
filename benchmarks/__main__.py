"""`python -m benchmarks`: measure, print the table, and end with 0 if every target was reached.

Exit codes: 0 all reached, 1 a target missed or a sample failed, 2 usage or nothing to measure.
"""

import argparse
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, Row, row
from benchmarks.harness import BOTH, PLANS, Harness, Samples, why_not_importable
from benchmarks.place import NotOnDisk, file_system, scratch
from benchmarks.report import as_json, as_markdown, as_text
from benchmarks.size import FULL, QUICK

ROUNDS, QUICK_ROUNDS = 5, 2


def main() -> int:
    options = _options().parse_args()
    try:
        return _measured(options)
    except NotOnDisk as problem:
        print(problem, file=sys.stderr)
        return 2


def _measured(options: argparse.Namespace) -> int:
    if not options.floor and (reason := why_not_importable()):
        print(
            f"Perdure cannot be imported: {reason}\nInstall it, or measure the floor alone with --floor.",
            file=sys.stderr,
        )
        return 2
    before = os.getloadavg()[0]
    samples, file_system_type = _taken(options)
    machine = _machine(before, file_system_type, options.quick)
    rows = [
        row(figure, samples[figure.scenario].taken, judge=not options.quick)
        for figure in FIGURES
        if figure.scenario in samples
    ]
    failures = [failure for one in samples.values() for failure in one.failures]
    _print(options, rows, machine, failures, samples)
    missed = any(one.verdict in ("miss", "no sample") for one in rows)
    return int(bool(failures) or (missed and not options.floor))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure Perdure beside the floor.")
    parser.add_argument("--rounds", type=_positive, help=f"rounds of each scenario (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="small counts, 2 rounds, no verdict: a trial")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SCENARIO",
        choices=[plan.scenario for plan in PLANS],
        default=[plan.scenario for plan in PLANS],
        help="scenarios to run: %(choices)s",
    )
    parser.add_argument("--floor", action="store_true", help="the floor alone, without Perdure")
    parser.add_argument("--dir", type=Path, help="folder on a real disk for the measured files")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, with every sample")
    form.add_argument("--markdown", action="store_true", help="the table, to paste in a page")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _taken(options: argparse.Namespace) -> tuple[dict[str, Samples], str]:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    subjects = frozenset(["floor"] if options.floor else BOTH)
    with scratch(options.dir) as folder:
        harness = Harness(folder, QUICK if options.quick else FULL, subjects, _tell)
        plans = [plan for plan in PLANS if plan.scenario in options.only and subjects & set(plan.subjects)]
        return {plan.scenario: harness.samples(plan, rounds) for plan in plans}, file_system(folder)


def _tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _machine(before: float, file_system_type: str, quick: bool) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "file_system": file_system_type,
        "counts": "quick" if quick else "full",
        "load_before": round(before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def _print(
    options: argparse.Namespace,
    rows: Sequence[Row],
    machine: dict[str, Any],
    failures: Sequence[str],
    samples: dict[str, Samples],
) -> None:
    if options.json:
        raw = {name: {"load": one.load, **one.taken} for name, one in samples.items()}
        print(as_json(rows, machine, failures, raw))
    else:
        print((as_markdown if options.markdown else as_text)(rows, machine, failures))


if __name__ == "__main__":
    sys.exit(main())
