"""The canonical workflows: one of each kind, small enough to fail at every operation of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from perdure import Actor, CloudEvent, continue_as_new, on_update, publish, send, wait_for_event
from perdure.blocks.actors.registering import registered
from perdure.clock import SECOND
from perdure.codec import encode, encode_arguments
from perdure.errors import ActivityFailed, ActorFailed
from perdure.history.events import (
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateRequested,
)
from perdure.history.subscribing import DEFAULTS
from perdure.scheduler.schedule import Kept, Progress, Spec
from perdure.scheduler.ticks import Calendar
from perdure.sdk.definitions import Definitions
from perdure.sdk.generator import WorkflowContext, when_all
from perdure.sdk.scheduling import BUILT_IN
from perdure.sdk.scheduling import NAME as SCHEDULE
from perdure.sdk.subscriptions import handling, raising, starting
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Status
from perdure.testing.loop import START
from perdure.testing.programs import YIELDED, How
from perdure.testing.repertoire import ACTIVITIES, BALANCE, DEPOSIT, HANGS, NARROW, SINGLE, STAGE, teller
from perdure.testing.scenario import Command, Role

OK, SLOW, FLAKY, FAILS, THREAD = (ACTIVITIES[how] for how in (How.OK, How.SLOW, How.FLAKY, How.FAILS, How.THREAD))
YIELDS, DRAWS = ACTIVITIES[How.YIELDS], ACTIVITIES[How.DRAWS]


async def chaining(mark: int) -> int:
    return await OK(mark) + await THREAD(mark + 1) + await SLOW(mark + 2)


async def fan_out(mark: int) -> int:
    return sum(await asyncio.gather(*(SLOW(mark + place) for place in range(5))))


async def parent(mark: int) -> int:
    first = await CHAINING(mark)
    return first + await CHAINING.with_options(id="named child")(mark)


async def detaching(mark: int) -> int:
    handle = await CHAINING.with_options(id="detached child").start(mark)
    return await OK(mark) + len(handle.id)


async def timer(mark: int) -> int:
    await asyncio.sleep(0.5)
    value = await OK(mark)
    await asyncio.sleep(40.0)
    return value


async def early_event(mark: int) -> int:
    await asyncio.sleep(1.0)
    return int(await wait_for_event("go", int)) + int(await wait_for_event("GO", int)) * 10 + await OK(mark)


async def missed_event(mark: int) -> int:
    try:
        async with asyncio.timeout(0.5):
            await wait_for_event("never")
    except TimeoutError:
        async with asyncio.timeout(1_000):
            return int(await wait_for_event("go", int)) + await OK(mark)
    return 0


async def retried(mark: int) -> int:
    return await FLAKY(mark)


async def exhausted(mark: int) -> int:
    try:
        return await FAILS(mark)
    except ActivityFailed as error:
        return -error.attempt


async def continuing(rounds: int, heard: list[int]) -> list[int]:
    """Each round hears one event; events must come in the order in which they were raised."""
    await asyncio.sleep(0.3)
    heard = [*heard, int(await wait_for_event("go", int))]
    await OK(100 + rounds)
    if rounds > 1:
        continue_as_new(rounds - 1, heard, keep_events=True)
    return heard


async def compensating(mark: int) -> int:
    await OK(mark)
    try:
        await OK(mark + 1)
        await HANGS(mark + 2)
    finally:
        await OK(mark + 3)
        await OK(mark + 4)
    return mark


async def updated(mark: int) -> int:
    """Answers two updates, the second one after a continue-as-new, which the first one may go along with."""
    last = asyncio.Event()

    @on_update("serve")
    async def serve(number: int) -> int:
        await OK(mark + number)
        if number == 2:
            last.set()
        return 2 * number

    if mark == 7:
        await asyncio.sleep(0.5)
        continue_as_new(8)
    await last.wait()
    return mark


async def streaming(mark: int) -> int:
    """Two streams of five items, one of which takes three attempts, and one that is given up half way."""
    count = sum(await asyncio.gather(YIELDS(mark), DRAWS(mark + 1)))
    try:
        async with asyncio.timeout(1.0):
            await YIELDS(mark + 1)
    except TimeoutError:
        return count + await OK(mark)
    return 0


async def queued(mark: int) -> int:
    """Waits for slots with calls, one of which is tried again, and with a child."""
    calls = [OK, SLOW, FLAKY, OK]
    called = [call.with_options(queue=NARROW, key=str(place % 2))(mark + place) for place, call in enumerate(calls)]
    children = [CHAINING.with_options(queue=SINGLE)(mark) for _ in range(2)]
    return sum(await asyncio.gather(*called, *children))


async def suspended(mark: int) -> int:
    total = await SLOW(mark)
    await asyncio.sleep(0.2)
    return total + await OK(mark + 1)


async def stopped(mark: int) -> int:
    return await HANGING(mark) + await OK(mark)


async def hanging(mark: int) -> int:
    return await HANGS(mark)


async def grouped(mark: int) -> int:
    result = 0
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(OK(mark))
            group.create_task(FAILS(mark + 1))
            group.create_task(HANGS(mark + 2))
            group.create_task(asyncio.sleep(500))
    except* ActivityFailed as errors:
        result = len(errors.exceptions)
    return result + await OK(mark + 3)


class Vault(Actor):
    """A method changes its state, sends messages and sets a reminder, all in one turn or none of it."""

    gold: int = 0
    reminded: int = 0

    async def put(self, amount: int) -> int:
        self.gold += amount
        return self.gold

    async def hand(self, to: str, amount: int) -> int:
        await send(Vault(to).put, amount)
        await send(Vault(to).with_options(delay=0.3).put, amount)
        self.remind(self.top_up, due=0.5, args=(to,))
        self.gold -= amount
        if self.gold < 0:
            raise ValueError(f"{-self.gold} is missing")
        return self.gold

    async def top_up(self, to: str) -> None:
        await send(Vault(to).put, 100)
        self.reminded += 1

    async def read(self) -> tuple[int, int]:
        return self.gold, self.reminded


async def banking(mark: int) -> list[int]:
    """Puts, hands over, fails to, and waits until everything has come that must, and no more."""
    source, target = Vault("source"), Vault("target")
    await source.put(70)
    left = await source.hand("target", mark)
    with suppress(ActorFailed):
        left += await source.hand("target", 1_000)
    while (await target.read())[0] < 2 * mark + 100:
        await asyncio.sleep(0.5)
    await asyncio.sleep(2.0)  # because what should not come might
    return [left, (await source.read())[1], (await target.read())[0]]


async def publishing(mark: int) -> int:
    """What it publishes is handled, published on, and comes back to it as an event: once."""
    await publish("asked", mark, key="publishing")
    answer: int = await wait_for_event("answered", int)
    try:
        async with asyncio.timeout(20.0):
            return -(await wait_for_event("answered", int))
    except TimeoutError:
        return answer


async def answer(mark: int, event: CloudEvent) -> None:
    """Handles a question: it publishes the answer in the turn that comes past the question."""
    await publish("answers", mark + 1, key=event.key)


def generated(ctx: WorkflowContext, mark: int) -> Generator[Any, Any, int]:
    first = yield ctx.call_activity(OK, input=mark)
    both = yield when_all([ctx.call_activity(SLOW, input=mark + 1), ctx.call_child_workflow(CHAINING, input=mark + 2)])
    heard = yield ctx.wait_for_external_event("go")
    return int(first + sum(both) + heard)


CHAINING: Workflow[[int], int] = Workflow(chaining, "chaining", STAGE)
HANGING: Workflow[[int], int] = Workflow(hanging, "hanging", STAGE)


def _go(value: int) -> Callable[[int], Any]:
    return lambda at: EventRaised(at=at, name="Go", data=encode(value))


def _asks(value: int) -> Callable[[int], Any]:
    return lambda at: UpdateRequested(at=at, key=f"asked {value}", name="serve", data=encode(value))


def _role(
    function: Callable[..., Any],
    value: Any,
    *commands: Command,
    input: tuple[Any, ...] = (7,),
    status: Status = Status.COMPLETED,
) -> tuple[str, Role]:
    name = function.__name__
    return name, Role(name, name, encode_arguments(input, {}), {status: value}, commands)


TICKS = range(1, 6)
"""When the canonical schedule ticks, in seconds since the world began."""


def _schedule() -> Role:
    """A schedule of a few ticks, each of which starts one run; it is ended after them."""
    calendar = Calendar(every=SECOND, start=START + TICKS.start * SECOND, end=START + TICKS.stop * SECOND)
    spec = Spec(workflow="retried", input=encode_arguments((7,), {}), calendar=calendar, overlap="allow")
    kept = Kept(id="scheduled", spec=spec, progress=Progress(next=calendar.start))
    end = Command(7.0, lambda at: RunTerminated(at=at))
    return Role("scheduled", SCHEDULE, encode_arguments((kept,), {}), {Status.TERMINATED: None}, (end,))


CHAIN = 7 + 8 + 9
ROLES: dict[str, Role] = dict(
    (
        _role(chaining, CHAIN),
        _role(fan_out, 7 + 8 + 9 + 10 + 11),
        _role(parent, 2 * CHAIN),
        _role(detaching, 7 + len("detached child")),
        _role(timer, 7),
        _role(early_event, 1 + 20 + 7, Command(0.0, _go(1)), Command(2.0, _go(2))),
        _role(missed_event, 3 + 7, Command(1.5, _go(3))),
        _role(retried, 7),
        _role(exhausted, -2),
        _role(continuing, [1, 2, 3], *(Command(0.0, _go(value)) for value in (1, 2, 3)), input=(3, [])),
        _role(compensating, None, Command(1.0, lambda at: RunCancelRequested(at=at)), status=Status.CANCELED),
        _role(updated, 8, Command(0.1, _asks(1)), Command(2.0, _asks(2))),
        _role(streaming, 2 * YIELDED + 7),
        _role(queued, 7 + 8 + 9 + 10 + 2 * CHAIN),
        _role(
            suspended,
            15,
            Command(0.0, lambda at: RunSuspended(at=at)),
            Command(3.0, lambda at: RunResumed(at=at)),
        ),
        _role(
            stopped,
            None,
            Command(1.0, lambda at: RunTerminated(at=at, recursive=True)),
            status=Status.TERMINATED,
        ),
        _role(grouped, 1 + 10),
        _role(generated, 7 + 8 + 9 + 10 + 11 + 5, Command(0.0, _go(5))),
        ("scheduled", _schedule()),
    )
)
"""One instance of each, with what is sent to it and what it must give."""
OF_DATABASES: dict[str, Role] = dict([_role(teller, sum(range(7, 13)))])
"""The same of those whose steps commit with their results."""


OF_TOPICS: dict[str, Role] = dict([_role(publishing, 8)])
"""The same of those that need the subscriptions of `subscribed`."""


OF_ACTORS: dict[str, Role] = dict([_role(banking, [63, 1, 7 + 7 + 100])])
"""The same of those that need the actors of `banked`."""


def banked() -> Definitions:
    """What the canonical bank needs: its vaults."""
    made = definitions()
    made.add(Workflow(banking, "banking", STAGE))
    made.add_actor(Vault._perdure if "_perdure" in vars(Vault) else registered(Vault, STAGE, None, None))
    return made


def subscribed() -> Definitions:
    """What the canonical publisher needs: its question is answered and starts a workflow, the answer is raised."""
    made = definitions()
    made.add(Workflow(publishing, "publishing", STAGE))
    made.subscribe(handling("asked", None, DEFAULTS, answer))
    made.subscribe(raising("answers", None, DEFAULTS, "answered", "key"))
    made.subscribe(starting("asked", None, DEFAULTS, CHAINING, "started by {key}"))
    return made


def definitions() -> Definitions:
    made = Definitions()
    for activity in (*ACTIVITIES.values(), HANGS):
        made.add(activity)
    functions = (
        fan_out, parent, detaching, timer, early_event, missed_event, retried, exhausted, continuing,
        compensating, updated, queued, streaming, suspended, stopped, grouped, generated,
    )  # fmt: skip
    for function in functions:
        made.add(Workflow(function, function.__name__, STAGE))
    made.add(CHAINING)
    made.add(HANGING)
    for step in (DEPOSIT, BALANCE):
        made.add(step)
    made.add(Workflow(teller, "teller", STAGE))
    made.workflows.update(BUILT_IN)
    made.versions.update({name: {None: workflow} for name, workflow in BUILT_IN.items()})
    return made
