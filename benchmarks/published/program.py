"""A worker, or a client under load, of the published `durabletask` SDK. It runs in an environment of its own.

`program.py worker HOST:PORT` says `ready` and works until it is killed. `program.py client HOST:PORT` does for each
line PREFIX COUNT AT_ONCE so many workflows of one activity, and says `done`.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Generator
from typing import Any

from durabletask import task
from durabletask.client import AsyncTaskHubGrpcClient, OrchestrationStatus
from durabletask.worker import TaskHubGrpcWorker

ORDER = {"order": 1, "amount": 12.5, "sku": "abc"}
PATIENCE_SECONDS = 120
QUIET = logging.getLogger("quiet")
"""Its lines would be most of what a loaded machine does."""
QUIET.setLevel(logging.WARNING)


def activity(context: task.ActivityContext, argument: Any) -> dict[str, Any]:
    return {"ok": True, "x": argument}


def one(context: task.OrchestrationContext, order: Any) -> Generator[Any, Any, Any]:
    return (yield context.call_activity(activity, input=order))


def work(address: str) -> None:
    with TaskHubGrpcWorker(host_address=address, logger=QUIET) as worker:
        worker.add_orchestrator(one)
        worker.add_activity(activity)
        worker.start()
        print("ready", flush=True)
        threading.Event().wait()


async def drive(address: str) -> None:
    async with AsyncTaskHubGrpcClient(host_address=address, logger=QUIET) as client:
        print("ready", flush=True)
        for line in sys.stdin:
            prefix, count, at_once = line.split()
            await crowd(client, prefix, int(count), int(at_once))
            print("done", flush=True)


async def crowd(client: AsyncTaskHubGrpcClient, prefix: str, count: int, at_once: int) -> None:
    numbers = iter(range(count))

    async def take_turns() -> None:
        for number in numbers:
            id = await client.schedule_new_orchestration("one", input=ORDER, instance_id=f"{prefix}-{number}")
            state = await client.wait_for_orchestration_completion(id, timeout=PATIENCE_SECONDS)
            if state is None or state.runtime_status != OrchestrationStatus.COMPLETED:
                raise RuntimeError(f"{id} is {state}")

    await asyncio.gather(*(take_turns() for _ in range(at_once)))


if __name__ == "__main__":
    role, address = sys.argv[1:]
    if role == "worker":
        work(address)
    else:
        asyncio.run(drive(address))
