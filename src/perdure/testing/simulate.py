"""The campaign: which world each seed makes, how a range of seeds runs over processes, what a failure prints.

    python -m perdure.testing.simulate --seed 1234          one seed, with its trace if it fails
    python -m perdure.testing.simulate --seeds 2000         seeds 0 to 1999, over all cores

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
from functools import cache, partial

from perdure.codec import encode, encode_arguments
from perdure.history.events import (
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateRequested,
)
from perdure.stores.contract import Status
from perdure.testing import probes
from perdure.testing.faults import Swarm
from perdure.testing.inspection import inspect
from perdure.testing.programs import Author, Broken, Compensated, Event, Overdue, Program, Quickest, outcome, steps
from perdure.testing.repertoire import TEXT, TROUBLED, definitions
from perdure.testing.tape import Tape
from perdure.testing.world import KILLER, Command, Report, Role, Scenario, World

DETERMINISM_EVERY = 100
"""One seed in so many runs twice, and both runs must be the same."""
BATCH = 20
"""Seeds that a process runs before it reports."""
FAILURES_SHOWN = 5


_code = cache(definitions)


# -- from seed to world -------------------------------------------------------------------------------------


def scenario(tape: Tape) -> Scenario:
    """The world of a seed."""
    chance = tape.stream("scenario")
    author = Author(tape.stream("programs"))
    programs = [author.program() for _ in range(chance.choice((1, 1, 2, 3)))]
    roles = [_role(tape, program, number) for number, program in enumerate(programs)]
    if chance.random() < 0.3:
        roles.append(_listener(tape))
    if tape.stream("desks").random() < 0.3:
        roles.append(_desk(tape))
    if tape.stream("crowds").random() < 0.3:
        roles += [_crowd(mark) for mark in (3_000, 4_000)[: tape.stream("crowds").choice((1, 2))]]
    troubled = chance.random() < 0.3
    if troubled:
        roles += [_troubled_role(tape, number) for number in range(chance.choice((1, 2, 4)))]
    quarantine_deaths = _quarantine_deaths(tape, roles)
    if quarantine_deaths is not None:
        roles.append(Role(KILLER, KILLER, encode_arguments((2_000,), {}), {Status.COMPLETED: 2_000}))
    return Scenario(
        roles=tuple(roles),
        quarantine_deaths=quarantine_deaths,
        good=_code(good=True),
        bad=_code(good=False) if troubled else None,
        sqlite=chance.random() < 0.08,
        nodes=chance.choice((1, 1, 2, 3)),
        slots=chance.choice((1, 2, 1_000) if not any(map(_hangs, programs)) else (1_000,)),
        activations_max=chance.choice((0, 1, 2, 2_000, 2_000)),
        disorder=chance.choice((0.0, 0.05, 0.5)),
        skew=chance.choice((0, 0, 300_000)),
        mischief=tuple(_mischief(tape)),
        purges=chance.random() < 0.3,
    )


def _quarantine_deaths(tape: Tape, roles: list[Role]) -> int | None:
    """Not where something is suspended, because the operator's resume would take the place of the client's."""
    if any(command.event is _suspend for role in roles for command in role.commands):
        return None
    return tape.stream("quarantine").choice((None, None, None, None, None, None, 2, 3))


def _mischief(tape: Tape) -> Iterator[tuple[float, str]]:
    chance = tape.stream("nodes")
    kinds = chance.sample(("crash", "close", "takeover", "freeze"), chance.choice((0, 1, 2, 4)))
    at = 0.0
    for _ in range(chance.choice((1, 3, 8)) if kinds else 0):
        at += chance.choice((0.02, 0.3, 1.0, 4.0))
        yield at, chance.choice(kinds)


def _hangs(program: Program) -> bool:
    """Whether an attempt may hold its slot until something else has happened, which then needs a slot too."""
    return any(isinstance(step, (Quickest, Broken, Overdue)) for step in steps(program.body))


def _role(tape: Tape, program: Program, number: int) -> Role:
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
        workflow="program",
        input=encode_arguments((program, 0), {}),
        outcomes=outcomes,
        commands=tuple(sorted(commands, key=lambda command: (command.after is not None, command.at))),
        starts=chance.choice((0.0, 0.0, 0.5)),
        run_timeout=run_timeout,
        purged=chance.random() < 0.1,
    )


def _listener(tape: Tape) -> Role:
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
    total = sum(mark + place for place in range(9))
    return Role(f"crowd-{mark}", "crowd", encode_arguments((mark,), {}), {Status.COMPLETED: total})


def _tick(value: int, at: int) -> EventRaised:
    return EventRaised(at=at, name="Tick", data=encode(value))


def _desk(tape: Tape) -> Role:
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


def _troubled_role(tape: Tape, number: int) -> Role:
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


def run_seed(seed: int, *, faults: int | None = None, traced: bool = False) -> Report:
    """Run the world of one seed; only the first `faults` faults of its stores happen, if given."""
    tape = Tape(seed)
    plan = Swarm(tape)
    plan.allowed = faults
    return World(tape, scenario(tape), plan, traced=traced).run(inspect)


def judged(seed: int) -> Report:
    """The seed's report; one seed in `DETERMINISM_EVERY` is run twice and must be the same."""
    report = run_seed(seed)
    if seed % DETERMINISM_EVERY == 0 and not report.violations:
        again = run_seed(seed)
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


