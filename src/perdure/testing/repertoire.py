"""The workflows and activities that perform programs, in a good and in a bad version of their code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

import perdure
from perdure import (
    Retry,
    Transaction,
    activity_context,
    continue_as_new,
    on_update,
    patched,
    raise_event,
    set_state,
    set_status,
    wait_for_event,
    workflow_context,
)
from perdure.codec import PLAIN, Writer
from perdure.errors import ActivityFailed, ApplicationError, ChildWorkflowFailed
from perdure.history.actions import Action
from perdure.sdk.activity import Activity, StreamActivity
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions
from perdure.sdk.options import call_options
from perdure.sdk.queues import Queue, Rate
from perdure.sdk.run import Run
from perdure.sdk.saga import Saga
from perdure.sdk.workflow import Workflow
from perdure.testing.actor_laws import ActorLaws
from perdure.testing.ledger import Ledger
from perdure.testing.programs import (
    ATTEMPTS_MAX,
    YIELDED,
    YIELDING,
    Broken,
    Chain,
    Child,
    Compensated,
    Effect,
    Event,
    How,
    InTime,
    Missed,
    Overdue,
    Program,
    Quickest,
    Rolled,
    Sent,
    Sleep,
    Step,
    Together,
)
from perdure.testing.topic_laws import TopicLaws

FAR_SECONDS = 100_000.0
SOON_SECONDS = 0.7


class Stage:
    """Where the definitions play: what they need of the world that runs now."""

    ledger: Ledger
    topics: TopicLaws
    actors: ActorLaws
    end_node: Callable[[], bool]
    """End the node that calls; False, and nothing happens, if the code of killers was repaired."""
    here: Callable[[], Client]
    """A client of the node whose code runs."""

    @property
    def client(self) -> Client:
        return self.here()

    @property
    def definitions(self) -> Definitions:
        return definitions(good=True)

    @property
    def writer(self) -> Writer:
        return PLAIN


STAGE = Stage()


# -- activities ---------------------------------------------------------------------------------------------


def activity_begins(mark: int, how: How) -> Any:
    context = activity_context()
    STAGE.ledger.begin(context.instance_id, context.idempotency_key, context.attempt, mark, ATTEMPTS_MAX.get(how, 1))
    return context


def activity_ends(mark: int, *, is_whole: bool = True) -> int:
    context = activity_context()
    STAGE.ledger.end(context.instance_id, context.idempotency_key, context.attempt, is_whole=is_whole)
    return mark


async def ok(mark: int) -> int:
    activity_begins(mark, How.OK)
    return activity_ends(mark)


async def slow(mark: int) -> int:
    activity_begins(mark, How.SLOW)
    await asyncio.sleep((0.01, 0.4, 2.0)[mark % 3])
    return activity_ends(mark)


def thread(mark: int) -> int:
    activity_begins(mark, How.THREAD)
    return activity_ends(mark)


async def flaky(mark: int) -> int:
    context = activity_begins(mark, How.FLAKY)
    await asyncio.sleep(0.01)
    if context.attempt <= mark % 4:
        raise ValueError(f"attempt {context.attempt} of {mark}")
    return activity_ends(mark)


async def beats(mark: int) -> int:
    context = activity_begins(mark, How.BEATS)
    if context.attempt == 1:
        context.heartbeat(mark)
        raise ValueError("after the heartbeat")
    if context.last_details(int) != mark:
        raise ApplicationError(f"the heartbeat said {context.last_details()!r}, not {mark}", retryable=False)
    return activity_ends(mark)


async def fails(mark: int) -> int:
    activity_begins(mark, How.FAILS)
    raise ValueError(f"{mark} always fails")


async def overdue(mark: int) -> int:
    activity_begins(mark, How.OVERDUE)
    await asyncio.sleep(FAR_SECONDS)
    return activity_ends(mark)


async def silent(mark: int) -> int:
    activity_begins(mark, How.SILENT)
    await asyncio.sleep(FAR_SECONDS)
    return activity_ends(mark)


async def yields(mark: int) -> AsyncIterator[int]:
    """Goes on where the attempt before has stopped; the first two stop half way, perhaps before they yield."""
    context = activity_begins(mark, How.YIELDS)
    for offset in range(context.stream_offset, YIELDED):
        if offset == (mark + 2 * context.attempt) % YIELDED and context.attempt < 3:
            raise ValueError(f"attempt {context.attempt} of {mark}")
        await asyncio.sleep((0.0, 0.01, 0.4)[mark % 3])
        yield mark + offset
    activity_ends(mark, is_whole=False)


def draws(mark: int) -> Iterator[int]:
    """Yields the same whenever it is run, and leaves out what is there."""
    context = activity_begins(mark, How.DRAWS)
    yield from range(mark + context.stream_offset, mark + YIELDED)
    activity_ends(mark, is_whole=False)


async def hangs(mark: int) -> int:
    activity_begins(mark, How.OK)
    await asyncio.sleep(FAR_SECONDS)
    return activity_ends(mark)


async def deadly(mark: int) -> int:
    activity_begins(mark, How.OK)
    if STAGE.end_node():
        await asyncio.get_running_loop().create_future()
    return activity_ends(mark)


def retry_of(how: How) -> Retry:
    return Retry(max_attempts=ATTEMPTS_MAX[how], initial_interval=0.2, backoff=2.0, jitter=0.2)


ACTIVITIES: dict[How, Activity[[int], int]] = {
    How.OK: Activity(ok, "ok", call_options(None, None, None)),
    How.SLOW: Activity(slow, "slow", call_options(None, None, None)),
    How.THREAD: Activity(thread, "thread", call_options(None, None, None)),
    How.FLAKY: Activity(flaky, "flaky", call_options(retry_of(How.FLAKY), None, None)),
    How.BEATS: Activity(beats, "beats", call_options(retry_of(How.BEATS), None, 5.0)),
    How.FAILS: Activity(fails, "fails", call_options(retry_of(How.FAILS), None, None)),
    How.OVERDUE: Activity(overdue, "overdue", call_options(retry_of(How.OVERDUE), 0.5, None)),
    How.SILENT: Activity(silent, "silent", call_options(None, None, 0.5)),
    How.YIELDS: StreamActivity(yields, "yields", call_options(retry_of(How.YIELDS), None, 5.0)),
    How.DRAWS: StreamActivity(draws, "draws", call_options(None, None, None)),
}


def deposit(db: Transaction, teller: str, mark: int) -> int:
    """Fails on some attempts, after it has written."""
    db.execute("create table if not exists deposit (teller text, mark integer)")
    db.execute("insert into deposit values (?, ?)", (teller, mark))
    if mark % 3 >= activity_context().attempt:
        raise ValueError(mark)
    return mark


def balance(db: Transaction, teller: str) -> int:
    ((total,),) = db.execute("select sum(mark) from deposit where teller = ?", (teller,))
    return int(total)


NARROW = Queue("narrow", concurrency=2, per_key=1, rate=Rate(4, per=3.0))
SINGLE = Queue("single", concurrency=1)
HANGS: Activity[[int], int] = Activity(hangs, "hangs", call_options(None, None, None))
DEPOSIT: Activity[[str, int], int] = Activity(
    deposit, "deposit", call_options(retry_of(How.FLAKY), None, None), is_transaction=True
)
IN_LINE = DEPOSIT.with_options(queue=SINGLE)
BALANCE: Activity[[str], int] = Activity(balance, "balance", call_options(None, None, None), is_transaction=True)
DEADLY: Activity[[int], int] = Activity(deadly, "deadly", call_options(None, None, None))


# -- performing a step --------------------------------------------------------------------------------------


async def perform(step: Step) -> int:  # noqa: PLR0912 - a case for each step
    """The result of a step; see `programs.expected`."""
    match step:
        case Effect():
            return await _effect(step)
        case Sleep(seconds=seconds):
            await asyncio.sleep(seconds)
            return 1
        case Event(name=name):
            return int(await wait_for_event(name, int))
        case Sent(name=name, value=value):
            raise_event(workflow_context().instance_id, name, value)
            return int(await wait_for_event(name.upper(), int))
        case Missed(name=name, seconds=seconds):
            return await _missed(name, seconds)
        case Rolled(mark=mark):
            return await _rolled(mark)
        case Child():
            return await _child(step)
        case Chain(parts=parts):
            return sum([await perform(part) for part in parts])
        case Together():
            return sum((place + 1) * value for place, value in enumerate(await _together(step)))
        case Quickest():
            return await _quickest(step)
        case Broken(mark=mark):
            return await _broken(mark)
        case InTime(body=body):
            async with asyncio.timeout(FAR_SECONDS):
                return await perform(body)
        case Overdue(mark=mark):
            return await _overdue(mark)
        case Compensated():
            return await _compensated(step)


async def _effect(step: Effect) -> int:
    try:
        value = await ACTIVITIES[step.how](step.mark)
        return step.mark + value - YIELDED if step.how in YIELDING else value
    except ActivityFailed:
        return -step.mark


async def _missed(name: str, seconds: float) -> int:
    try:
        async with asyncio.timeout(seconds):
            await wait_for_event(name)
    except TimeoutError:
        return -3
    return 0


async def _rolled(mark: int) -> int:
    for _ in range(perdure.random().randrange(4)):
        await ACTIVITIES[How.OK](mark)
    set_status({"rolled": str(perdure.uuid4()), "at": perdure.now().isoformat()})
    return 5


async def _child(step: Child) -> int:
    here, what = workflow_context(), Program(step.body, fails=step.fails)
    child: Any = PROGRAM
    arguments: tuple[Any, ...] = (what, 0)
    if here.name == ERRAND.name:
        child, arguments = ERRAND, (Errand(what),)
    if step.detached:
        await child.with_options(id=f"{here.instance_id}~{step.mark}.{here.run}").start(*arguments)
        return 0
    try:
        return int(await child(*arguments)) + 1
    except ChildWorkflowFailed:
        return -step.mark


async def _together(step: Together) -> list[int]:
    if step.way == "group":
        async with asyncio.TaskGroup() as group:
            members = [group.create_task(perform(part)) for part in step.parts]
        return [member.result() for member in members]
    tasks = [asyncio.create_task(perform(part)) for part in step.parts]
    try:
        if step.way == "gather":
            return list(await asyncio.gather(*tasks))
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]
    finally:
        await _put_away(*tasks)


async def _quickest(step: Quickest) -> int:
    quick = asyncio.create_task(perform(step.quick))
    hanging = asyncio.create_task(HANGS(step.mark))
    try:
        await asyncio.wait((quick, hanging), return_when=asyncio.FIRST_COMPLETED)
        return quick.result()
    finally:
        await _put_away(quick, hanging)


async def _put_away(*tasks: asyncio.Task[int]) -> None:
    """Cancel what is not done, and let it unwind: a run that ends earlier takes its compensations along."""
    for task in tasks:
        if not task.cancelling():  # because a second cancellation would cut a compensation short
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _broken(mark: int) -> int:
    result = 0
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HANGS(mark))
            group.create_task(ACTIVITIES[How.FAILS](mark))
            group.create_task(asyncio.sleep(FAR_SECONDS))
    except* ActivityFailed:
        result = -7
    return result


async def _overdue(mark: int) -> int:
    try:
        async with asyncio.timeout(SOON_SECONDS):
            await HANGS(mark)
    except TimeoutError:
        return -3
    return 0


async def _compensated(step: Compensated) -> int:
    await ACTIVITIES[How.OK](step.enter)
    if step.way == "saga":
        return await _undone_by_saga(step)
    try:
        return await perform(step.body)
    finally:
        await ACTIVITIES[How.OK](step.undo)


async def _undone_by_saga(step: Compensated) -> int:
    try:
        async with Saga() as saga:
            saga.compensate(ACTIVITIES[How.SLOW], step.undo)
            raise _Through(await perform(step.body))
    except _Through as through:
        return through.result


class _Through(Exception):
    """The body has got through; raised, because a saga undoes nothing after a block that ends well."""

    def __init__(self, result: int) -> None:
        super().__init__(result)
        self.result = result


# -- workflows ----------------------------------------------------------------------------------------------


async def program(what: Program, total: int) -> int:
    """Performs a program, a generation for each round; `total` is what earlier rounds gave."""
    if not patched("the only side"):  # which no run has ever passed without it
        await ACTIVITIES[How.OK](0)
    total += await perform(what.body)
    if what.rounds > 1:
        continue_as_new(Program(what.body, what.rounds - 1, what.fails), total, keep_events=True)
    if what.fails:
        raise ValueError("as the program says")
    return total


PROGRAM: Workflow[[Program, int], int] = Workflow(program, "program", STAGE)


class Errand(msgspec.Struct, frozen=True):
    """A program as other SDKs could perform it: one argument, and what earlier rounds gave."""

    what: Program
    total: int = 0


async def errand(asked: Errand) -> int:
    """Performs a program without what only Perdure's own workers can."""
    what = asked.what
    set_status(what.rounds)
    total = asked.total + await perform(what.body)
    if what.rounds > 1:
        continue_as_new(Errand(Program(what.body, what.rounds - 1, what.fails), total), keep_events=True)
    if what.fails:
        raise ValueError("as the program says")
    return total


