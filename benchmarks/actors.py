"""What actors cost: a call beside a step of a workflow, and memory where there are very many of them.

python -m benchmarks.actors actor_call|actors perdure FOLDER [--quick]
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.process import Meter, peak_resident_mb, resident_mb
from benchmarks.scenarios import each
from benchmarks.size import FULL, QUICK, Size
from perdure import Actor, App

Sample = dict[str, Any]
AT_ONCE = 500
BOUNDS = {"actor_call": 600.0, "actors": 3_600.0}
"""Seconds that each scenario may take."""


class Program:
    """An app with a workflow of steps, and accounts that are actors."""

    def __init__(self, folder: Path) -> None:
        self.app = app = App("bench", store=f"sqlite:///{folder}/bench.db")

        @app.actor
        class Account(Actor):
            balance: int = 0

            async def deposit(self, amount: int) -> int:
                self.balance += amount
                return self.balance

        @app.activity
        async def activity(step: int) -> int:
            return step

        @app.workflow
        async def steps(count: int) -> int:
            for step in range(count):
                await activity(step)
            return count

        @app.workflow
        async def calls(count: int) -> int:
            for step in range(count):
                await Account("of-workflows").deposit(step)
            return count

        self.account, self._steps, self._calls = Account, steps, calls

    async def steps(self, count: int) -> None:
        """A sequence of steps."""
        await (await self._steps.start(count)).result()

    async def calls_of_workflow(self, count: int) -> None:
        """A workflow that calls an actor, one call after the other."""
        await (await self._calls.start(count)).result()

    async def calls(self, count: int) -> None:
        """The program itself calls an actor, one call after the other."""
        for number in range(count):
            await self.account("of-programs").deposit(number)


async def actor_call(folder: Path, size: Size) -> Sample:
    """Lone steps, lone calls of a program and of a workflow, in turn; per step and per call."""
    program, count = Program(folder), size.lone_steps
    kinds = {"step": program.steps, "call": program.calls, "inner": program.calls_of_workflow}
    spent = {name: [0.0, 0.0] for name in kinds}
    async with program.app:
        for work in kinds.values():
            await work(size.warm_up_steps)
        for _ in range(size.stream_repeats):
            for name, work in kinds.items():
                with Meter() as meter:
                    await work(count)
                spent[name][0] += meter.cpu / count / size.stream_repeats
                spent[name][1] += meter.wall / count / size.stream_repeats
    return {
        f"{name}_{clock}_s": value
        for name, pair in spent.items()
        for clock, value in zip(("cpu", "wall"), pair, strict=True)
    }


async def actors(folder: Path, size: Size) -> Sample:
    """Very many actors in the store, each called once, of which some are then called again and again; memory."""
    program = Program(folder)
    async with program.app:
        begun = time.monotonic()
        await each(size.stored, AT_ONCE, lambda number: program.account(f"a{number}").deposit(1))
        made_s = time.monotonic() - begun
        for _ in range(size.active_rounds):
            await each(size.active, AT_ONCE, lambda number: program.account(f"a{number}").deposit(1))
        await asyncio.sleep(size.settle)
        active_mb = resident_mb()
        balance = await program.account("a0").deposit(0)
    if balance != 1 + size.active_rounds:
        raise RuntimeError(f"an account has {balance} after {1 + size.active_rounds} deposits of 1")
    return {
        "active_mb": active_mb,
        "peak_mb": peak_resident_mb(),
        "made_s": made_s,
        "count": size.stored,
        "active": size.active,
    }


SCENARIOS = {"actor_call": actor_call, "actors": actors}


def main(scenario: str, _subject: str, place: str, *options: str) -> None:
    size = QUICK if "--quick" in options else FULL
    print(json.dumps(asyncio.run(SCENARIOS[scenario](Path(place), size))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
