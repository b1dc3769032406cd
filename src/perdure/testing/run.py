"""Runs one workflow to its end for a test: in memory, with virtual time, in no time."""

from __future__ import annotations

import random
from typing import Any, ParamSpec, TypeVar

from perdure.engine.engine import Engine
from perdure.scheduler.pace import Pace
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions, Workflow
from perdure.sdk.worker import Worker
from perdure.stores.memory import MemoryStore
from perdure.testing.loop import SimClock, SimLoop

UNHURRIED = Pace(mail_seconds=1e7, standby_seconds=1e7, window_seconds=1e8)
"""Virtual time passes every pause at once, and the one store here loses no hint."""

P = ParamSpec("P")
R = TypeVar("R")


def run(workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What the workflow returns; raises what `Handle.result` would.

    Its activities really run (`def` ones inline), its children too; sleeps and timeouts pass at once, so a workflow of
    a year takes milliseconds. Activities cannot do network I/O here: give them plain results in tests.
    """
    chance = random.Random(0)  # because a test that fails must fail again
    loop = SimLoop(chance)
    return loop.run(_result(workflow, args, kwargs, loop, chance))


async def _result(
    workflow: Workflow[P, R], args: tuple[Any, ...], kwargs: dict[str, Any], loop: SimLoop, chance: random.Random
) -> R:
    clock = SimClock(loop, chance)
    definitions = Definitions().include(workflow.home.definitions)
    definitions.workflows[workflow.name] = workflow  # because this version is meant, whichever is the latest
    engine = Engine(
        "test", MemoryStore(), Worker("test", definitions), clock=clock, owner="test", chance=chance, pace=UNHURRIED
    )
    await engine.open()
    handle = await Client(engine.operations).workflow(workflow.name).start(*args, **kwargs)
    try:
        result: R = await handle.result()
        return result
    finally:
        await engine.close()
