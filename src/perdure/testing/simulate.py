"""The campaign: which world each seed makes, how a range of seeds runs over processes, what a failure prints.

    python -m perdure.testing.simulate --seed 1234          one seed, with its trace if it fails
    python -m perdure.testing.simulate --seeds 2000         seeds 0 to 1999, over all cores
    python -m perdure.testing.simulate --servers ...        likewise, of worlds of servers and workers
    python -m perdure.testing.simulate --cluster ...        likewise, of worlds whose nodes divide the shards of a store

Exit codes: 0 all laws held, 1 one did not.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from multiprocessing import get_context

from perdure.codec import encode, encode_arguments
from perdure.history.events import (
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateRequested,
)
from perdure.sdk.definitions import Definitions
from perdure.stores.contract import Status
from perdure.testing import accounts, orders, probes
from perdure.testing.faults import Swarm
from perdure.testing.inspection import inspect
from perdure.testing.programs import (
    YIELDED,
    Author,
    Broken,
    Compensated,
    Event,
    Overdue,
    Program,
    Quickest,
    outcome,
    steps,
)
from perdure.testing.repertoire import TEXT, TROUBLED, Errand, definitions
from perdure.testing.scenario import KILLER, Command, Report, Role, Scenario
from perdure.testing.tape import Tape
from perdure.testing.timetable import timetable
from perdure.testing.world import World

DETERMINISM_EVERY = 100
"""One seed in so many runs twice, and both runs must be the same."""
FAULTS_MAX = 0.02
"""Share of operations where there are topics: a node has some dozens before it is open."""
BATCH = 20
"""Seeds that a process runs before it reports."""
FAILURES_SHOWN = 5


class Kind(StrEnum):
    """Which worlds a campaign makes: of engines that run the code themselves, of servers and workers, or of nodes that
    divide the shards of one store."""

    ENGINE = "engine"
    SERVERS = "servers"
    CLUSTER = "cluster"


BLOCKS_SHARE = 0.12
"""Of worlds that have topics, and of those that have actors."""
DEATHS_ENOUGH = 1_000
"""More than a node dies in worlds whose messages and actors are innocent: what may have killed it is looked for."""


@cache
def _code(*, good: bool, has_orders: bool = False, has_accounts: bool = False) -> Definitions:
    made = definitions(good=good)
    if has_orders:
        orders.add_to(made, good=good)
    if has_accounts:
        accounts.add_to(made, good=good)
    return made


# -- from seed to world -------------------------------------------------------------------------------------


def scenario(tape: Tape, blocks_share: float = BLOCKS_SHARE) -> Scenario:
    """The world of a seed, with topics by this chance, and with actors by it."""
    chance = tape.stream("scenario")
    author = Author(tape.stream("programs"))
    programs = [author.program() for _ in range(chance.choice((1, 1, 2, 3)))]
    roles = [role(tape, program, number) for number, program in enumerate(programs)]
    if chance.random() < 0.3:
        roles.append(listener(tape))
    if tape.stream("desks").random() < 0.3:
        roles.append(desk(tape))
    if tape.stream("crowds").random() < 0.3:
        roles += [_crowd(mark) for mark in (3_000, 4_000)[: tape.stream("crowds").choice((1, 2))]]
    troubled = chance.random() < 0.3
    if troubled:
        roles += [troubled_role(tape, number) for number in range(chance.choice((1, 2, 4)))]
    if tape.stream("schedules").random() < 0.08:
        roles.append(timetable(tape.stream("schedules")))
    blocks = tape.stream("blocks")
    placed, books = None, None
    if blocks.random() < blocks_share:
        merchants, placed = orders.merchants(tape.stream("orders"))
        roles += merchants
    if blocks.random() < blocks_share:
        bankers, books = accounts.bankers(tape.stream("accounts"))
        roles += bankers
    quarantine_deaths = _quarantine_deaths(tape, roles)
    if placed is not None or books is not None:
        quarantine_deaths = blocks.choice((None, DEATHS_ENOUGH))
    elif quarantine_deaths is not None:
        roles.append(Role(KILLER, KILLER, encode_arguments((2_000,), {}), {Status.COMPLETED: 2_000}))
    sqlite = chance.random() < 0.08
    if sqlite:
        roles.append(_teller(5_000))
    code = partial(_code, has_orders=placed is not None, has_accounts=books is not None)
    return Scenario(
        roles=tuple(roles),
        quarantine_deaths=quarantine_deaths,
        good=code(good=True),
        bad=code(good=False) if troubled else None,
        sqlite=sqlite,
        nodes=chance.choice((1, 1, 2, 3)),
        slots=chance.choice((1, 2, 1_000) if not any(map(hangs, programs)) else (1_000,)),
        activations_max=chance.choice((0, 1, 2, 2_000, 2_000)),
        disorder=chance.choice((0.0, 0.05, 0.5)),
        skew=chance.choice((0, 0, 300_000)),
        mischief=tuple(mischief(tape)),
        purges=chance.random() < 0.3 and placed is None and books is None,  # because what has state stays
        orders=None if placed is None else tuple(placed),
        books=books,
    )


def _quarantine_deaths(tape: Tape, roles: list[Role]) -> int | None:
    """Not where something is suspended, because the operator's resume would take the place of the client's."""
    if any(command.event is _suspend for role in roles for command in role.commands):
        return None
    return tape.stream("quarantine").choice((None, None, None, None, None, None, 2, 3))


def mischief(tape: Tape) -> Iterator[tuple[float, str]]:
    chance = tape.stream("nodes")
    kinds = chance.sample(("crash", "close", "takeover", "freeze"), chance.choice((0, 1, 2, 4)))
    at = 0.0
    for _ in range(chance.choice((1, 3, 8)) if kinds else 0):
        at += chance.choice((0.02, 0.3, 1.0, 4.0))
        yield at, chance.choice(kinds)


def hangs(program: Program) -> bool:
    """Whether an attempt may hold its slot until something else has happened, which then needs a slot too."""
    return any(isinstance(step, (Quickest, Broken, Overdue)) for step in steps(program.body))


def role(tape: Tape, program: Program, number: int, *, judged: bool = True, is_errand: bool = False) -> Role:
    """A client of a program, and what it does to it."""
    chance = tape.stream("roles")
    commands = [
        Command(chance.choice((0.0, 0.1, 1.0, 5.0)), _raises(step))
        for step in steps(program.body)
        if isinstance(step, Event)
        for _ in range(program.rounds)
    ]
    outcomes = _outcomes(program)
    run_timeout = chance.choice((0.2, 1.0, 4.0)) if chance.random() < 0.1 else None
    if run_timeout is not None:
        outcomes[Status.FAILED] = None
    match chance.choice(("nothing", "nothing", "nothing", "suspend", "cancel", "terminate")):
        case "suspend":
            at = chance.choice((0.0, 0.3, 2.0))
            commands += [Command(at, _suspend), Command(at + chance.choice((0.0, 0.2, 3.0)), _resume)]
        case "cancel":
            undone = [step.undo for step in steps(program.body) if isinstance(step, Compensated)]
            commands.append(Command(chance.choice((0.0, 0.3, 2.0, 6.0)), _cancel, chance.choice((None, *undone))))
            outcomes[Status.CANCELED] = None
        case "terminate":
            commands.append(Command(chance.choice((0.0, 0.3, 2.0, 6.0)), _terminate))
            outcomes[Status.TERMINATED] = None
    return Role(
        id=f"root-{number}",
        judged=judged,
        workflow="errand" if is_errand else "program",
        input=encode(Errand(program)) if is_errand else encode_arguments((program, 0), {}),
        outcomes=outcomes,
        commands=tuple(sorted(commands, key=lambda command: (command.after is not None, command.at))),
        starts=chance.choice((0.0, 0.0, 0.5)),
        run_timeout=run_timeout,
        purged=chance.random() < 0.1,
    )


def listener(tape: Tape) -> Role:
    """Hears as many ticks as are sent; one that came twice would take another's place."""
    chance = tape.stream("ticks")
    ticks = range(1, 1 + chance.choice((2, 4)))
    commands = [Command(chance.choice((0.0, 0.3, 1.5)), partial(_tick, value)) for value in ticks]
    return Role(
        "listener",
        "listener",
        encode_arguments((len(ticks),), {}),
        {Status.COMPLETED: list(ticks)},
        tuple(commands),
    )


