"""What was answered is there after the power was cut, at a few of the points where it could be."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.power.cut import Cut, cut_points, every_damage
from tests.power.trace import Answered, Deleted, Fact, Synced, Trace, Truncated, Wrote, save
from tests.power.trial import KEPT_TRACES, describe, failures, judged, record, replay_command
from tests.power.verdict import FILE

pytestmark = pytest.mark.long

POINTS = 24
LOG = FILE + "-wal"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return record(tmp_path_factory.mktemp("full"), "full", sessions=2, orders=25)


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return record(tmp_path_factory.mktemp("normal"), "unsafe_normal", sessions=2, orders=25)


def test_all_that_a_cut_may_meet_is_in_the_trace(full: Trace) -> None:
    synced = [entry.file for entry in full if isinstance(entry, Synced)]
    assert {entry.fact for entry in full if isinstance(entry, Answered)} == set(Fact)
    assert synced.count(FILE) > 4, "checkpoints"
    assert synced.count(LOG) > 50, "commits"
    assert sum(isinstance(entry, Wrote) and entry.offset == 0 and entry.file == LOG for entry in full) > 4, (
        "logs begun anew"
    )
    assert any(isinstance(entry, Deleted) and entry.file == LOG for entry in full)
    assert any(isinstance(entry, Truncated) for entry in full)


def test_with_full_no_cut_loses_an_answer(full: Trace) -> None:
    broken = failures(full, every_damage(cut_points(full, POINTS)), KEPT_TRACES / "quick.trace")
    assert not broken, broken


def test_with_unsafe_normal_cuts_lose_answers_but_never_the_file(normal: Trace) -> None:
    verdicts = [verdict for _, verdict in judged(normal, every_damage(cut_points(normal, 20)), finish=False)]
    assert sum(bool(verdict.lost) for verdict in verdicts) > 10, "the method would not see a lost answer"
    assert not any(verdict.damage for verdict in verdicts)


def test_on_a_disk_that_ignores_syncs_files_are_damaged(full: Trace) -> None:
    unsynced: Trace = [entry for entry in full if not isinstance(entry, Synced)]
    verdicts = judged(unsynced, every_damage(cut_points(unsynced, 12)), finish=False)
    assert sum(bool(verdict.damage) for _, verdict in verdicts) > 3, "the method would not see damage"


def test_one_command_replays_a_cut(full: Trace, normal: Trace, tmp_path: Path) -> None:
    losses = judged(normal, every_damage(cut_points(normal, 20)), finish=False)
    losing, verdict = next((cut, verdict) for cut, verdict in losses if verdict.lost)
    again = replayed(save(normal, tmp_path / "a trace"), losing)
    assert again.returncode == 1
    assert describe(verdict) in again.stdout
    assert replayed(save(full, tmp_path / "another"), Cut(len(full) // 2, seed=0)).returncode == 0


def replayed(trace: Path, cut: Cut) -> subprocess.CompletedProcess[str]:
    command = shlex.split(replay_command(trace, cut))
    return subprocess.run(command, capture_output=True, text=True, check=False)