ERRAND: Workflow[[Errand], int] = Workflow(errand, "errand", STAGE)


class PlainRun(Run):
    """Code whose SDK takes nothing back that it has asked for in an earlier turn."""

    __slots__ = ()

    def _withdraw(self, number: int, action: Action) -> None:
        if not self._sealed:
            self._actions.pop(number, None)


async def listener(ticks: int) -> list[int]:
    """Hears so many ticks; the first that come count."""
    heard = [int(await wait_for_event("tick", int)) for _ in range(ticks)]
    await ACTIVITIES[How.OK](sum(heard))
    return sorted(heard)


async def desk(requests: int) -> list[int]:
    """Doubles so many numbers above 0 by updates, the odd ones slowly, and then ends."""
    served: list[int] = []
    done = asyncio.Event()

    def above_zero(number: int) -> None:
        if number <= 0:
            raise ValueError(number)

    @on_update("serve", validator=above_zero)
    async def serve(number: int) -> int:
        if number % 2:
            await ACTIVITIES[How.SLOW](number)
        served.append(number)
        set_state(len(served))
        if len(served) == requests:
            done.set()
        return 2 * number

    await done.wait()
    return sorted(served)


async def crowd(mark: int) -> int:
    """More calls and children than their queues have slots for."""
    hows = (How.SLOW, How.FLAKY, How.SLOW, How.FLAKY, How.SLOW, How.YIELDS)
    calls = (
        ACTIVITIES[how].with_options(queue=NARROW, key=str(place % 3), priority=place) for place, how in enumerate(hows)
    )
    called = [call(mark + place) for place, call in enumerate(calls)]
    members = [MEMBER.with_options(queue=SINGLE)(mark + place) for place in (6, 7, 8)]
    return sum(await asyncio.gather(*called, *members))