def run_batch(seeds: range) -> tuple[dict[int, list[str]], Counter[str]]:
    failures: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    gc.disable()  # because a world is taken apart as a whole
    for seed in seeds:
        report = judged(seed)
        counts.update(report.probes)
        if report.violations:
            failures[seed] = report.violations
    gc.enable()
    gc.collect()
    return failures, counts


def campaign(first: int, count: int, processes: int) -> Campaign:
    """Run `count` seeds from `first` on."""
    began = time.monotonic()
    failures: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    batches = [range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)]
    with ProcessPoolExecutor(processes) as pool:
        for failed, seen in pool.map(run_batch, batches):
            failures |= failed
            counts.update(seen)
    return Campaign(count, failures, counts, time.monotonic() - began)


# -- the command --------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.simulate", description="Run simulated worlds.")
    parser.add_argument("--seed", type=int, help="run this one, with a trace")
    parser.add_argument("--faults", type=int, help="with --seed: only the first so many faults of its stores")
    parser.add_argument("--quiet", action="store_true", help="with --seed: no trace")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _show_seed(options.seed, options.faults, options.quiet)
    return shown(campaign(options.first, options.seeds, options.processes))


def _show_seed(seed: int, faults: int | None, quiet: bool) -> int:
    report = run_seed(seed, faults=faults, traced=not quiet)
    for line in report.trace:
        _say(line)
    for violation in report.violations:
        _say(f"VIOLATION {violation}")
    _say(f"seed {seed}: {len(report.violations)} violations in {report.seconds:.1f} virtual s, {report.steps} steps")
    return 1 if report.violations else 0


def shown(done: Campaign) -> int:
    unmet = probes.unmet(done.probes, done.seeds)
    _say(probes.table(done.probes))
    for seed, violations in sorted(done.failures.items())[:FAILURES_SHOWN]:
        _say(told(seed, violations))
    for name in unmet:
        _say(f"never met: {name}")
    _say(f"{done.seeds} seeds, {len(done.failures)} failed, {len(unmet)} probes unmet, {done.seconds:.1f} s")
    return 1 if done.failures or unmet else 0


def told(seed: int, violations: list[str]) -> str:
    """A failure for people, with the command that repeats it."""
    return "\n".join([f"seed {seed}:", *(f"  {one[:600]}" for one in violations[:5]), f"  replay: {replay(seed)}"])


def replay(seed: int) -> str:
    return f"python -m perdure.testing.simulate --seed {seed}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
