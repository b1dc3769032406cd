"""Worlds of several nodes on one store: leases run out, cables are cut, and nothing is lost or done twice."""

import os
from functools import partial

import pytest

from perdure.testing import clusters, probes, simulate
from perdure.testing.cluster_mutants import CLUSTER_MUTANTS
from perdure.testing.mutants import seeds_to_kill

SEEDS = 2
"""As many as the quick suite has time for; `make ci` runs more, and those must have met every probe."""
MUTANT_SEEDS_MAX = 40


@pytest.fixture(scope="module")
def done() -> simulate.Campaign:
    return simulate.campaign(0, SEEDS, os.cpu_count() or 1, simulate.Kind.CLUSTER)


@pytest.mark.timeout(240)
def test_every_seed_keeps_the_laws(done):
    kind = simulate.Kind.CLUSTER
    assert not done.failures, "\n".join(simulate.told(*failure, kind) for failure in done.failures.items())


def test_in_every_seed_two_nodes_believed_that_they_own_a_shard_and_were_refused(done):
    assert done.probes["two nodes believe that they own a shard"] >= SEEDS
    assert done.probes["commit fenced"] >= SEEDS


def test_a_probe_at_zero_fails_a_campaign():
    unmet = probes.unmet({}, probes.SEEDS_FOR_PROBES["cluster"], simulate.Kind.CLUSTER)
    assert unmet == list(probes.REQUIRED_OF_CLUSTERS)


@pytest.mark.long
def test_one_seed_is_one_story():
    first, second = clusters.run_seed(5, traced=True), clusters.run_seed(5, traced=True)
    assert first.trace
    assert (first.trace, first.digest, first.steps) == (second.trace, second.digest, second.steps)


def test_a_failure_names_the_command_that_replays_it():
    assert "simulate --cluster --seed 1234" in simulate.told(1234, ["a law did not hold"], simulate.Kind.CLUSTER)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", CLUSTER_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant, record_property):
    seeds = seeds_to_kill(mutant, partial(clusters.run_seed, blocks_share=0.0), MUTANT_SEEDS_MAX)
    record_property("seeds to kill", seeds)
    assert seeds is not None, f"{mutant.name} survived {MUTANT_SEEDS_MAX} seeds"


def test_the_safeguards_are_back_in_place():
    for mutant in CLUSTER_MUTANTS:
        before = getattr(mutant.owner, mutant.attribute)
        with mutant.applied():
            assert getattr(mutant.owner, mutant.attribute) is not before
        assert getattr(mutant.owner, mutant.attribute) is before
