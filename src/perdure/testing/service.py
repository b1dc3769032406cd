"""Which world of servers and workers each seed makes."""

from __future__ import annotations

from perdure.codec import encode_arguments
from perdure.remote.requests import Flavour
from perdure.stores.contract import Status
from perdure.testing import simulate
from perdure.testing.faults import Swarm
from perdure.testing.inspection import inspect
from perdure.testing.programs import Author, Broken, Effect, How, Overdue, Program, Quickest, Rolled, steps
from perdure.testing.repertoire import definitions
from perdure.testing.scenario import Report, Role, Scenario
from perdure.testing.servers import ServersWorld
from perdure.testing.strangers import spoken_by
from perdure.testing.tape import Tape
from perdure.testing.timetable import timetable

UNSURE = (How.BEATS, How.YIELDS, How.DRAWS)
"""Activities whose attempts fail where a heartbeat or an item is lost on its way, so that their programs' results are
not known beforehand."""
SURE = tuple(how for how in How if how not in UNSURE)


ROOMS = (0, 1, 2_000, 2_000)
"""How many instances a server keeps in memory: with few, those that wait for a worker rest in the store."""


def scenario(tape: Tape) -> Scenario:
    """The world of a seed, with Perdure's own workers."""
    chance = tape.stream("scenario")
    hows = tuple(How) if chance.random() < 0.2 else SURE
    author = Author(tape.stream("programs"), hows)
    programs = [author.program() for _ in range(chance.choice((1, 1, 2, 3)))]
    roles = [simulate.role(tape, program, number, judged=_is_sure(program)) for number, program in enumerate(programs)]
    others = tape.stream("others")
    if others.random() < 0.2:
        roles.append(simulate.listener(tape))
    if others.random() < 0.2:
        roles.append(simulate.desk(tape))
    if others.random() < 0.1:
        crowd = Status.COMPLETED, Status.FAILED  # because its stream may break
        roles.append(Role("crowd", "crowd", encode_arguments((3_000,), {}), dict.fromkeys(crowd), judged=False))
    if others.random() < 0.05:
        roles.append(timetable(others))
    troubled = others.random() < 0.2
    if troubled:
        roles += [simulate.troubled_role(tape, number) for number in range(chance.choice((1, 2)))]
    return Scenario(
        roles=tuple(roles),
        good=definitions(good=True),
        bad=definitions(good=False) if troubled else None,
        sqlite=chance.random() < 0.08,
        nodes=chance.choice((1, 1, 2, 3)),
        slots=chance.choice((1, 2, 1_000) if not any(map(simulate.hangs, programs)) else (1_000,)),
        activations_max=tape.stream("rooms").choice(ROOMS),
        disorder=chance.choice((0.0, 0.05, 0.5)),
        skew=chance.choice((0, 0, 300_000)),
        mischief=tuple(simulate.mischief(tape)),
        purges=chance.random() < 0.2,
    )


PLAIN = (How.OK, How.SLOW, How.THREAD, How.FAILS)
"""Activities that need no words which the public protocols do not have."""
UNSPOKEN = (Rolled, Quickest, Broken, Overdue)
"""Steps that other SDKs have not: nobody cancels a call there, and random numbers are each SDK's own."""


def errands(tape: Tape, flavour: Flavour) -> Scenario:
    """The world of a seed, with workers of a public protocol."""
    chance = tape.stream("scenario")
    author = Author(tape.stream("programs"), PLAIN, UNSPOKEN)
    programs = [spoken_by(flavour, author.program()) for _ in range(chance.choice((1, 2, 3)))]
    return Scenario(
        roles=tuple(simulate.role(tape, program, number, is_errand=True) for number, program in enumerate(programs)),
        good=definitions(good=True),
        sqlite=chance.random() < 0.08,
        nodes=chance.choice((1, 1, 2, 3)),
        slots=chance.choice((1, 2, 50)),
        activations_max=tape.stream("rooms").choice(ROOMS),
        disorder=chance.choice((0.0, 0.05, 0.5)),
        skew=chance.choice((0, 0, 300_000)),
        mischief=tuple(simulate.mischief(tape)),
        purges=chance.random() < 0.2,
    )


def _is_sure(program: Program) -> bool:
    return not any(isinstance(step, Effect) and step.how in UNSURE for step in steps(program.body))


def run_seed(seed: int, *, faults: int | None = None, traced: bool = False) -> Report:
    """Run the world of one seed; only the first `faults` faults of its stores happen, if given."""
    tape = Tape(seed)
    plan = Swarm(tape)
    plan.allowed = faults
    flavour = tape.stream("flavour").choice((Flavour.PERDURE, Flavour.PERDURE, Flavour.DAPR, Flavour.MICROSOFT))
    story = scenario(tape) if flavour is Flavour.PERDURE else errands(tape, flavour)
    return ServersWorld(tape, story, plan, flavour=flavour, traced=traced).run(inspect)
