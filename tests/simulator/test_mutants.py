"""An engine without one of its safeguards must be caught by the seeds, or their silence proves nothing."""

from functools import partial

import pytest

from perdure.testing import simulate
from perdure.testing.mutants import MUTANTS, SEEDS_MAX, seeds_to_kill


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant, record_property):
    seeds = seeds_to_kill(mutant, partial(simulate.run_seed, blocks_share=0.0))
    record_property("seeds to kill", seeds)
    assert seeds is not None, f"{mutant.name} survived {SEEDS_MAX} seeds"


def test_there_are_enough_of_them():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15


def test_the_safeguards_are_back_in_place():
    for mutant in MUTANTS:
        before = getattr(mutant.owner, mutant.attribute)
        with mutant.applied():
            assert getattr(mutant.owner, mutant.attribute) is not before
        assert getattr(mutant.owner, mutant.attribute) is before