def _crowd(mark: int) -> Role:
    """Two of them meet in the same queues."""
    total = sum(mark + place for place in (0, 1, 2, 3, 4, 6, 7, 8)) + YIELDED
    return Role(f"crowd-{mark}", "crowd", encode_arguments((mark,), {}), {Status.COMPLETED: total})


def _teller(mark: int) -> Role:
    """Its steps commit with their results, so it is there only where the store is a database."""
    return Role("teller", "teller", encode_arguments((mark,), {}), {Status.COMPLETED: sum(range(mark, mark + 6))})


def _tick(value: int, at: int) -> EventRaised:
    return EventRaised(at=at, name="Tick", data=encode(value))


def desk(tape: Tape) -> Role:
    """Is asked so many things, some of them in vain; one that was done twice would take another's place."""
    chance = tape.stream("updates")
    numbers = range(1, 1 + chance.choice((1, 3)))
    asked = [one for number in numbers for one in ((-number, number) if chance.random() < 0.5 else (number,))]
    commands = [Command(chance.choice((0.0, 0.3, 1.5)), partial(_asks, value)) for value in asked]
    return Role(
        "desk",
        "desk",
        encode_arguments((len(numbers),), {}),
        {Status.COMPLETED: list(numbers)},
        tuple(commands),
    )


