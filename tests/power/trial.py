"""A trace of the shop on a real store, and what becomes of it under many cuts."""

from __future__ import annotations

import asyncio
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from perdure.stores.sql.sqlite import open_store
from tests.power.cut import Cut, place, survivors
from tests.power.driver import through
from tests.power.trace import Trace, facts, save
from tests.power.verdict import FILE, Verdict, judge
from tests.power.vfs import RecordingVfs
from tests.power.workload import CHECKPOINT_PAGES, open_shop

KEPT_TRACES = Path(".ci/out/power")
FAILURES_MAX = 3
"""After how many cuts that fail a trial ends, because each may wait long for instances that never finish."""


def record(folder: Path, synchronous: str, *, sessions: int, orders: int) -> Trace:
    """What the store did in so many sessions of the shop, each with so many orders."""
    trace: Trace = []
    vfs = RecordingVfs(trace)
    for session in range(sessions):
        store = open_store(
            f"sqlite:///{folder / FILE}?synchronous={synchronous}",
            driver=through(vfs.vfs_name),
            checkpoint_pages=CHECKPOINT_PAGES,
        )
        asyncio.run(open_shop(store, range(1, orders + 1), f"s{session}", trace.append))
    return trace


def judged(trace: Trace, cuts: Iterable[Cut], *, finish: bool = True) -> Iterator[tuple[Cut, Verdict]]:
    """What a new process finds after each cut; with `finish` the engine goes on from there to the end."""
    for cut, files in survivors(trace, cuts):
        with tempfile.TemporaryDirectory() as folder:
            place(files, Path(folder))
            yield cut, asyncio.run(judge(Path(folder), facts(trace[: cut.at]), finish=finish, durable=False))


def failures(trace: Trace, cuts: Iterable[Cut], kept: Path) -> str:
    """What the first few cuts broke that had to break nothing; empty if none did.

    For each that did, the command that replays it from the trace, which is then kept in that file.
    """
    told = []
    for cut, verdict in judged(trace, cuts):
        if not verdict.is_clean:
            told.append(f"{cut}: {describe(verdict)}\n  replay: {replay_command(save(trace, kept), cut)}")
        if len(told) == FAILURES_MAX:
            break
    return "\n".join(told)


def replay_command(trace: Path, cut: Cut) -> str:
    return f"{shlex.quote(sys.executable)} -m tests.power {shlex.quote(str(trace))} {cut}"


def describe(verdict: Verdict) -> str:
    return verdict.damage or "; ".join(verdict.lost) or "nothing is lost"
