"""Worlds whose nodes are servers: workers come, go and fail as they please, and nothing is lost."""

import os

import pytest

from perdure.testing import probes, service, simulate
from perdure.testing.mutants import seeds_to_kill
from perdure.testing.server_mutants import SERVER_MUTANTS

SEEDS = 6
"""As many as the quick suite has time for; `make ci` goes on, and its seeds must have met every probe."""
MUTANT_SEEDS_MAX = 300


@pytest.mark.timeout(120)
def test_every_seed_keeps_the_laws():
    done = simulate.campaign(0, SEEDS, os.cpu_count() or 1, simulate.Kind.SERVERS)
    assert not done.failures, "\n".join(
        simulate.told(*failure, simulate.Kind.SERVERS) for failure in done.failures.items()
    )


def test_a_probe_at_zero_fails_a_campaign():
    assert probes.unmet({}, probes.SEEDS_FOR_PROBES["servers"], simulate.Kind.SERVERS) == list(
        probes.REQUIRED_OF_SERVERS
    )


def test_one_seed_is_one_story():
    first, second = service.run_seed(3, traced=True), service.run_seed(3, traced=True)
    assert first.trace
    assert (first.trace, first.digest, first.steps) == (second.trace, second.digest, second.steps)


def test_a_failure_names_the_command_that_replays_it():
    assert "simulate --servers --seed 1234" in simulate.told(1234, ["a law did not hold"], simulate.Kind.SERVERS)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", SERVER_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant, record_property):
    seeds = seeds_to_kill(mutant, service.run_seed, MUTANT_SEEDS_MAX)
    record_property("seeds to kill", seeds)
    assert seeds is not None, f"{mutant.name} survived {MUTANT_SEEDS_MAX} seeds"


def test_the_safeguards_are_back_in_place():
    for mutant in SERVER_MUTANTS:
        before = getattr(mutant.owner, mutant.attribute)
        with mutant.applied():
            assert getattr(mutant.owner, mutant.attribute) is not before
        assert getattr(mutant.owner, mutant.attribute) is before
