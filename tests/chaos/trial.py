"""One trial: nodes at work under a plan of harms, judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.chaos.checker import RESUME_SECONDS, Story, is_alone, resumptions, unforced, violations
from tests.chaos.ledger import BEGUN, Entry
from tests.chaos.nemesis import plan
from tests.chaos.proxy import Proxy
from tests.chaos.stores import Store
from tests.chaos.world import QUIET_SECONDS_MAX, MakeCable, World

LEASE_SECONDS = 2.0
NODES = 3


@dataclass(frozen=True)
class Verdict:
    """What came of a trial."""

    seed: int
    found: list[str]
    done: Counter[str]
    instances: int
    attempts: int
    repeated: int
    resumed: list[float]
    """Seconds after which what kills had cut off ran again, where nothing else happened meanwhile."""
    slow: list[Entry]
    """Calls that the store answered slowly, though nobody did it any harm."""

    def __str__(self) -> str:
        harms = ", ".join(f"{count} {what}" for what, count in sorted(self.done.items())) or "no harm"
        slowest = f", resumed within {max(self.resumed):.2f} s ({len(self.resumed)} cut off)" if self.resumed else ""
        worst = max(self.slow, key=lambda entry: entry.seconds, default=None)
        slow = f"; {len(self.slow)} slow answers, up to {worst.seconds:.2f} s for {worst.key}" if worst else ""
        told = (
            f"seed {self.seed}: {self.instances} instances, {self.attempts} attempts of which {self.repeated} were "
            f"made again; {harms}{slowest}{slow}"
        )
        return "\n  ".join([told, *self.found])


async def trial(
    store: Store,
    folder: Path,
    seed: int,
    *,
    seconds: float,
    kinds: Sequence[str],
    harm_seconds: float = 1.5,
    work_seconds: float = 0.15,
    lease_seconds: float = LEASE_SECONDS,
    make_cable: MakeCable = Proxy,
    quiet_seconds: float = QUIET_SECONDS_MAX,
    **settings: str,
) -> Verdict:
    """Let nodes work for so long, with a harm about every `harm_seconds` and a new workflow every `work_seconds`.

    All work must be done `quiet_seconds` after the last harm. The program says which `settings` it has.
    """
    world = World(store, folder, lease_seconds, make_cable, **settings)
    harms = plan(seed, seconds, tuple(kinds), harm_seconds, lease_seconds)
    found: list[str] = []
    try:
        await asyncio.gather(*(world.join_surely() for _ in range(NODES)))
        try:
            async with asyncio.timeout(seconds + quiet_seconds), asyncio.TaskGroup() as tasks:
                tasks.create_task(world.work(random.Random(seed), time.monotonic() + seconds, work_seconds))
                tasks.create_task(world.suffer(harms))
        except TimeoutError:
            found.append(f"the work was not done {quiet_seconds:g} s after the last harm")
        story = await world.story()
        (folder / "faults.json").write_bytes(msgspec.json.encode(story.faults))
    finally:
        await world.close()
    found += [*world.errors, *violations(story)]
    return _verdict(seed, world, story, found)


def _verdict(seed: int, world: World, story: Story, found: list[str]) -> Verdict:
    begun = Counter((entry.key, entry.attempt) for entry in story.entries if entry.what == BEGUN)
    limit = story.lease_seconds + RESUME_SECONDS
    resumed = [
        took
        for kill, _, took in resumptions(story.entries, story.faults, limit)
        if took is not None and is_alone(kill, story.faults, limit)
    ]
    return Verdict(
        seed=seed,
        found=found,
        done=world.done,
        instances=len(story.runs),
        attempts=begun.total(),
        repeated=begun.total() - len(begun),
        resumed=resumed,
        slow=unforced(story),
    )