async def member(mark: int) -> int:
    return await ACTIVITIES[How.OK](mark)


MEMBER: Workflow[[int], int] = Workflow(member, "member", STAGE)


async def teller(mark: int) -> int:
    """What lies in the tables in the end, because each deposit happens once, is the sum of all."""
    teller = workflow_context().instance_id
    marks = range(mark, mark + 6)
    await asyncio.gather(*(deposit(teller, one) for one, deposit in zip(marks, (DEPOSIT, IN_LINE) * 3, strict=True)))
    return await BALANCE(teller)


async def ticked(mark: int) -> int:
    """What schedules start: it takes longer than the time between two ticks."""
    return await ACTIVITIES[How.SLOW](mark)


TICKED: Workflow[[int], int] = Workflow(ticked, "ticked", STAGE)


async def killer(mark: int) -> int:
    return await DEADLY(mark)


async def steady(mark: int) -> int:
    total = await ACTIVITIES[How.OK](mark) + await ACTIVITIES[How.SLOW](mark)
    await asyncio.sleep(0.3)
    return total + await ACTIVITIES[How.OK](mark)


async def fickle(mark: int) -> int:
    """Bad code: it leaves something out when it is replayed."""
    total = 0 if workflow_context().is_replaying else await ACTIVITIES[How.OK](mark)
    total += await ACTIVITIES[How.SLOW](mark)
    await asyncio.sleep(0.3)
    return total + await ACTIVITIES[How.OK](mark)


