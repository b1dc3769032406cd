"""The clients of a simulated world: they start, steer and await instances, and ask again until they are answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.codec import decode
from perdure.errors import Fenced, InstanceNotFound, StoreUnavailable
from perdure.history.events import EntityCalled, MessagePublished, RunResumed, UpdateAnswered, UpdateRequested
from perdure.history.state import InstanceState
from perdure.history.work import StartOptions
from perdure.sdk.gateway import Gateway
from perdure.stores.contract import Status
from perdure.testing.loop import SimClock
from perdure.testing.nodes import Node, NodeDied
from perdure.testing.scenario import Command, Role

if TYPE_CHECKING:
    from perdure.testing.world import World

T = TypeVar("T")
LOOK_SECONDS = 1.0
"""Between two looks of a client who waits for a state."""
PATIENCE_SECONDS = 60.0
"""How long a client waits for one answer before it asks again, as a client with a timeout does."""


class Clients:
    """All those of one world. `asking` counts what they wait for now."""

    def __init__(self, world: World) -> None:
        self.asking: Counter[str] = Counter()
        self.keys = SimClock(world.loop, world.tape.stream("keys"))
        self._world = world
        self._chance = world.tape.stream("world")
        self._witness = world.witness

    async def drive(self, role: Role) -> None:
        await asyncio.sleep(role.starts)
        await self._start(role)
        for command in role.commands:
            await asyncio.sleep(max(0.0, role.starts + command.at - self._world.loop.time()))
            await self._see_begun(role, command.after)
            await self._see_state(role, command.when)
            await self._command(role, command)
        state = await self.ask(
            f"the outcome of {role.id}", lambda node: node.gateway.outcome(role.id, None, PATIENCE_SECONDS)
        )
        self._world.states[role.id] = state
        status = Status(state.status)
        if status not in role.outcomes:
            failure = state.failure
            self._witness.accuse(
                f"{role.id} ended {state.status} ({failure and failure.type}: {failure and failure.message})"
            )
        elif role.judged and state.status == Status.COMPLETED and decode(state.output) != role.outcomes[status]:
            self._witness.accuse(f"{role.id} gave {decode(state.output)}, not {role.outcomes[status]}")
        if role.check is not None:
            wrong = role.check(state)
            self._witness.probes["schedule accounted for"] += wrong is None
            if wrong is not None:
                self._witness.accuse(f"{role.id}: {wrong}")
        if role.purged:
            await self.purge(role.id)

    async def _start(self, role: Role) -> None:
        tries = 0
        timeout = None if role.run_timeout is None else round(role.run_timeout * 1_000_000)
        options = StartOptions(id=role.id, run_timeout=timeout)

        async def start(gateway: Gateway) -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                self._witness.probes["start repeated"] += 1
                try:
                    await gateway.state(role.id, None)
                    return
                except InstanceNotFound:
                    pass  # because then nothing of the first try has reached the store
            await gateway.start(role.workflow, role.input, options)

        await self.ask(f"the start of {role.id}", lambda node: start(node.gateway))
        self._world.log(f"{role.id} is started")
        if not self._witness.is_stored(role.id):
            self._witness.accuse(f"{role.id} was said to be started and is not stored")

    async def _see_begun(self, role: Role, mark: int | None) -> None:
        while (
            mark is not None
            and not self._world.ledger.begun_marks[role.id, mark]
            and not self._witness.tracks[role.id].finished
        ):
            await asyncio.sleep(0.005)

    async def _see_state(self, role: Role, when: Callable[[InstanceState], bool] | None) -> None:
        while when is not None:
            state = await self.ask(f"the state of {role.id}", lambda node: node.gateway.state(role.id, None))
            if state.is_finished or when(state):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _update(self, role: Role, event: UpdateRequested) -> None:
        """Ask until answered, as a careful client does: the desk doubles a number above 0 and refuses any other."""
        answer = await self.ask(f"an answer of {role.id}", lambda node: node.gateway.update(role.id, None, event, True))
        number = decode(event.data)
        right = answer.refused if number <= 0 else answer.result is not None and decode(answer.result) == 2 * number
        if not right:
            self._witness.accuse(f"{role.id} was asked for {number} and answered {answer}")
        self._witness.probes["update refused" if answer.refused else "update answered"] += 1

    async def _command(self, role: Role, command: Command) -> None:
        event = command.event(self.keys.now())
        if isinstance(event, RunResumed):
            await self.ask(f"the suspension of {role.id}", lambda node: _suspended_or_over(node.gateway, role.id))
        key = self.keys.token()
        again = self._world.plan.happens("twice")
        for _ in range(1 + again):
            await self._send(role, event, key)
            self._world.log(f"{type(event).__name__} {getattr(event, 'name', '')} is sent to {role.id}")
        self._witness.probes["command repeated"] += again

    async def _send(self, role: Role, event: Any, key: str) -> None:
        match event:
            case UpdateRequested():
                await self._update(role, event)
            case MessagePublished():
                await self.ask(f"publish {event.id}", lambda node: node.gateway.publish([event]))
            case EntityCalled():
                await self.ask(f"{event.request} of {event.target}", lambda node: _called(node.gateway, event))
            case _:
                what = f"{type(event).__name__} to {role.id}"
                await self.ask(what, lambda node: node.gateway.command(role.id, None, event, key))

    async def ask(self, what: str, ask: Callable[[Node], Awaitable[T]]) -> T:
        """Ask some node until one answers."""
        self.asking[what] += 1
        try:
            while True:
                nodes = [node for node in self._world.alive if node.is_open]
                if not nodes:
                    await asyncio.sleep(0.02)
                    continue
                try:
                    node = self._chance.choice(nodes)
                    return await node.call(_asked(ask, node))
                except (StoreUnavailable, Fenced, NodeDied, TimeoutError):
                    await asyncio.sleep(0.05)
        finally:
            self.asking[what] -= 1

    async def purge(self, id: str) -> None:
        try:
            await self.ask(f"purge {id}", lambda node: node.gateway.purge(id, None, True))
        except InstanceNotFound:
            return  # because a purge whose answer was lost has happened
        self._witness.probes["purged"] += 1

    def __repr__(self) -> str:
        return f"<Clients of {self._world!r}: {self.asking.total()} questions>"


async def _suspended_or_over(gateway: Gateway, id: str) -> None:
    """Wait until a suspension is seen, because a command may overtake one that went through another node."""
    while True:
        state = await gateway.state(id, None)
        if state.suspended is not None or state.is_finished:
            return
        await asyncio.sleep(0.1)


async def _called(gateway: Gateway, call: EntityCalled) -> UpdateAnswered:
    """Have an actor do what must succeed."""
    target = call.target or ""
    answer = await gateway.call_actor(target, call.operation, call.request, call.input, [], True)
    assert answer.failure is None, answer
    return answer


async def _asked(what: Callable[[Node], Awaitable[T]], node: Node) -> T:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await what(node)
