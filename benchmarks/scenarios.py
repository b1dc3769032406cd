"""What is measured inside one fresh process: each scenario does its work once and returns one sample."""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from benchmarks.load import GATE, LATENESS, MARKS, ORDER
from benchmarks.process import Meter, peak_resident_mb, resident_mb
from benchmarks.size import Size

Sample = dict[str, float]
STARTERS = 1_000
FAR_AHEAD = 86_400.0
PATIENCE = 240.0


class Subject(Protocol):
    """An engine that is up and runs the workflows of `benchmarks`."""

    def run(self, workflow: str, id: str, argument: Any) -> Awaitable[Any]: ...


class Starter(Subject, Protocol):
    """An engine that can also start a workflow without waiting for its result."""

    def start(self, workflow: str, id: str, argument: Any) -> Awaitable[Any]: ...


async def one_at(concurrency: int, subject: Subject, size: Size) -> Sample:
    """Workflows of one activity, `concurrency` of them unfinished at any time; per workflow."""
    count = size.one_by_one if concurrency == 1 else size.crowd
    await _warm_up(subject, size)
    with Meter() as meter:
        await each(count, concurrency, lambda number: subject.run("one", f"one-{number}", ORDER))
    return meter.each(count)


async def tuned(subject: Subject, size: Size) -> Sample:
    """A thousand at once in a program that tunes the collector as docs/howto/collector.md shows; per workflow."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return await one_at(1_000, subject, size)


async def sequences(subject: Subject, size: Size) -> Sample:
    """Sequences of steps, all at once; per step."""
    await _warm_up(subject, size)
    with Meter() as meter:
        await asyncio.gather(*(subject.run("sequence", f"s-{n}", size.steps) for n in range(size.sequences)))
    return meter.each(size.sequences * size.steps)


async def lone(subject: Subject, size: Size) -> Sample:
    """Sequences with nothing beside them, one after the other; per step."""
    await _warm_up(subject, size)
    with Meter() as meter:
        for repeat in range(size.lone_repeats):
            await subject.run("sequence", f"lone-{repeat}", size.lone_steps)
    return meter.each(size.lone_repeats * size.lone_steps)


async def stream(subject: Subject, size: Size) -> Sample:
    """Lone sequences of steps and lone streams of as many items, in turn; per step and per item."""
    await _warm_up(subject, size)
    await subject.run("stream", "warm-stream", size.warm_up_steps)
    count = size.lone_steps
    spent = {"sequence": [0.0, 0.0], "stream": [0.0, 0.0]}
    for repeat in range(size.stream_repeats):
        for workflow, clocks in spent.items():
            with Meter() as meter:
                await subject.run(workflow, f"{workflow}-{repeat}", count)
            clocks[0] += meter.cpu / count / size.stream_repeats
            clocks[1] += meter.wall / count / size.stream_repeats
    (step_cpu, step_wall), (item_cpu, item_wall) = spent.values()
    return {"step_cpu_s": step_cpu, "step_wall_s": step_wall, "item_cpu_s": item_cpu, "item_wall_s": item_wall}


async def long_run(subject: Subject, size: Size) -> Sample:
    """One workflow of very many steps; CPU of a step early and late in it."""
    await _warm_up(subject, size)
    MARKS.clear()
    await subject.run("long_run", "long", size.late_steps[1] + 1)
    return {"early_s": MARKS.per_step(*size.early_steps), "late_s": MARKS.per_step(*size.late_steps)}


async def wide_run(subject: Subject, size: Size) -> Sample:
    """Fan-outs of several widths; CPU of one further call of a narrow one, and of a wide one."""
    await _warm_up(subject, size)
    cost = partial(_cost_of_width, subject)
    few, some = size.early_calls
    many, more = size.late_calls
    narrow = await cost(some, size.early_repeats) - await cost(few, size.early_repeats)
    # Wide, wider, wider, wide, so that a file that has grown meanwhile weighs on both alike.
    costs = [await cost(width, 1, tag) for tag, width in enumerate((many, more, more, many))]
    wide = (costs[1] + costs[2] - costs[0] - costs[3]) / 2
    return {"early_s": narrow / (some - few), "late_s": wide / (more - many)}


async def fan_out(subject: Subject, size: Size) -> Sample:
    """One workflow that calls many activities at once; the median of several, per workflow."""
    await _warm_up(subject, size)
    meters = []
    for repeat in range(size.fan_out_repeats):
        with Meter() as meter:
            await subject.run("fan_out", f"fan-{repeat}", size.fan_out)
        meters.append(meter)
    return {
        "wall_s": statistics.median(meter.wall for meter in meters),
        "cpu_s": statistics.median(meter.cpu for meter in meters),
        "count": size.fan_out,
    }


async def hold(subject: Starter, size: Size) -> Sample:
    """Start workflows whose second activity never ends; all of them are in it when this returns."""
    await each(size.in_flight, STARTERS, lambda number: subject.start("in_flight", f"held-{number}", number))
    await GATE.everyone(size.in_flight, PATIENCE)
    return {"count": size.in_flight}


async def leave(subject: Starter, size: Size) -> Sample:
    """Start workflows that wait for what never comes, behind two activities; all of them are there."""
    await each(size.in_flight, STARTERS, lambda number: subject.start("unfinished", f"left-{number}", number))
    await GATE.everyone(size.in_flight, PATIENCE)
    return {"count": size.in_flight}


async def wake(subject: Starter, size: Size) -> Sample:
    """After the crash of `hold`: when, by the monotonic clock, the last second activity had begun again."""
    await GATE.everyone(size.in_flight, PATIENCE)
    if GATE.repeated:
        raise RuntimeError(f"{GATE.repeated} activities ran again although their completion was durable")
    return {"last_at_s": GATE.last_entered_at, "cpu_s": time.process_time(), "peak_mb": peak_resident_mb()}


async def sleepers(subject: Starter, size: Size) -> Sample:
    """Very many workflows asleep, of which some then fall due at a steady rate; memory, and lateness."""
    far = time.time() + FAR_AHEAD
    with Meter() as starting:
        await each(
            size.asleep - size.falling_due, STARTERS, lambda number: subject.start("sleeper", f"far-{number}", far)
        )
    lead = 2 * starting.wall * size.falling_due / (size.asleep - size.falling_due) + size.settle + 5
    first = time.time() + lead
    due = [first + number / size.due_per_second for number in range(size.falling_due)]
    await each(size.falling_due, STARTERS, lambda number: subject.start("sleeper", f"near-{number}", due[number]))
    await asyncio.sleep(size.settle)
    asleep_mb = resident_mb()
    if time.time() > first or LATENESS.seconds:
        raise RuntimeError("starting took so long that timers fell due before memory was read")
    await _all_awake(size.falling_due, due[-1])
    late = sorted(LATENESS.seconds)
    return {
        "asleep_mb": asleep_mb,
        "peak_mb": peak_resident_mb(),
        "start_cpu_s": starting.cpu,
        "late_max_s": late[-1],
        "late_median_s": statistics.median(late),
        "early_max_s": max(-late[0], 0.0),
    }


async def idle(subject: Subject, size: Size) -> Sample:
    """An engine with nothing to do; its memory, and the CPU it spends per second."""
    with Meter() as meter:
        await asyncio.sleep(size.settle)
    return {"resident_mb": resident_mb(), "cpu_share": meter.cpu / meter.wall}


async def _warm_up(subject: Subject, size: Size) -> None:
    """Run a little of each kind first.

    Because first calls import and prepare, and because until its first checkpoint the store's log grows,
    which costs the kernel more than writing over it: without this, early steps look dear and hide a growth.
    """
    await each(size.warm_up, 50, lambda number: subject.run("one", f"warm-{number}", ORDER))
    await subject.run("long_run", "warm-long", size.warm_up_steps)


async def each(count: int, concurrency: int, act: Callable[[int], Awaitable[Any]]) -> None:
    """Await `act` of every number below `count`, `concurrency` of them at a time."""
    numbers = iter(range(count))

    async def take_turns() -> None:
        for number in numbers:
            await act(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(concurrency, count)):
            tasks.create_task(take_turns())


async def _cost_of_width(subject: Subject, width: int, repeats: int, tag: int = 0) -> float:
    """Mean CPU seconds of one fan-out of `width` calls, from its start to its result."""
    with Meter() as meter:
        for repeat in range(repeats):
            await subject.run("fan_out", f"wide-{width}-{tag}-{repeat}", width)
    return meter.cpu / repeats


async def _all_awake(count: int, last_due: float) -> None:
    deadline = last_due + PATIENCE
    while len(LATENESS.seconds) < count:
        if time.time() > deadline:
            raise TimeoutError(f"{len(LATENESS.seconds)} of {count} timers fired")
        await asyncio.sleep(0.1)


IN_PROCESS: dict[str, Callable[[Any, Size], Awaitable[Sample]]] = {
    "one_at_1": partial(one_at, 1),
    "one_at_100": partial(one_at, 100),
    "one_at_1000": partial(one_at, 1_000),
    **{
        scenario.__name__: scenario
        for scenario in (tuned, sequences, lone, stream, long_run, wide_run, fan_out, hold, leave, wake, sleepers, idle)
    },
}
