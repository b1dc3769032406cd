"""A node in a process of its own: it does what the lines of its input say, and answers each with a line of JSON.

`python -m benchmarks.node URL` says `ready` when the app is open. The lines are:
`crowd PREFIX COUNT AT_ONCE` to run workflows of one activity, `home PREFIX COUNT AT_ONCE` to run ones that this node
looks after from their start, `hold FIRST COUNT` to start ones whose second activity
never ends, `sleep PREFIX COUNT` to start ones that sleep for a day, `entered` to tell how many second activities began
here and when the last did, `refused` to tell how many turns the store refused, and `end` to close the app.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.load import GATE, ORDER
from benchmarks.process import Meter
from benchmarks.scenarios import FAR_AHEAD, STARTERS, each

outcomes: Counter[str] = Counter()
"""What the store answered to turns and appends of this node."""


def counted(store: Any) -> Any:
    """The store, whose answers to commits are counted from now on."""
    commit = store.commit

    async def counting(*arguments: Any) -> Any:
        answers = await commit(*arguments)
        outcomes.update(answers)
        return answers

    store.commit = counting
    return store


async def crowd(subject: Any, prefix: str, count: str, at_once: str) -> dict[str, float]:
    with Meter() as meter:
        await each(int(count), int(at_once), lambda number: subject.run("one", f"{prefix}-{number}", ORDER))
    return meter.each(int(count))


async def home(subject: Any, prefix: str, count: str, at_once: str) -> dict[str, float]:
    from benchmarks import engine

    owner_of = engine.app._life.engine.owner_of  # nobody else needs to know, so that no public name tells it
    ids = itertools.islice(filter(owner_of, (f"{prefix}-{number}" for number in itertools.count())), int(count))
    with Meter() as meter:
        await each(int(count), int(at_once), lambda _number: subject.run("one", next(ids), ORDER))
    return meter.each(int(count))


async def hold(subject: Any, first: str, count: str) -> dict[str, float]:
    start = int(first)
    await each(int(count), STARTERS, lambda n: subject.start("in_flight", f"held-{start + n}", start + n))
    return {"count": int(count)}


async def sleep(subject: Any, prefix: str, count: str) -> dict[str, float]:
    far = time.time() + FAR_AHEAD
    with Meter() as meter:
        await each(int(count), STARTERS, lambda number: subject.start("sleeper", f"{prefix}-{number}", far))
    return meter.each(int(count))


async def entered(_subject: Any) -> dict[str, float]:
    return {"count": len(GATE.entered), "last_at_s": GATE.last_entered_at}


async def refused(_subject: Any) -> dict[str, float]:
    return {"count": outcomes.total() - outcomes["committed"], **outcomes}


LINES: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {
    line.__name__: line for line in (crowd, home, hold, sleep, entered, refused)
}


async def obey(url: str) -> None:
    from benchmarks import engine
    from perdure.app import open_store

    engine.app._store = counted(open_store(url))
    async with engine.opened() as subject:
        print("ready", flush=True)
        while (line := (await asyncio.to_thread(sys.stdin.readline)).split()) and line[0] != "end":
            print(json.dumps(await LINES[line[0]](subject, *line[1:])), flush=True)
    print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(obey(sys.argv[1]))
