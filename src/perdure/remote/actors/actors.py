"""The actors of one app: which programs host them, which are active there, and what is under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec

from perdure.cancellation import cancel_and_wait
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.operations import Operations
from perdure.errors import ActorFailed, ActorReentered, InvalidArgument, ServerUnavailable
from perdure.history.events import UpdateAnswered
from perdure.history.state import Standing
from perdure.history.work import Batch, BatchResult, Stall
from perdure.paging import each_found
from perdure.remote.actors.host import Answer, Host, HostGone, Hosting, Invocation, actor_of, entity_of
from perdure.remote.actors.memory import Asked, Change, Memory, Reminder, Value, memory_of
from perdure.remote.actors.operations import Asking, Forget, Method, Remind, write_operation
from perdure.remote.actors.timers import Timers
from perdure.remote.actors.turn import Turn, may_come_back

log = logging.getLogger("perdure")
HOST_SECONDS = 5.0
"""How long a call waits for a program that hosts the type of its actor, if none has done so since the server began."""
LEFTOVER_SECONDS = 60.0
"""How long a turn waits for the end of a method whose turn was taken back: it might write into this one."""
PUT_AWAY_SECONDS = 5.0
"""How often it is looked which actors have had nothing to do for too long."""
LIST_MAX = 10_000
"""Actors of one type whose reminders one call looks at."""
_PAGE = 1_000


class _Active(msgspec.Struct):
    """An actor that its program has in memory, by all that is known, with what it kept when its last turn ended."""

    host: Host
    state: Payload | None
    used: float


class AppActors:
    """Fulfils Stage. `operations` are the engine's; `changed` is told when hosts come and go."""

    def __init__(
        self, app: str, operations: Callable[[], Awaitable[Operations]], clock: Clock, changed: Callable[[], None]
    ) -> None:
        self.app = app
        self._operations = operations
        self._clock = clock
        self._changed = changed
        self._hosts: list[Host] = []
        self._known: set[str] = set()
        self._came = asyncio.Event()
        self._turns: dict[str, Turn] = {}
        self._under_way: dict[str, Turn] = {}
        self._active: dict[str, _Active] = {}
        self._leftovers: dict[str, asyncio.Future[Answer]] = {}
        self._asked: set[str] = set()
        self._answering: set[str] = set()
        self._timers = Timers(self._time_came)
        self._tasks: set[asyncio.Task[None]] = set()
        self._putting: asyncio.Task[None] | None = None
        self.is_paused = False
        """Whether no operation is begun any more, because the server stops."""

    # -- hosts ----------------------------------------------------------------------------------------------------

    @property
    def is_hosted(self) -> bool:
        return bool(self._hosts)

    def host_came(self, host: Host) -> None:
        """A program is there that hosts actors."""
        log.info("%r is there for app %s", host, self.app)
        self._hosts.append(host)
        self._known.update(host.types)
        self._came.set()
        self._came = asyncio.Event()
        if self._putting is None:
            self._putting = asyncio.get_running_loop().create_task(self._put_away(), name="perdure-actors")
        self._changed()

    def host_went(self, host: Host) -> None:
        """It is there no more, and neither is what it had in memory."""
        if host in self._hosts:
            log.info("%r is gone from app %s", host, self.app)
            self._hosts.remove(host)
            for entity in [entity for entity, active in self._active.items() if active.host is host]:
                self._gone(entity)
            self._changed()

    def hosts(self, type: str) -> Host | None:
        """Who hosts actors of the type; of several the one that came last, because the others may be about to end."""
        return next((host for host in reversed(self._hosts) if type in host.types), None)

    def counts(self) -> dict[str, int]:
        """Active actors by type, of all types that are hosted."""
        found = {type: 0 for host in self._hosts for type in host.types}
        for entity in self._active:
            type, _ = actor_of(entity)
            found[type] = found.get(type, 0) + 1
        return found

    async def close(self) -> None:
        self._timers.clear()
        for leftover in list(self._leftovers.values()):
            leftover.cancel()
        tasks = [*self._tasks, *([self._putting] if self._putting is not None else [])]
        await cancel_and_wait(*tasks)

    @property
    def is_out(self) -> bool:
        """Whether a program has something to do, or what it has done is on its way to who asked for it."""
        return bool(self._under_way or self._answering)

    # -- what callers ask -----------------------------------------------------------------------------------------

    async def call(self, type: str, id: str, method: str, data: bytes, token: str = "") -> bytes:
        """The result of a method, once it is durable. `token` is what the caller was given when it was invoked itself.

        Raises InvalidArgument, ActorFailed, ActorReentered, ServerUnavailable, MailboxFull, StoreError.
        """
        entity = entity_of(type, id)
        caller = self._under_way.get(token)
        chain = caller.chain if caller is not None else ()
        if entity in chain:
            return await self._come_back(type, entity, method, data)
        await self._hosted(type)
        answer = await self._ask(entity, Method(method, data), chain)
        assert answer.result is not None, "a method that did not fail has a result"
        return msgspec.json.decode(answer.result.data, type=bytes)

    async def transact(self, type: str, id: str, changes: Sequence[Change]) -> None:
        """Change what an actor keeps, in the turn that it is in. Raises InvalidArgument if it is in none here.

        Nobody else may, because what comes later may be of a turn that was taken back and is another server's now.
        """
        turn = self._turns.get(entity_of(type, id))
        if turn is None:
            raise InvalidArgument(f"the actor {type} {id} runs no method here, and only its methods change its state")
        turn.transact(changes)

    async def remind(self, type: str, id: str, asked: Asked) -> None:
        """Register a reminder: in the turn that the actor is in, else in one of its own."""
        entity = entity_of(type, id)
        turn = self._turns.get(entity)
        if turn is not None:
            turn.remind(asked)
        else:
            await self._ask(entity, Remind(asked))

    async def forget(self, type: str, id: str, name: str | None) -> None:
        """Unregister a reminder, likewise; None: all of the actor."""
        entity = entity_of(type, id)
        turn, names = self._turns.get(entity), None if name is None else [name]
        if turn is not None:
            turn.forget(names)
        elif (await self._memory(entity)).reminders:
            await self._ask(entity, Forget(names))

    async def value(self, type: str, id: str, key: str) -> Value | None:
        """What an actor keeps under a key."""
        return (await self._memory(entity_of(type, id))).get(key, self.now())

    async def reminder(self, type: str, id: str, name: str) -> Reminder | None:
        return (await self._memory(entity_of(type, id))).reminders.get(name)

    async def reminders(self, type: str, id: str | None = None) -> list[tuple[str, str, Reminder]]:
        """Id, name and what was asked, of all actors of a type or of one; of at most `LIST_MAX` actors."""
        if id is not None:
            kept = await self._memory(entity_of(type, id))
            return [(id, name, reminder) for name, reminder in kept.reminders.items()]
        found: list[tuple[str, str, Reminder]] = []
        entities = (await self._operations()).entities
        prefix = entity_of(type, "1")[:-1]
        async for state in each_found(partial(entities.find, prefix), _PAGE, LIST_MAX):
            kept = memory_of(state.state)
            found += [(actor_of(state.id)[1], name, reminder) for name, reminder in kept.reminders.items()]
        return found

    def time(self, type: str, id: str, asked: Asked) -> None:
        """Register a timer, which dies with what the program has of the actor in memory. Raises InvalidArgument."""
        self._timers.set(entity_of(type, id), asked, self.now())

    def untime(self, type: str, id: str, name: str) -> None:
        self._timers.unset(entity_of(type, id), name)

    def standing(self, entity: str) -> Standing:
        """Where the turn of an actor is, for people."""
        type, _ = actor_of(entity)
        if self.hosts(type) is None:
            return Standing("no-worker", f"no program of app {self.app} hosts actors of type {type}; start it")
        return Standing("with-worker", f"the program that hosts actors of type {type} runs a method of it")

    # -- turns ----------------------------------------------------------------------------------------------------

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> Turn:
        """Begin a turn, which waits for a program that hosts the actor if none is there."""
        return Turn(batch, done, self)

    def now(self) -> int:
        return self._clock.now()

    async def begun(self, turn: Turn) -> None:
        leftover = self._leftovers.get(turn.entity)
        if leftover is not None:
            await asyncio.wait({leftover}, timeout=LEFTOVER_SECONDS)
        self._turns[turn.entity] = turn

    def ended(self, turn: Turn, *, is_whole: bool) -> None:
        if self._turns.get(turn.entity) is turn:
            del self._turns[turn.entity]
        if is_whole:
            self._answering |= turn.requests & self._asked
        active = self._active.get(turn.entity)
        if active is None:
            return
        if is_whole:
            active.state, active.used = turn.state, asyncio.get_running_loop().time()
        else:
            self._gone(turn.entity)

    def is_timer(self, entity: str, name: str, number: int) -> bool:
        return self._timers.is_current(entity, name, number)

    async def invoke(self, turn: Turn, asked: Invocation) -> Answer:
        """Have the program do it, which holds in memory what the actor keeps, or nothing. Raises HostGone."""
        host = await self._host_of(turn)
        token = self._clock.token()
        self._under_way[token] = turn
        try:
            if turn.depth == 0:
                await self._activate(turn, host)
            asking = asyncio.ensure_future(host.invoke(msgspec.structs.replace(asked, token=token)))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                self._leave(turn.entity, asking)
                raise
        except HostGone:
            self.host_went(host)
            raise
        finally:
            del self._under_way[token]

    def _leave(self, entity: str, asking: asyncio.Future[Answer]) -> None:
        """The turn was taken back while the program ran its method, which nobody can stop."""
        self._leftovers[entity] = asking

        def over(asking: asyncio.Future[Answer]) -> None:
            if self._leftovers.get(entity) is asking:
                del self._leftovers[entity]
            if not asking.cancelled() and asking.exception() is not None:
                log.info("a method of %s ended after its turn was taken back: %s", entity, asking.exception())

        asking.add_done_callback(over)

    async def _activate(self, turn: Turn, host: Host) -> None:
        active = self._active.get(turn.entity)
        if active is None or active.host is not host or active.state != turn.began_with:
            # because what it may have of the actor in memory is of a turn that was not written, or another's
            self._timers.end(turn.entity)
            await host.invoke(Invocation(kind="deactivate", type=turn.type, id=turn.id))
        self._active[turn.entity] = _Active(host, turn.began_with, asyncio.get_running_loop().time())

    async def _host_of(self, turn: Turn) -> Host:
        while (host := self.hosts(turn.type)) is None or (self.is_paused and turn.depth == 0):
            await self._came.wait()
        return host

    async def _hosted(self, type: str) -> None:
        """Raises ServerUnavailable if nobody hosts the type, and nobody has."""
        try:
            async with asyncio.timeout(HOST_SECONDS):
                while type not in self._known:
                    await self._came.wait()
        except TimeoutError:
            raise ServerUnavailable(
                f"no program hosts actors of type {type!r} for app {self.app!r}; start it, or see which types it tells"
            ) from None

    async def _come_back(self, type: str, entity: str, method: str, data: bytes) -> bytes:
        turn, host = self._turns.get(entity), self.hosts(type)
        if turn is None or host is None:
            raise ActorReentered(f"the actor {entity} waits for the one that calls it, on another node of the cluster")
        refusal = may_come_back(turn, host.types.get(type))
        if refusal is not None:
            raise ActorReentered(refusal)
        try:
            answer = await turn.nest(method, data)
        except HostGone as error:
            raise ActorFailed(str(error)) from error
        if answer.error is not None:
            raise ActorFailed(answer.error)
        return answer.data

    async def _ask(self, entity: str, asking: Asking, chain: Sequence[str] = ()) -> UpdateAnswered:
        operation, input = write_operation(asking)
        entities, request = (await self._operations()).entities, self._clock.token()
        self._asked.add(request)
        try:
            answer = await entities.call(entity, operation, request, input, chain, is_repeatable=False)
        finally:
            self._asked.discard(request)
            self._answering.discard(request)
        if answer.failure is not None:
            kind = InvalidArgument if answer.failure.type == "InvalidArgument" else ActorFailed
            raise kind(answer.failure.message)
        return answer

    async def _memory(self, entity: str) -> Memory:
        turn = self._turns.get(entity)
        if turn is not None:
            return turn.memory
        found = await (await self._operations()).entities.get(entity)
        return memory_of(found.state if found is not None else None)

    # -- time -----------------------------------------------------------------------------------------------------

    def _time_came(self, entity: str, timed: Asking) -> None:
        task = asyncio.get_running_loop().create_task(self._signal(entity, timed))
        self._tasks.add(task)
        task.add_done_callback(self._signalled)

    async def _signal(self, entity: str, asking: Asking) -> None:
        operation, input = write_operation(asking)
        await (await self._operations()).entities.signal(entity, operation, self._clock.token(), input)

    def _signalled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("a timer of an actor does not come this time: %s", task.exception())

    async def _put_away(self) -> None:
        while True:
            await asyncio.sleep(PUT_AWAY_SECONDS)
            now = asyncio.get_running_loop().time()
            for entity, active in list(self._active.items()):
                type, id = actor_of(entity)
                hosting: Mapping[str, Hosting] = active.host.types
                idle = hosting[type].idle_seconds if type in hosting else 0.0
                if now - active.used >= idle and entity not in self._turns:
                    self._gone(entity)
                    try:
                        await active.host.invoke(Invocation(kind="deactivate", type=type, id=id))
                    except HostGone:
                        continue

    def _gone(self, entity: str) -> None:
        self._active.pop(entity, None)
        self._timers.end(entity)

    def __repr__(self) -> str:
        return f"<AppActors of {self.app}: {len(self._hosts)} hosts, {len(self._active)} active>"
