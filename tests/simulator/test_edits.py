"""Two hundred edits of workflow code: each is caught by the gate, or harmless, which running on proves."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from perdure.sdk import run
from perdure.testing.edits import EDITS, HARMLESS, PROGRAMS, Trial, try_edit

pytestmark = pytest.mark.long

SEEDS = range(200)


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    logging.getLogger("perdure").setLevel(logging.ERROR)
    try:
        return [try_edit(seed) for seed in SEEDS]
    finally:
        logging.getLogger("perdure").setLevel(logging.NOTSET)


def test_what_the_gate_lets_through_runs_on_to_its_end(trials):
    assert [trial for trial in trials if trial.verdict.is_compatible and trial.outcome != "finished"] == []


def test_what_the_gate_catches_stands_still_in_the_engine_with_the_same_words(trials):
    assert [trial for trial in trials if not trial.verdict.is_compatible and trial.outcome != "stalled"] == []
    for trial in trials:
        if not trial.verdict.is_compatible:
            assert trial.verdict.difference is not None
            assert "main.py:" in (trial.verdict.remedy or "")
            assert "if perdure.patched(" in (trial.verdict.remedy or "")


def test_what_a_history_cannot_hold_needs_no_patch(trials):
    edits = [trial for trial in trials if trial.edit in HARMLESS]
    assert {trial.edit for trial in edits} == HARMLESS
    assert [trial for trial in edits if not trial.verdict.is_compatible] == []


def test_every_edit_and_program_was_met_and_both_answers_were_given_often(trials):
    assert {trial.edit for trial in trials} == set(EDITS)
    assert {trial.program for trial in trials} == set(PROGRAMS)
    counts = Counter(trial.verdict.is_compatible for trial in trials)
    assert min(counts.values()) >= 50


def test_without_the_comparison_edits_get_through_that_do_harm(monkeypatch):
    monkeypatch.setattr(run, "compare", lambda held, actions, finished: None)
    monkeypatch.setattr(logging.getLogger("perdure"), "disabled", True)  # because the store reports what they do to it
    outcomes = Counter(try_edit(seed).outcome for seed in range(60))
    assert outcomes["mixed up"] + outcomes["hung"] >= 5


def test_a_seed_is_the_same_each_time():
    first, second = try_edit(7), try_edit(7)
    assert (first.source, first.outcome, str(first.verdict)) == (second.source, second.outcome, str(second.verdict))
