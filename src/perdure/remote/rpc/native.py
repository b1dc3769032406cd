"""Perdure's own services beside the public one: what its clients call, and what its workers call besides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.errors import ServerError, StoreOwned, StreamRefused
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.lent import YIELDS, Lent
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.hosted import Hosted
from perdure.remote.native import calls
from perdure.remote.native.calls import Call
from perdure.remote.native.envelope import ACTOR_ANSWER, ATTEMPT_ANSWER, TURN_ANSWER, read_batch
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.workers import Workers

log = logging.getLogger("perdure")
Handler = Callable[[bytes, Caller], Awaitable[bytes]]


def native_calls(hosted: Hosted, workers: Workers, version: str) -> dict[str, Handler]:
    """The handlers by the full names of their calls."""
    own = _Workers(hosted, version)
    handlers = [
        _handler(calls.HELLO, own.hello),
        _handler(calls.BEAT, own.beat),
        _handler(calls.BEGIN, own.begin),
        _handler(calls.PUT, own.put),
        _handler(calls.LEAVE, own.leave),
        *(_handler(call, _asks(hosted, name)) for name, call in calls.CALLS.items()),
    ]
    return {**dict(handlers), calls.ANSWER_PATH: _answers(workers)}


def _answers(workers: Workers) -> Handler:
    """Takes answers of a worker in one call, because each call costs more than what it brings."""
    takers = {
        TURN_ANSWER: workers.complete_turn,
        ATTEMPT_ANSWER: workers.complete_activity,
        ACTOR_ANSWER: workers.complete_actor_batch,
    }

    async def handle(data: bytes, caller: Caller) -> bytes:
        refused = {}
        for place, (kind, answer) in enumerate(read_batch(data)):
            taker = takers.get(kind)
            try:
                if taker is not None:
                    await taker(answer, caller)
            except Exception as error:  # noqa: BLE001 because one answer that cannot be taken is no harm to the others
                refused[place] = calls.problem_of(error) or _defect(error)
        return calls.write_answer(refused)

    return handle


def _defect(error: Exception) -> calls.Problem:
    log.error("an answer of a worker could not be taken", exc_info=error)
    return calls.Problem(ServerError.code, "ServerError", "the server failed at this answer; its log has the error")


def _handler(call: Call, act: Callable[[Any, Caller], Awaitable[Any]]) -> tuple[str, Handler]:
    async def handle(data: bytes, caller: Caller) -> bytes:
        asked = calls.read_request(call, data)
        try:
            return calls.write_answer(await act(asked, caller))
        except Exception as error:
            problem = calls.problem_of(error)
            if problem is None:
                raise
            return calls.write_problem(problem)

    return call.path, handle


def _asks(hosted: Hosted, name: str) -> Callable[[Any, Caller], Awaitable[Any]]:
    """What the engine of the caller's app answers to a method of the clients' port."""

    async def ask(asked: Any, caller: Caller) -> Any:
        operations = await hosted.operations(caller.app)
        return await getattr(operations, name)(*msgspec.structs.astuple(asked))

    return ask


def is_begun(values: Sequence[Payload], durable: int, last: Payload | None) -> bool:
    """Whether the `durable` items that a stream has in the place of these values are the first of them, as far as their
    number and the last one tell: else they are those of another worker, which had the attempt in between."""
    return durable == 0 or (0 < durable <= len(values) and values[durable - 1] == last)


class _Workers:
    def __init__(self, hosted: Hosted, version: str) -> None:
        self._hosted = hosted
        self._dispatcher = hosted.dispatcher
        self._version = version

    async def hello(self, asked: calls.Hello, caller: Caller) -> calls.Welcome:
        return calls.Welcome(self._version, caller.app)

    async def beat(self, asked: calls.Beat, caller: Caller) -> list[str]:
        """Pass heartbeats on; those of the tokens that are out no more."""
        await self._check_server(asked.worker, caller)
        unwanted = []
        for token, details in asked.beats.items():
            work = self._attempt(token, caller)
            if work is None:
                unwanted.append(token)
            else:
                work.beat(details)
                self._dispatcher.touch(token)
        unwanted += [
            token
            for token in asked.running
            if self._attempt(token, caller) is None or not self._dispatcher.touch(token)
        ]
        return unwanted

    async def begin(self, asked: calls.Begin, caller: Caller) -> calls.Place:
        outlet = await (await self._wanted(asked, caller)).fresh_outlet()
        return calls.Place(outlet.offset, outlet.last)

    async def put(self, asked: calls.Put, caller: Caller) -> int | None:
        outlet = await (await self._wanted(asked, caller)).begun_outlet()
        # because a call whose answer was lost comes again, and its items may be durable
        durable = await outlet.flush() - asked.after
        if not is_begun(asked.values, durable, outlet.last):
            log.info("a worker has an attempt back of which another has yielded meanwhile: %s", asked.token)
            return None
        for value in asked.values[durable:]:
            # because another worker may have the attempt since, and begin behind it
            await self._wanted(asked, caller)
            await outlet.put(value)
        return await outlet.flush()

    async def leave(self, asked: calls.Leave, caller: Caller) -> None:
        await self._check_server(asked.worker, caller)
        for stream in self._streams(asked.worker, caller):
            stream.take_leave()

    def _streams(self, worker: str, caller: Caller) -> list[WorkerStream]:
        return [each for each in self._dispatcher.streams if (each.worker, each.app) == (worker, caller.app)]

    async def _check_server(self, worker: str, caller: Caller) -> None:
        """Raises StoreOwned if another server has given the worker its work, as when one stands by, or a proxy before
        servers that share an app sends each call where it likes."""
        if worker:
            if not self._streams(worker, caller):
                raise StoreOwned("this server has no stream of the worker; the one that has knows what is out")
        elif not (await self._hosted.engine(caller.app)).is_owner:
            raise StoreOwned("this server stands by; whoever executes knows what is out")

    def _attempt(self, token: str, caller: Caller) -> AttemptWork | Lent | None:
        found = self._dispatcher.peek(token)
        if found is None:
            return None
        work, stream = found
        return work if isinstance(work, AttemptWork | Lent) and stream.app == caller.app else None

    async def _wanted(self, asked: calls.Begin | calls.Put, caller: Caller) -> AttemptWork:
        work = self._attempt(asked.token, caller)
        if work is None:
            await self._check_server(asked.worker, caller)
            raise StreamRefused("the call takes no more items from this attempt, because another has it or it ended")
        if isinstance(work, Lent):
            self._dispatcher.withdraw(work)
            work.give_back(YIELDS)
            raise StreamRefused(f"the attempt goes back to the server of its run: {YIELDS}")
        return work
