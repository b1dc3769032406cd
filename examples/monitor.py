"""A workflow that runs for ever: it looks, sleeps, and starts afresh before its history grows long.

python examples/monitor.py
"""

import asyncio
from dataclasses import dataclass, replace

from perdure import App, Handle, continue_as_new, set_status, wait_for_event, workflow_context

app = App("monitor")
LOOKS_PER_RUN = 5


@dataclass
class Watch:
    machine: str
    every: float
    """Seconds between two looks."""
    looks: int = 0
    alarms: int = 0


@app.activity
async def is_healthy(machine: str, look: int) -> bool:
    return look % 4 != 3


@app.workflow
async def monitor(watch: Watch) -> Watch:
    """Watch a machine until somebody raises the event `stop`."""
    stop = asyncio.create_task(wait_for_event("stop"))
    for _ in range(LOOKS_PER_RUN):
        healthy = await is_healthy(watch.machine, watch.looks)
        watch = replace(watch, looks=watch.looks + 1, alarms=watch.alarms + (not healthy))
        set_status({"looks": watch.looks, "alarms": watch.alarms, "run": workflow_context().run})
        await asyncio.wait([stop], timeout=watch.every)
        if stop.done():
            return watch
    return continue_as_new(watch, keep_events=True)  # a `stop` that comes just now is not lost


async def main() -> None:
    async with app:
        start = monitor.with_options(id="monitor-db1", if_exists="return").start
        handle = await start(Watch("db1", every=0.02))
        while await looks(handle) < 12:
            await asyncio.sleep(0.02)
        await handle.raise_event("stop")
        watch = await handle.result(timeout=30)
        print(f"{watch.machine}: one look in four raised an alarm: {watch.alarms == watch.looks // 4}")
        print(f"several runs, of {LOOKS_PER_RUN} looks each: {(await handle.state()).run > 2}")


async def looks(handle: Handle[Watch]) -> int:
    """How often it has looked, by its own status."""
    status = (await handle.state()).custom_status
    return status["looks"] if status else 0


if __name__ == "__main__":
    asyncio.run(main())
