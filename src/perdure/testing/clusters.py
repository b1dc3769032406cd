"""Which world of a cluster each seed makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from perdure.codec import encode_arguments
from perdure.stores.contract import Status
from perdure.testing import simulate
from perdure.testing.cluster import HARMS, NODES_MAX, NODES_MIN, ClusterWorld, Layout
from perdure.testing.faults import Swarm
from perdure.testing.inspection import inspect
from perdure.testing.programs import Chain, Child, Effect, How, Program, Sleep, Step, outcome
from perdure.testing.scenario import Report, Role, Scenario
from perdure.testing.tape import Tape

STEADY_COUNT = 6
"""Instances that work all the time, so that whoever loses a shard has something to write."""
STEADY_ROUNDS = 40
SLOW_SHARE = 0.3
"""Of worlds in which the way to the store is slow now and then, and nothing else is done to nodes: what arrives late is
only taken for another's where its sender lives on and keeps its lease."""
FAULTS_MAX = 0.01
"""Share of operations: a node has five for each shard before it is open."""


def scenario(tape: Tape, blocks_share: float = simulate.BLOCKS_SHARE) -> Scenario:
    """The programs and roles of any world of the seed, on several nodes."""
    chance = tape.stream("cluster")
    plain = simulate.scenario(tape, blocks_share)
    roles = tuple(role for role in plain.roles if role.workflow != "teller")  # because its steps need a database
    return replace(
        plain,
        roles=(*roles, *(steady(number) for number in range(STEADY_COUNT))),
        sqlite=False,
        nodes=chance.choice(tuple(range(NODES_MIN, NODES_MAX + 1))),
        skew=chance.choice((0, 300_000, 2_000_000)),
        mischief=tuple(mischief(tape)),
    )


def steady(number: int) -> Role:
    """An instance with a step three times a second, and a child for each fourth."""
    mark = 7_000 + 200 * number
    parts: list[Step] = [_work(mark + 4 * place, place) for place in range(STEADY_ROUNDS)]
    program = Program(Chain(parts))
    return Role(
        f"steady-{number}",
        "program",
        encode_arguments((program, 0), {}),
        {Status.COMPLETED: outcome(program)},
    )


def _work(mark: int, place: int) -> Chain:
    effect = Effect(mark, How.OK)
    return Chain([Child(mark + 1, effect) if place % 4 == 0 else effect, Sleep(0.3)])


def mischief(tape: Tape) -> Iterator[tuple[float, str]]:
    chance = tape.stream("cluster mischief")
    kinds = chance.sample(HARMS, chance.choice((0, 1, 3, len(HARMS))))
    if chance.random() < SLOW_SHARE:
        kinds = ["slow"]
    at = 0.0
    for _ in range(chance.choice((1, 4, 12)) if kinds else 0):
        at += chance.choice((0.02, 0.3, 1.0, 3.0))
        yield at, chance.choice(kinds)


def layout(tape: Tape) -> Layout:
    chance = tape.stream("layout")
    return Layout(
        shards=chance.choice((2, 4, 8, 8)),
        lease_seconds=chance.choice((0.3, 1.0, 2.0)),
        spans_shards=chance.random() < 0.5,
        skew=chance.choice((0, 0, -5_000_000, 5_000_000)),
    )


def run_seed(
    seed: int, *, faults: int | None = None, traced: bool = False, blocks_share: float = simulate.BLOCKS_SHARE
) -> Report:
    """Run the world of one seed; only the first `faults` faults of its stores happen, if given."""
    tape = Tape(seed)
    plan = Swarm(tape)
    plan.allowed = faults
    plan.soften(FAULTS_MAX)
    return ClusterWorld(tape, scenario(tape, blocks_share), plan, layout(tape), traced=traced).run(inspect)
