"""Worlds that all have topics and actors: no message is lost or out of order, no turn of an actor is torn apart."""

from collections import Counter

import pytest

from perdure.testing import simulate
from perdure.testing.block_mutants import BLOCK_MUTANTS
from perdure.testing.mutants import seeds_to_kill
from perdure.testing.scenario import Report

SEEDS = 3
"""As many as the quick suite has time for; of the other campaigns' worlds each eighth has topics, and each actors."""
MUTANT_SEEDS_MAX = 60


def run_seed(seed: int) -> Report:
    return simulate.run_seed(seed, blocks_share=1.0)


@pytest.mark.timeout(120)
def test_every_seed_keeps_the_laws():
    seen = Counter()
    for seed in range(SEEDS):
        report = run_seed(seed)
        assert not report.violations, (seed, report.violations[:3])
        seen += report.probes
    assert seen["order appended"] > SEEDS
    assert seen["transfer received"] > SEEDS


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", BLOCK_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant, record_property):
    seeds = seeds_to_kill(mutant, run_seed, MUTANT_SEEDS_MAX)
    record_property("seeds to kill", seeds)
    assert seeds is not None, f"{mutant.name} survived {MUTANT_SEEDS_MAX} seeds"


def test_the_safeguards_are_back_in_place():
    for mutant in BLOCK_MUTANTS:
        before = getattr(mutant.owner, mutant.attribute)
        with mutant.applied():
            assert getattr(mutant.owner, mutant.attribute) is not before
        assert getattr(mutant.owner, mutant.attribute) is before