async def patient(mark: int) -> int:
    total = await ACTIVITIES[How.SLOW](mark)
    return total + await ACTIVITIES[How.OK](mark)


async def endless(mark: int) -> int:
    """Bad code: it never comes to rest."""
    total = await ACTIVITIES[How.SLOW](mark)
    while total:
        await asyncio.sleep(0)
    return total


async def lenient(mark: int) -> int:
    heard = await wait_for_event("number")
    return await ACTIVITIES[How.OK](mark) + len(str(heard))


async def strict(mark: int) -> int:
    """Bad code: it expects a number where there is a text."""
    heard = await wait_for_event("number", int)
    return await ACTIVITIES[How.OK](mark) + len(str(heard))


async def late(mark: int) -> int:
    return await ACTIVITIES[How.OK](mark)


TEXT = "seven"
"""What the event `number` carries."""
TROUBLED: dict[str, int] = {"steady": 3, "patient": 2, "lenient": 1, "late": 1}
"""Workflows whose bad version stalls, and how many times the mark the good one returns."""


def definitions(*, good: bool) -> Definitions:
    """The code of a node. The bad version stalls where the good one would go on."""
    made = Definitions()
    steps: tuple[Activity[..., Any], ...] = (DEPOSIT, BALANCE)
    for activity in (*ACTIVITIES.values(), HANGS, DEADLY, *steps):
        made.add(activity)
    made.add(PROGRAM)
    made.add(ERRAND)
    made.add(Workflow(teller, "teller", STAGE))
    made.add(TICKED)
    made.add(Workflow(crowd, "crowd", STAGE))
    made.add(MEMBER)
    made.add(Workflow(killer, "killer", STAGE))
    made.add(Workflow(listener, "listener", STAGE))
    made.add(Workflow(desk, "desk", STAGE))
    made.add(Workflow(steady if good else fickle, "steady", STAGE))
    made.add(Workflow(patient if good else endless, "patient", STAGE))
    made.add(Workflow(lenient if good else strict, "lenient", STAGE))
    if good:
        made.add(Workflow(late, "late", STAGE))
    return made