def _asks(value: int, at: int) -> UpdateRequested:
    return UpdateRequested(at=at, key=f"asked {value}", name="serve", data=encode(value))


def _outcomes(program: Program) -> dict[Status, int | None]:
    return {Status.FAILED: None} if program.fails else {Status.COMPLETED: outcome(program)}


def troubled_role(tape: Tape, number: int) -> Role:
    chance = tape.stream("troubled roles")
    name, factor = chance.choice(sorted(TROUBLED.items()))
    mark = 1_000 + number
    value = mark * factor + (len(TEXT) if name == "lenient" else 0)
    commands = [Command(chance.choice((0.0, 0.5)), lambda at: EventRaised(at=at, name="Number", data=encode(TEXT)))]
    return Role(
        id=f"troubled-{number}",
        workflow=name,
        input=encode_arguments((mark,), {}),
        outcomes={Status.COMPLETED: value},
        commands=tuple(commands if name == "lenient" else ()),
    )


def _raises(step: Event) -> Callable[[int], EventRaised]:
    return lambda at: EventRaised(at=at, name=step.name.lower(), data=encode(step.value))


def _suspend(at: int) -> RunSuspended:
    return RunSuspended(at=at, reason=encode("simulated"))


def _resume(at: int) -> RunResumed:
    return RunResumed(at=at)


def _cancel(at: int) -> RunCancelRequested:
    return RunCancelRequested(at=at, reason="simulated")


def _terminate(at: int) -> RunTerminated:
    return RunTerminated(at=at, recursive=True)


def run_seed(
    seed: int, *, faults: int | None = None, traced: bool = False, blocks_share: float = BLOCKS_SHARE
) -> Report:
    """Run the world of one seed; only the first `faults` faults of its stores happen, if given."""
    tape = Tape(seed)
    plan = Swarm(tape)
    plan.allowed = faults
    story = scenario(tape, blocks_share)
    if story.orders is not None:
        plan.soften(FAULTS_MAX)
    return World(tape, story, plan, traced=traced).run(inspect)


def runner(kind: Kind) -> Callable[..., Report]:
    """What runs a seed of a kind of worlds."""
    match kind:
        case Kind.ENGINE:
            return run_seed
        case Kind.SERVERS:
            from perdure.testing import service  # because gRPC is loaded by those who need it

            return service.run_seed
        case Kind.CLUSTER:
            from perdure.testing import clusters  # because it imports this module

            return clusters.run_seed


