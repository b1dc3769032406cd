"""Workflows of one step on the published DBOS, at several numbers at once. It runs in an environment of its own.

`dbos_program.py URL COUNT AT_ONCE...` prints, as one line of JSON, wall seconds per workflow for each number at once.
"""

import asyncio
import json
import sys
import time
from typing import Any

from dbos import DBOS, SetWorkflowID

ORDER = {"order": 1, "amount": 12.5, "sku": "abc"}
WARM_UP = 100


@DBOS.step()
async def activity(argument: Any) -> dict[str, Any]:
    return {"ok": True, "x": argument}


@DBOS.workflow()
async def one(order: Any) -> Any:
    return await activity(order)


async def measured(count: int, *at_once: int) -> dict[int, float]:
    DBOS.launch()
    try:
        await crowd("warm", WARM_UP, WARM_UP)
        return {number: await crowd(f"at-{number}", count, number) for number in at_once}
    finally:
        await asyncio.to_thread(DBOS.destroy)


async def crowd(prefix: str, count: int, at_once: int) -> float:
    """Run so many in this process, where a call is the cheapest way to start one and to wait for it."""
    numbers = iter(range(count))

    async def take_turns() -> None:
        for number in numbers:
            with SetWorkflowID(f"{prefix}-{number}"):
                await one(ORDER)

    began = time.perf_counter()
    await asyncio.gather(*(take_turns() for _ in range(at_once)))
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    address, *numbers = sys.argv[1:]
    DBOS(config={"name": "bench", "system_database_url": address, "log_level": "ERROR"})
    print(json.dumps(asyncio.run(measured(*map(int, numbers)))), flush=True)
