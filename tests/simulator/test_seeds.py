"""Worlds, each with many faults, and what a failure prints. CI goes on, and asks what all of them met."""

import os

import pytest

from perdure.testing import probes, simulate

SEEDS = 16
"""As many as the quick suite has time for; `make ci` goes on where they end."""


@pytest.fixture(scope="module")
def done() -> simulate.Campaign:
    return simulate.campaign(0, SEEDS, os.cpu_count() or 1)


@pytest.mark.timeout(280)
def test_every_seed_keeps_the_laws(done):
    assert not done.failures, "\n".join(simulate.told(*failure) for failure in sorted(done.failures.items())[:5])


def test_a_probe_at_zero_fails_a_campaign():
    assert probes.unmet({}, probes.SEEDS_FOR_PROBES["engine"]) == list(probes.REQUIRED)
    assert probes.unmet({}, probes.SEEDS_FOR_PROBES["engine"] - 1) == []


def test_one_seed_is_one_story():
    first, second = simulate.run_seed(7, traced=True), simulate.run_seed(7, traced=True)
    assert first.trace
    assert (first.trace, first.digest, first.steps) == (second.trace, second.digest, second.steps)


def test_another_seed_is_another_story():
    assert simulate.run_seed(7).digest != simulate.run_seed(8).digest


def test_a_failure_prints_the_command_that_replays_it(capsys):
    failed = simulate.Campaign(1, {1234: ["a law did not hold"]}, simulate.Counter(), 0.1)
    assert simulate.shown(failed) == 1
    assert "python -m perdure.testing.simulate --seed 1234" in capsys.readouterr().out
    assert simulate.main(["--seed", "7"]) == 0
    assert "node-1" in capsys.readouterr().out
