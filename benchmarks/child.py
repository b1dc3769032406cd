"""One scenario on one engine in this process; prints its sample as one line of JSON.

python -m benchmarks.child SCENARIO floor|perdure FOLDER|URL [--quick]

A folder gets a store of SQLite; a URL is that of the store itself.
"""

import asyncio
import json
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from benchmarks.load import GATE
from benchmarks.scenarios import IN_PROCESS
from benchmarks.size import FULL, QUICK

LEFT_HELD = "hold"


def main(scenario: str, subject: str, place: str, *options: str) -> None:
    size = QUICK if "--quick" in options else FULL
    if scenario != LEFT_HELD:
        GATE.open()
    asyncio.run(_measure(scenario, _opened(subject, place), size))


async def _measure(scenario: str, engine: AbstractAsyncContextManager[Any], size: Any) -> None:
    async with engine as subject:
        print(json.dumps(await IN_PROCESS[scenario](subject, size)), flush=True)
        if scenario == LEFT_HELD:
            # Stays in flight until the parent kills it, since leaving the block would drain.
            await asyncio.Event().wait()


def _opened(subject: str, place: str) -> AbstractAsyncContextManager[Any]:
    if subject == "floor":
        from benchmarks import floor

        return floor.opened(Path(place))
    # Set before the import, because the app reads its store's address as it is made.
    os.environ["PERDURE_STORE"] = place if "://" in place else f"sqlite:///{Path(place) / 'bench.db'}"
    from benchmarks import engine

    return engine.opened()


if __name__ == "__main__":
    main(*sys.argv[1:])
