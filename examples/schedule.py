"""A workflow by the clock: a schedule that ticks, is paused, triggered, and filled up.

python examples/schedule.py
"""

import asyncio
from datetime import UTC, datetime, timedelta

from perdure import App, Schedule, ScheduleState, workflow_context

app = App("schedule")


@app.activity
async def sweep(folder: str) -> int:
    return len(folder)


@app.workflow
async def clean(folder: str) -> str:
    """The run of a tick knows which tick it is for."""
    await sweep(folder)
    return "triggered" if workflow_context().tick is None else "by the clock"


# Made when the app opens, and changed when this line has changed.
clean.with_schedule("weekly", every=timedelta(days=7), start=datetime(2026, 1, 5, 4, tzinfo=UTC)).declare("/old")


async def main() -> None:
    async with app:
        schedule = await clean.with_schedule("often", every=1, if_exists="replace").create("/cache")
        state = await until(schedule, lambda state: state.started >= 2)
        print(f"{state.id} has started {state.workflow}{[state.input]}: {state.started >= 2}")

        await schedule.pause("enough for an example")
        state = await until(schedule, lambda state: not state.running)
        print(f"paused: {state.paused}; ticks ahead: {len(state.next)}")

        handle = await schedule.trigger()
        print(await handle.result(timeout=10))

        now = datetime.now(UTC)
        ticks = await schedule.backfill(now - timedelta(minutes=1), now - timedelta(seconds=55))
        print(f"{ticks} ticks of a minute ago, one after the other")
        await until(schedule, lambda state: not state.backfills and not state.running)

        await schedule.delete()
        print(sorted([state.id async for state in app.client.schedules()]))


async def until(schedule: Schedule, condition) -> ScheduleState:
    """What is known of the schedule as soon as it meets the condition."""
    while not condition(state := await schedule.describe()):
        await asyncio.sleep(0.05)
    return state


if __name__ == "__main__":
    asyncio.run(main())
