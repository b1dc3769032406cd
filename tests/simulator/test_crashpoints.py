"""Every store operation of the canonical workflows fails in every way; and eviction at every await."""

import gc

import pytest

from perdure.testing import crashpoints
from perdure.testing.canonical import ROLES, TICKS
from perdure.testing.faults import Script
from perdure.testing.inspection import inspect

STRIDE = 5


@pytest.mark.parametrize("workflow", sorted(set(ROLES) - {"scheduled"}))  # which has a test of its own below
def test_no_fault_of_each_fifth_changes_the_outcome(workflow):
    """As many as the quick suite has time for; five is prime to the four faults, so that all are met."""
    failed = {str(point): crashpoints.run_point(point).violations for point in crashpoints.points(workflow)[::STRIDE]}
    assert len(failed) >= 40 // STRIDE
    assert not {point: violations for point, violations in failed.items() if violations}


@pytest.mark.long
@pytest.mark.parametrize("workflow", sorted(set(ROLES) - {"scheduled"}))  # which has a test of its own below
def test_no_single_fault_changes_the_outcome(workflow):
    points = crashpoints.points(workflow, sqlite=True)
    assert len(points) >= 40
    gc.collect()
    failed = {str(point): crashpoints.run_point(point).violations for point in points}
    assert not {point: violations for point, violations in failed.items() if violations}


@pytest.mark.long
@pytest.mark.parametrize("workflow", sorted(set(ROLES) - {"scheduled"}))  # which has a test of its own below
def test_no_single_fault_changes_the_outcome_where_one_death_makes_suspects(workflow):
    reports = [crashpoints.run_point(point) for point in crashpoints.points(workflow, quarantine_deaths=2)]
    assert not [report.violations for report in reports if report.violations]
    assert sum(report.probes["suspect accused"] for report in reports) >= 2


@pytest.mark.long
@pytest.mark.parametrize("workflow", sorted(ROLES))
def test_a_second_fault_during_recovery_changes_nothing(workflow):
    failed = [
        (faults, report.violations) for faults, report in crashpoints.run_pairs(workflow, 1, 40) if report.violations
    ]
    assert not failed


@pytest.mark.parametrize("workflow", sorted(ROLES))
def test_eviction_at_every_await_changes_neither_history_nor_effects(workflow):
    history, effects, _ = crashpoints.told(workflow, evicted=False)
    evicted_history, evicted_effects, report = crashpoints.told(workflow, evicted=True)
    assert report.probes["eviction between turns"] >= 2
    assert not report.violations
    assert evicted_history == history
    assert evicted_effects == effects


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("sqlite", [False, True], ids=["memory", "sqlite"])
def test_no_single_fault_starts_a_tick_of_a_schedule_twice_or_never(sqlite):
    wrong = {}
    for point in crashpoints.points("scheduled", sqlite=sqlite):
        made = crashpoints.world("scheduled", Script({point.operation: point.fault}), sqlite=sqlite)
        report = made.run(inspect)
        runs = {key[:2] for key in made.witness.records if key[0] != "scheduled"}
        if report.violations or len(runs) != len({id for id, _ in runs}) or len(runs) != len(TICKS):
            wrong[str(point)] = (sorted(runs), report.violations)
    assert not wrong


@pytest.mark.long
def test_no_single_fault_makes_a_step_happen_twice_or_never():
    """The workflow sums up what its steps have written, so that one which happened twice changes its result."""
    assert crashpoints.operations("teller", sqlite=True).count("transact") >= 7
    reports = {str(point): crashpoints.run_point(point) for point in crashpoints.points("teller", sqlite=True)}
    assert not {point: report.violations for point, report in reports.items() if report.violations}
    assert sum(report.probes["step done before"] for report in reports.values()) >= 3


@pytest.mark.long
@pytest.mark.parametrize("sqlite", [False, True], ids=["memory", "sqlite"])
def test_no_single_fault_loses_a_message_or_lets_it_count_twice(sqlite):
    """A publish, a delivery, a start and an event: the publisher waits for a second answer, which must not come."""
    points = crashpoints.points("publishing", sqlite=sqlite)
    assert len(points) >= 200
    failed = {str(point): crashpoints.run_point(point).violations for point in points}
    assert not {point: violations for point, violations in failed.items() if violations}


def test_a_second_fault_during_recovery_loses_no_message():
    pairs = crashpoints.run_pairs("publishing", 1, 15)
    assert not [(faults, report.violations) for faults, report in pairs if report.violations]


@pytest.mark.long
def test_no_single_fault_tears_the_turn_of_an_actor_apart():
    """State, answer, messages and reminder come together or not at all, and each once: the workflow counts them."""
    points = crashpoints.points("banking")
    assert len(points) >= 150
    failed = {str(point): crashpoints.run_point(point).violations for point in points}
    assert not {point: violations for point, violations in failed.items() if violations}


def test_a_second_fault_during_recovery_leaves_actors_whole():
    failed = [(faults, r.violations) for faults, r in crashpoints.run_pairs("banking", 1, 15) if r.violations]
    assert not failed
