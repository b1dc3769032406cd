"""Workflows whose tasks tangle: task groups, gather, wait, shields, queues, locks, anyio; drawn from a seed.

Each runs live in a simulated world; fresh code in another process, whose hashes are other ones, must then ask
for the same along its stored history.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anyio
import msgspec

from perdure.codec import encode_arguments
from perdure.errors import ActivityFailed
from perdure.sdk.definitions import Definitions
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Status
from perdure.testing.faults import Script
from perdure.testing.inspection import inspect, replayed
from perdure.testing.programs import How
from perdure.testing.repertoire import ACTIVITIES, HANGS, STAGE
from perdure.testing.scenario import Role, Scenario
from perdure.testing.tape import Tape
from perdure.testing.world import World

DEPTH_MAX = 3
WAYS = (
    "group",
    "gather",
    "wait",
    "anyio",
    "move on",
    "first",
    "shield",
    "queue",
    "lock",
    "fail",
    "nested cancel",
)


class Story(msgspec.Struct, frozen=True):
    """The stored history of one run, for a process that was not there."""

    seed: int
    execution: str
    segments: list[bytes]


class Tangle:
    """One run's tangle. The shape comes from the seed alone; marks are drawn as the code goes."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    async def run(self, depth: int = 0) -> int:
        chance = random.Random(self._chance.random())
        if depth >= DEPTH_MAX or chance.random() < 0.25:
            return await self._leaf(chance)
        parts = chance.randint(2, 3)
        return int(await _PERFORM[chance.choice(WAYS)](self, chance, depth + 1, parts))

    async def _leaf(self, chance: random.Random) -> int:
        mark = chance.randrange(1_000)
        if chance.random() < 0.2:
            await asyncio.sleep(chance.choice((0.0, 0.1, 1.0)))
            return mark
        return await ACTIVITIES[chance.choice((How.OK, How.SLOW, How.THREAD, How.FLAKY))](mark)

    async def group(self, chance: random.Random, depth: int, parts: int) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.run(depth)) for _ in range(parts)]
        return sum(task.result() for task in tasks)

    async def gather(self, chance: random.Random, depth: int, parts: int) -> int:
        return sum(await asyncio.gather(*(self.run(depth) for _ in range(parts))))

    async def wait(self, chance: random.Random, depth: int, parts: int) -> int:
        pending = {asyncio.create_task(self.run(depth)) for _ in range(parts)}
        total = 0
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            total += sum(task.result() for task in done)
            await ACTIVITIES[How.OK](len(done))
        return total

    async def anyio(self, chance: random.Random, depth: int, parts: int) -> int:
        results: list[int] = []

        async def one() -> None:
            results.append(await self.run(depth))

        async with anyio.create_task_group() as group:
            for _ in range(parts):
                group.start_soon(one)
        return sum(results)

    async def move_on(self, chance: random.Random, depth: int, parts: int) -> int:
        seconds = chance.choice((0.05, 0.3, 5.0))
        with anyio.move_on_after(seconds) as scope:
            return await self.run(depth)
        return await ACTIVITIES[How.OK](int(scope.cancelled_caught))

    async def first(self, chance: random.Random, depth: int, parts: int) -> int:
        tasks = [asyncio.create_task(self.run(depth)) for _ in range(parts)]
        tasks.append(asyncio.create_task(HANGS(1)))
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:  # a set, whose order must be the same in every process
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return sum(task.result() for task in done)

    async def shield(self, chance: random.Random, depth: int, parts: int) -> int:
        inner = asyncio.ensure_future(self.run(depth))
        try:
            async with asyncio.timeout(chance.choice((0.05, 0.5))):
                return await asyncio.shield(inner)
        except TimeoutError:
            return await inner + 1

    async def queue(self, chance: random.Random, depth: int, parts: int) -> int:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)

        async def produce() -> None:
            await queue.put(await self.run(depth))

        async with asyncio.TaskGroup() as group:
            for _ in range(parts):
                group.create_task(produce())
            return sum([await ACTIVITIES[How.OK](await queue.get()) for _ in range(parts)])

    async def lock(self, chance: random.Random, depth: int, parts: int) -> int:
        gate = asyncio.Semaphore(chance.randint(1, 2))

        async def one() -> int:
            async with gate:
                return await self.run(depth)

        return sum(await asyncio.gather(*(one() for _ in range(parts))))

    async def fail(self, chance: random.Random, depth: int, parts: int) -> int:
        caught = 0
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(parts):
                    group.create_task(self.run(depth))
                group.create_task(ACTIVITIES[How.FAILS](1))
        except* ActivityFailed as errors:
            caught = len(errors.exceptions)
        return await ACTIVITIES[How.OK](caught)

    async def nested_cancel(self, chance: random.Random, depth: int, parts: int) -> int:
        async with anyio.create_task_group() as group:
            for _ in range(parts):
                group.start_soon(self.run, depth)
            await asyncio.sleep(chance.choice((0.0, 0.2)))
            group.cancel_scope.cancel()
        return await ACTIVITIES[How.OK](parts)


_PERFORM: dict[str, Any] = {way: getattr(Tangle, way.replace(" ", "_")) for way in WAYS}


async def tangle(seed: int) -> int:
    return await Tangle(seed).run()


def definitions() -> Definitions:
    made = Definitions()
    for activity in (*ACTIVITIES.values(), HANGS):
        made.add(activity)
    made.add(Workflow(tangle, "tangle", STAGE))
    return made


def live(seed: int) -> tuple[Story, list[str]]:
    """Run the tangle of a seed, evicted at every await if it is odd; its history, and what was wrong."""
    role = Role("tangle", "tangle", encode_arguments((seed,), {}), {Status.COMPLETED: None}, judged=False)
    scenario = Scenario((role,), definitions(), disorder=(seed % 3) * 0.3)
    world = World(Tape(seed), scenario, Script({}, evictions=bool(seed % 2)))
    report = world.run(inspect)
    ((key, record),) = world.witness.records.items()
    return Story(seed, key[1], [segment for _, segment in record.segments]), report.violations


def replay(story: Story) -> None:
    """Bring fresh code to the end of the history. Raises Diverged, or AssertionError if it does not end."""
    run = replayed(("tangle", story.execution, 1), "tangle", story.segments, definitions(), None)
    assert run.finished, f"the replay of seed {story.seed} does not end"
