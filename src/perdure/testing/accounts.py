"""The accounts of a simulated world: actors that pay, call, remind and hire, and the bankers that make them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import field
from functools import partial

import msgspec

from perdure import Actor, Retry, activity_context, publish, send
from perdure.blocks.actors.registering import registered
from perdure.codec import encode_arguments
from perdure.errors import ActorFailed
from perdure.history.events import EntityCalled
from perdure.sdk.activity import Activity
from perdure.sdk.definitions import Definitions
from perdure.sdk.options import call_options
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Status
from perdure.testing.actor_laws import CASH, HIRED, PREFIX, REMINDER, Books
from perdure.testing.programs import How
from perdure.testing.repertoire import ACTIVITIES, STAGE, activity_ends
from perdure.testing.scenario import Command, Role
from perdure.testing.topic_laws import STATEMENTS

KEYS = ("a", "b", "c", "d")
"""The accounts of a world. Who calls another calls one that comes after it, because two that call each other wait."""
FUND = 10_000
"""What a banker pays in before it takes from anywhere."""
TOO_MUCH = 1_000_000
ATTEMPTS_MAX = 60
PATIENT = Retry(max_attempts=ATTEMPTS_MAX, initial_interval=0.2, backoff=1.5, max_interval=2.0)
"""Of an activity that calls an account, whose store may be away for long."""
CALL_SECONDS = 3_000.0
"""How long one account waits for another: a call without an answer is a fault of the world."""
IDLE_SECONDS = 0.5
SAVE_SECONDS = 0.7
"""Between two times of a reminder."""
WAYS = ("workflow", "call", "hand", "letter", "activity", "blunder", "overdraw", "boast", "hire", "plan")


class Deal(msgspec.Struct, frozen=True):
    """What a banker does: `amount` from one account to another, or what else `way` says, under the name `mark`."""

    way: str
    source: str
    target: str
    amount: int
    mark: int


class Account(Actor):
    """What a method takes off, sends, publishes, starts and is reminded of is one turn, or nothing."""

    balance: int = 0
    got: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    hired: list[str] = field(default_factory=list)
    plans: int = 0
    saves: int = 0

    async def deposit(self, transfer: str, amount: int) -> int:
        with STAGE.actors.inside(self.key):
            self._take_in(transfer, amount)
            return self.balance

    async def withdraw(self, transfer: str, amount: int) -> int:
        with STAGE.actors.inside(self.key):
            self._take_off(transfer, amount)
            if self.balance < 0:
                raise ValueError(f"{-self.balance} is missing")
            return self.balance

    async def pay(self, to: str, transfer: str, amount: int) -> int:
        """Take off what another has said that it has."""
        with STAGE.actors.inside(self.key):
            self._take_off(transfer, amount)
            await Account(to).with_options(timeout=CALL_SECONDS).deposit(transfer, amount)
            await asyncio.sleep(0.01)
            return self.balance

    async def hand(self, to: str, transfer: str, amount: int) -> None:
        with STAGE.actors.inside(self.key):
            await self._hand(to, transfer, amount)

    async def boast(self) -> None:
        with STAGE.actors.inside(self.key) as run:
            await self._boast(run)

    async def hire(self, mark: int) -> None:
        with STAGE.actors.inside(self.key) as run:
            await self._hire(run, mark)

    async def plan(self, to: str, times: int) -> None:
        """Be reminded so often to hand something over."""
        with STAGE.actors.inside(self.key):
            self._plan(to, times)

    async def save(self, to: str, times: int) -> None:
        with STAGE.actors.inside(self.key):
            self.saves += 1
            await self._hand(to, f"save {self.saves} of {self.key}", 1)
            if self.saves == times:
                self.cancel_reminder(REMINDER)

    async def blunder(self, to: str, transfer: str, amount: int) -> None:
        """All of it, and then it fails."""
        with STAGE.actors.inside(self.key) as run:
            await self._hand(to, transfer, amount)
            await self._boast(run)
            await asyncio.sleep(0.01)
            await self._hire(run, 0)
            self._plan(to, 1)
            raise ValueError("on purpose")

    def _take_in(self, transfer: str, amount: int) -> None:
        self.balance += amount
        self.got[transfer] = self.got.get(transfer, 0) + amount

    def _take_off(self, transfer: str, amount: int) -> None:
        self.balance -= amount
        self.sent[transfer] = self.sent.get(transfer, 0) + amount

    async def _hand(self, to: str, transfer: str, amount: int) -> None:
        self._take_off(transfer, amount)
        await send(Account(to).deposit, transfer, amount)

    async def _boast(self, run: str) -> None:
        self.told.append(run)
        await publish(STATEMENTS, run, key=self.key)

    async def _hire(self, run: str, mark: int) -> None:
        self.hired.append(run)
        await CLERK.with_options(id=HIRED + run).start(mark)

    def _plan(self, to: str, times: int) -> None:
        self.plans += 1
        self.remind(self.save, due=0.3, period=SAVE_SECONDS, args=(to, times))


registered(Account, STAGE, None, IDLE_SECONDS)


async def clerk(mark: int) -> int:
    """What an account starts."""
    return await ACTIVITIES[How.OK](mark)


async def cashier(deal: Deal) -> int:
    """Pay something in; attempts that fail have done so too, under the same request."""
    context = activity_context()
    STAGE.ledger.begin(context.instance_id, context.idempotency_key, context.attempt, deal.mark, ATTEMPTS_MAX)
    await Account(deal.target).deposit(f"{CASH} {deal.mark}", deal.amount)
    if context.attempt <= deal.mark % 3:
        raise ValueError(f"attempt {context.attempt} of {deal.mark}")
    return activity_ends(deal.mark)


async def banker(deals: list[Deal], mark: int, at_once: bool) -> int:
    """Pays in, and makes deals; how many of them were refused."""
    for key in KEYS:
        await Account(key).deposit(f"{CASH} {mark} for {key}", FUND)
    if at_once:
        return sum(await asyncio.gather(*map(_deal, deals)))
    return sum([await _deal(deal) for deal in deals])


async def _deal(deal: Deal) -> int:
    try:
        await _make(deal)
    except ActorFailed:
        return 1
    return 0


async def _make(deal: Deal) -> None:
    source, amount, name = Account(deal.source), deal.amount, f"{deal.way} {deal.mark}"
    match deal.way:
        case "workflow":
            await source.withdraw(name, amount)
            await Account(deal.target).deposit(name, amount)
        case "call":
            await source.pay(deal.target, name, amount)
        case "hand":
            await source.hand(deal.target, name, amount)
        case "letter":
            await send(source.with_options(delay=0.2).hand, deal.target, f"hand {deal.mark}", amount)
        case "activity":
            await CASHIER(deal)
        case "blunder":
            await source.blunder(deal.target, f"hand {deal.mark}", amount)
        case "overdraw":
            await source.withdraw(name, TOO_MUCH)
        case "boast":
            await source.boast()
        case "hire":
            await source.hire(deal.mark)
        case "plan":
            await source.plan(deal.target, amount)


CLERK: Workflow[[int], int] = Workflow(clerk, "clerk", STAGE)
CASHIER: Activity[[Deal], int] = Activity(cashier, "cashier", call_options(PATIENT, None, None))


def add_to(made: Definitions, *, good: bool) -> None:
    """Let the code of a node keep accounts. The bad version has activities alone."""
    made.add(CASHIER)
    if not good:
        return
    made.add_actor(Account._perdure)
    made.add(CLERK)
    made.add(Workflow(banker, "banker", STAGE))


# -- the roles of a world ---------------------------------------------------------------------------------------------


def bankers(chance: random.Random) -> tuple[list[Role], Books]:
    """One or two; their clients pay in too."""
    roles: list[Role] = []
    saves: dict[str, int] = {}
    funds = 0
    for number in range(chance.choice((1, 1, 2))):
        mark = 6_500 + 100 * number
        deals = [_drawn(chance, mark + place, saves) for place in range(chance.choice((3, 6, 10)))]
        paid = [_drawn_payment(chance, mark + 50 + place) for place in range(chance.choice((0, 1, 3)))]
        roles.append(_role(chance, f"banker-{number}", mark, deals, paid))
        funds += len(KEYS) * FUND + sum(deal.amount for deal in (*deals, *paid) if deal.way in ("activity", CASH))
    return roles, Books(funds, saves)


def _drawn(chance: random.Random, mark: int, saves: dict[str, int]) -> Deal:
    way = chance.choice(WAYS)
    source, target = sorted(chance.sample(KEYS, 2))
    if way != "call" and chance.random() < 0.5:
        source, target = target, source
    if way == "plan" and source in saves:
        way = "hand"
    amount = chance.choice((1, 2, 4)) if way == "plan" else chance.choice((1, 20, 300))
    if way == "plan":
        saves[source] = amount
    return Deal(way, source, target, amount, mark)


def _drawn_payment(chance: random.Random, mark: int) -> Deal:
    return Deal(CASH, "", chance.choice(KEYS), chance.choice((5, 70)), mark)


def _role(chance: random.Random, id: str, mark: int, deals: Sequence[Deal], paid: Sequence[Deal]) -> Role:
    commands = [Command(chance.choice((0.0, 0.2, 1.5)), partial(_pays, deal)) for deal in paid]
    return Role(
        id,
        "banker",
        encode_arguments((list(deals), mark, chance.random() < 0.5), {}),
        {Status.COMPLETED: sum(deal.way in ("blunder", "overdraw") for deal in deals)},
        tuple(sorted(commands, key=lambda command: command.at)),
    )


def _pays(deal: Deal, at: int) -> EntityCalled:
    name = f"{CASH} {deal.mark}"
    input = encode_arguments((name, deal.amount), {})
    return EntityCalled(at=at, number=0, request=name, operation="deposit", target=PREFIX + deal.target, input=input)
