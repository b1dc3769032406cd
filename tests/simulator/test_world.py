"""The simulated world itself: one that does not come to rest fails, and says what it waits for."""

import pytest

from perdure.codec import encode_arguments
from perdure.stores.contract import Status
from perdure.testing.faults import Calm, Fault
from perdure.testing.inspection import inspect
from perdure.testing.programs import Effect, How, Program, outcome
from perdure.testing.repertoire import definitions
from perdure.testing.scenario import Command, Report, Role, Scenario
from perdure.testing.tape import Tape
from perdure.testing.world import World

SLOW = Program(Effect(1, How.SLOW))


def role(program: Program, *commands: Command, **others: None) -> Role:
    statuses = {Status.COMPLETED: outcome(program)} | {Status(name): None for name in others}
    return Role("root-0", "program", encode_arguments((program, 0), {}), statuses, commands)


def ran(scenario: Scenario, plan: Calm | None = None, seed: int = 0) -> Report:
    return World(Tape(seed), scenario, plan or Calm()).run(inspect)


class NoPurge(Calm):
    """A store that never purges."""

    def operation(self, name: str) -> Fault | None:
        return Fault.FAILED if name == "purge" else None


@pytest.mark.long
def test_a_world_that_never_settles_fails_and_names_what_it_waits_for():
    report = ran(Scenario((role(SLOW),), definitions(good=True), purges=True), NoPurge())
    (violation,) = report.violations
    assert violation.startswith("Livelock: ")
    assert "asked for: purge root-0; unfinished: none; nodes: node-1 is open" in violation


def test_a_world_at_rest_says_nothing():
    assert not ran(Scenario((role(SLOW),), definitions(good=True), purges=True)).violations


def test_a_helper_of_the_world_that_dies_is_a_violation(monkeypatch):
    async def broken(*_: object) -> None:
        raise RuntimeError("no harm done")

    monkeypatch.setattr(World, "_harm", broken)
    report = ran(Scenario((role(SLOW),), definitions(good=True), mischief=((0.1, "crash"),)))
    assert report.violations == ["the world's mischief died of RuntimeError('no harm done')"]


@pytest.mark.parametrize("seed", range(8))
def test_a_node_that_closes_when_the_faults_stop_gives_way_to_another(seed):
    scenario = Scenario((role(SLOW),), definitions(good=True), mischief=((0.1, "close"),), purges=True)
    assert not ran(scenario, seed=seed).violations