def judged(seed: int, kind: Kind = Kind.ENGINE) -> Report:
    """The seed's report; one seed in `DETERMINISM_EVERY` is run twice and must be the same."""
    run = runner(kind)
    report = run(seed)
    if seed % DETERMINISM_EVERY == 0 and not report.violations:
        again = run(seed)
        if again.digest != report.digest:
            report.violations.append(f"two runs of the seed differ ({report.steps} and {again.steps} steps)")
    return report


# -- many seeds ---------------------------------------------------------------------------------------------


@dataclass
class Campaign:
    """The sum over many seeds; `failures` are violations by seed."""

    seeds: int
    failures: dict[int, list[str]]
    probes: Counter[str]
    seconds: float
    kind: Kind = Kind.ENGINE


def run_batch(seeds: range, kind: Kind = Kind.ENGINE) -> tuple[dict[int, list[str]], Counter[str]]:
    failures: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    gc.disable()  # because a world is taken apart as a whole
    for seed in seeds:
        report = judged(seed, kind)
        counts.update(report.probes)
        if report.violations:
            failures[seed] = report.violations
    gc.enable()
    gc.collect()
    return failures, counts


def campaign(first: int, count: int, processes: int, kind: Kind = Kind.ENGINE) -> Campaign:
    """Run `count` seeds from `first` on."""
    began = time.monotonic()
    failures: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    batches = [range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)]
    # not forked, because threads of gRPC would be missing in the child, and a heap that it inherits is collected again
    # and again
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for failed, seen in pool.map(partial(run_batch, kind=kind), batches):
            failures |= failed
            counts.update(seen)
    return Campaign(count, failures, counts, time.monotonic() - began, kind)


# -- the command --------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.simulate", description="Run simulated worlds.")
    parser.add_argument("--seed", type=int, help="run this one, with a trace")
    parser.add_argument("--faults", type=int, help="with --seed: only the first so many faults of its stores")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--servers",
        dest="kind",
        action="store_const",
        const=Kind.SERVERS,
        default=Kind.ENGINE,
        help="worlds of servers and workers",
    )
    kinds.add_argument(
        "--cluster",
        dest="kind",
        action="store_const",
        const=Kind.CLUSTER,
        help="worlds of nodes that divide the shards of one store",
    )
    parser.add_argument("--quiet", action="store_true", help="with --seed: no trace")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _show_seed(options.seed, options.faults, options.kind, quiet=options.quiet)
    return shown(campaign(options.first, options.seeds, options.processes, options.kind))


def _show_seed(seed: int, faults: int | None, kind: Kind, *, quiet: bool) -> int:
    report = runner(kind)(seed, faults=faults, traced=not quiet)
    for line in report.trace:
        _say(line)
    for violation in report.violations:
        _say(f"VIOLATION {violation}")
    _say(f"seed {seed}: {len(report.violations)} violations in {report.seconds:.1f} virtual s, {report.steps} steps")
    return 1 if report.violations else 0


def shown(done: Campaign) -> int:
    unmet = probes.unmet(done.probes, done.seeds, done.kind)
    _say(probes.table(done.probes))
    for seed, violations in sorted(done.failures.items())[:FAILURES_SHOWN]:
        _say(told(seed, violations, done.kind))
    for name in unmet:
        _say(f"never met: {name}")
    _say(f"{done.seeds} seeds, {len(done.failures)} failed, {len(unmet)} probes unmet, {done.seconds:.1f} s")
    return 1 if done.failures or unmet else 0


def told(seed: int, violations: list[str], kind: Kind = Kind.ENGINE) -> str:
    """A failure for people, with the command that repeats it."""
    return "\n".join(
        [f"seed {seed}:", *(f"  {one[:600]}" for one in violations[:5]), f"  replay: {replay(seed, kind)}"]
    )


def replay(seed: int, kind: Kind = Kind.ENGINE) -> str:
    option = "" if kind is Kind.ENGINE else f"--{kind} "
    return f"python -m perdure.testing.simulate {option}--seed {seed}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
