"""The orders of a simulated world: who publishes them, what handles them, and how one order starts one run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from perdure import CloudEvent, Verdict, continue_as_new, publish, wait_for_event
from perdure.codec import encode, encode_arguments
from perdure.history.events import MessagePublished
from perdure.history.subscribing import SubscribeOptions
from perdure.sdk.activity import Activity
from perdure.sdk.definitions import Definitions
from perdure.sdk.options import call_options
from perdure.sdk.subscriptions import handling, raising, starting
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Status
from perdure.testing.programs import How
from perdure.testing.repertoire import ACTIVITIES, FAR_SECONDS, STAGE, activity_begins, activity_ends, retry_of
from perdure.testing.scenario import Command, Role
from perdure.testing.topic_laws import ATTEMPTS_MAX, LETTERS, ORDERS, Letter, Order

WAYS = ("ok", "ok", "ok", "slow", "flaky", "stuck", "poison", "dropped")
"""How the handling of an order goes: `flaky` succeeds after some attempts, `stuck` is found out by its timeout,
`poison` never succeeds, `dropped` is given up at once."""
FAILS_FIRST = 2
"""Attempts of an order that is flaky which fail."""
HANDLE_SECONDS = 20.0
"""Longer than any node is frozen."""
PATIENT = SubscribeOptions(attempts_max=100, initial_interval=0.3, max_interval=5.0)
"""Of groups that give nothing up, whatever the store does."""
STRICT = replace(PATIENT, attempts_max=ATTEMPTS_MAX, dead_letter=LETTERS, timeout=HANDLE_SECONDS, in_hand_max=2)
EXTRA_SECONDS = 3.0
"""How long a merchant waits for what must not come."""


# -- who handles ------------------------------------------------------------------------------------------------------


async def handle(order: Order, event: CloudEvent) -> Verdict:
    """Tell of an order in the turn that is done with it."""
    run = STAGE.topics.begin("handle", event)
    try:
        verdict = await _handled(order, run)
    except BaseException:
        STAGE.topics.end("handle", event, Verdict.RETRY)
        raise
    STAGE.topics.end("handle", event, verdict)
    return verdict


async def _handled(order: Order, run: int) -> Verdict:
    await asyncio.sleep(0.4 if order.way == "slow" else 0.0)
    fails = order.way == "poison" or (order.way == "flaky" and run <= FAILS_FIRST)
    if order.way == "dropped":
        return Verdict.DROP
    if order.way == "stuck" and run == 1:
        await asyncio.sleep(FAR_SECONDS)
    if not order.again:
        await publish(LETTERS, Letter(order.mark, order.to, doomed=fails), key=order.to)
    if fails:
        raise ValueError(f"attempt {run} of {order.mark}")
    return Verdict.SUCCESS


def read(letter: Letter, event: CloudEvent) -> None:
    """Handle what nobody waits for, in a thread."""
    STAGE.topics.begin("read", event)
    STAGE.topics.end("read", event, Verdict.SUCCESS)


async def ordered(order: Order) -> int:
    """What an order starts."""
    return await ACTIVITIES[How.OK](order.mark)


# -- who publishes ----------------------------------------------------------------------------------------------------


async def place(order: Order) -> int:
    """Publish an order with the outcome of the attempt that succeeds; those that fail publish too, in vain."""
    context = activity_begins(order.mark, How.FLAKY)
    await asyncio.sleep(0.01)
    fails = context.attempt <= order.mark % 3
    await publish(ORDERS, Order(order.mark, order.to, order.way, order.key, doomed=fails), key=order.key)
    if fails:
        raise ValueError(f"attempt {context.attempt} of {order.mark}")
    return activity_ends(order.mark)


async def merchant(orders: list[Order], count: int) -> list[int]:
    """Publishes orders in its turns and through attempts, hears of `count` orders in the next run, and of no more."""
    for order in orders:
        if order.sequence:
            await publish(ORDERS, order, key=order.key)
            if order.mark % 2:
                await ACTIVITIES[How.OK](order.mark)
        else:
            await PLACE(order)
    if orders:
        continue_as_new([], count, keep_events=True)
    heard = [(await wait_for_event("told", Letter)).mark for _ in range(count)]
    try:
        async with asyncio.timeout(EXTRA_SECONDS):
            heard.append((await wait_for_event("told", Letter)).mark)
    except TimeoutError:
        pass
    return sorted(heard)


PLACE: Activity[[Order], int] = Activity(place, "place", call_options(retry_of(How.FLAKY), None, None))
ORDERED: Workflow[[Order], int] = Workflow(ordered, "ordered", STAGE)


def add_to(made: Definitions, *, good: bool) -> None:
    """Let the code of a node deal with orders. The bad version has activities alone."""
    made.add(PLACE)
    if not good:
        return
    made.add(ORDERED)
    made.add(Workflow(merchant, "merchant", STAGE))
    made.subscribe(handling(ORDERS, "handle", STRICT, handle))
    made.subscribe(starting(ORDERS, "start", PATIENT, ORDERED, "order-{data.mark}"))
    made.subscribe(handling(LETTERS, "read", PATIENT, read))
    made.subscribe(raising(LETTERS, "tell", PATIENT, "told", "data.to"))


# -- the roles of a world ---------------------------------------------------------------------------------------------


def merchants(chance: random.Random) -> tuple[list[Role], list[Order]]:
    """One or two, and all orders of theirs and of their clients."""
    roles, orders = [], []
    for number in range(chance.choice((1, 1, 2))):
        own, others = _orders(chance, f"merchant-{number}", 6_100 + 100 * number)
        roles.append(_role(chance, f"merchant-{number}", own, others))
        orders += [*own, *others]
    return roles, orders


def _orders(chance: random.Random, to: str, mark: int) -> tuple[list[Order], list[Order]]:
    """A merchant's own, one after the other in its turns or through attempts, and those of its clients."""
    own: list[Order] = []
    others: list[Order] = []
    sequences = {"a": 0, "b": 0}
    for number in range(mark, mark + chance.choice((2, 4, 8))):
        key, way = chance.choice(("a", "a", "b")), chance.choice(WAYS)
        match chance.choice(("turn", "turn", "attempt", "client", "clients")):
            case "turn":
                sequences[key] += 1
                own.append(Order(number, to, way, key, sequences[key]))
            case "attempt":
                own.append(Order(number, to, way, key))
            case "client":
                others.append(Order(number, to, way, key))
            case _:
                others += [Order(number, to, way, key), Order(number, to, "ok", key, again=True)]
    return own, others


def _role(chance: random.Random, id: str, own: Sequence[Order], others: Sequence[Order]) -> Role:
    commands = [Command(chance.choice((0.0, 0.2, 1.5)), _publishes(order)) for order in others]
    marks = sorted(order.mark for order in (*own, *others) if not order.again)
    return Role(
        id,
        "merchant",
        encode_arguments((list(own), len(marks)), {}),
        {Status.COMPLETED: marks},
        tuple(sorted(commands, key=lambda command: command.at)),
    )


def _publishes(order: Order) -> Callable[[int], MessagePublished]:
    return partial(_message, order)


def _message(order: Order, at: int) -> MessagePublished:
    id = f"{order.mark}{' again' if order.again else ''}"
    return MessagePublished(at=at, topic=ORDERS, id=id, data=encode(order), key=order.key, source="client")
