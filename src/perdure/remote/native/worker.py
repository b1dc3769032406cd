"""A worker of ours at a server of ours: a stream of work in, answers out, and again after every break."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.engine.ports import Executor
from perdure.errors import MalformedMessage, PayloadTooLarge, PerdureError, ServerUnavailable, StoreError, StoreOwned
from perdure.history.events import Failure
from perdure.history.work import BatchResult, Outlet, Stall
from perdure.remote.native.answers import Answers
from perdure.remote.native.attempts import Making, WorkerAttempts
from perdure.remote.native.batches import BATCHES_MAX, Batches
from perdure.remote.native.beats import Beats
from perdure.remote.native.calls import ANSWER, ANSWER_PATH, BEAT, LEAVE, Call, Problem, error_of, read_answer
from perdure.remote.native.channel import Channel
from perdure.remote.native.codec import NATIVE, AttemptItem, BatchItem, Cancel, Ping, Turn
from perdure.remote.native.envelope import ACTOR_ANSWER, ATTEMPT_ANSWER, ITEM, TURN_ANSWER, read_batch, write_batch
from perdure.remote.native.outlet import RemoteOutlet
from perdure.remote.native.runs import RUNS_MAX, LiveRuns
from perdure.remote.native.stream import WORK, WorkStream
from perdure.remote.requests import ActivityResult, Capability, Filters, OpenStream, TurnResult
from perdure.remote.wire.codec import DAPR, MICROSOFT

log = logging.getLogger("perdure")
TURNS_MAX = 1_000
"""Turns that a worker has at once; one that waits for payloads that lie elsewhere holds up no other."""
ANSWER_SECONDS = 60.0
"""How long a server may take to hear an answer before it is sent again."""
LEAVE_SECONDS = 2.0
"""How long a server may take to hear that the worker leaves."""


TELL_TRIES_MAX = 10
TELL_PAUSE_SECONDS = 0.05
"""How often heartbeats, or a farewell, are told again that came to another server than the worker's, and the pause."""


class Names(msgspec.Struct, frozen=True):
    """What a worker has code for."""

    workflows: frozenset[str]
    activities: frozenset[str]
    actors: frozenset[str] = frozenset()

    @property
    def filters(self) -> Filters:
        """Any version, because a worker that lacks one says so and the run waits where it can be seen."""
        workflows, activities = (dict.fromkeys(names, _ANY) for names in (self.workflows, self.activities))
        return Filters(workflows=workflows, activities=activities, entities=self.actors)


_ANY: frozenset[str] = frozenset()


class NativeWorker:
    """Serves from `open` to `close`; what breaks between is begun again."""

    def __init__(
        self,
        channel: Channel,
        executor: Executor,
        names: Names,
        *,
        id: str,
        slots: int,
        drain_seconds: float,
        runs_max: int = RUNS_MAX,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._channel = channel
        self._names = names
        self._id = id
        self._slots = slots
        self._drain_seconds = drain_seconds
        self._executor = executor
        self._runs = LiveRuns(executor, runs_max)
        self._attempts = WorkerAttempts(executor, self._attempt_ended, self._beat, self._outlet)
        self._batches = Batches(executor, self._batch_ended)
        self._beats: Beats | None = None
        self._answers = Answers(self._send)
        self._stream = WorkStream(self._work, self._take_all, self._tell_again, chance)

    async def open(self, seconds: float) -> None:
        """Begin to serve; return when the server has taken the worker, was asked once in vain, or after `seconds`."""
        self._beats = Beats(self._tell_beats, self._attempts.running)
        await self._stream.open(seconds)

    @property
    def is_connected(self) -> bool:
        """Whether the server has taken the worker, as far as it is known."""
        return self._stream.is_open

    async def close(self) -> None:
        """Take no more work, let attempts end within the bound, say what is decided, go."""
        await self._take_leave()
        await self._attempts.drain(self._drain_seconds)
        await self._executor.rest(self._drain_seconds)
        await self._answers.flush(max(self._drain_seconds, LEAVE_SECONDS))
        await self._stream.close()
        if self._beats is not None:
            self._beats.close()
        self._answers.close()
        self._runs.close()
        self._batches.close()

    # -- the stream -----------------------------------------------------------------------------------------------

    def _work(self) -> AsyncIterator[bytes]:
        return self._channel.stream(WORK, self._opening())

    def _opening(self) -> bytes:
        """Bounds and names are fields of the one public flavour, the capabilities of the other; they share none."""
        opened = OpenStream(
            turns_max=TURNS_MAX,
            activities_max=self._slots,
            entities_max=BATCHES_MAX if self._names.actors else 0,
            filters=self._names.filters,
            worker=self._id,
            capabilities=frozenset((Capability.STATEFUL_HISTORY, Capability.HEALTH_PING)),
        )
        return MICROSOFT.peer.write_open_stream(opened) + DAPR.peer.write_open_stream(opened)

    def _take_all(self, data: bytes) -> None:
        for kind, item in read_batch(data):
            try:
                if kind == ITEM:
                    self._take(NATIVE.read_item(item))
            except MalformedMessage as error:
                log.error("a piece of work cannot be read, so its lease decides: %s", error)

    def _take(self, item: Turn | AttemptItem | BatchItem | Cancel | Ping) -> None:
        if isinstance(item, Turn):
            self._runs.take(item, self._turn_ended)
        elif isinstance(item, AttemptItem):
            self._attempts.take(item)
        elif isinstance(item, BatchItem):
            self._batches.take(item)
        elif isinstance(item, Cancel):
            self._attempts.cancel(item.token)

    # -- answers --------------------------------------------------------------------------------------------------

    def _turn_ended(self, result: TurnResult) -> None:
        self._answers.put(TURN_ANSWER, NATIVE.write_turn_result(result), partial(self._turn_heard, result))

    def _turn_heard(self, result: TurnResult, error: Exception | None) -> None:
        """A turn whose answer was not heard goes out again when the stream is back; one too large to be told stalls."""
        if isinstance(error, PayloadTooLarge) and result.stall is None:
            stall = Stall("payload-too-large", f"what the turn asks for is too large for the server: {error}")
            self._turn_ended(TurnResult(instance=result.instance, token=result.token, stall=stall))
        elif error is not None:
            log.info("the answer to a turn was not heard: %s", error)

    def _attempt_ended(self, making: Making, result: ActivityResult) -> None:
        assert self._beats is not None
        self._beats.forget(making.token)
        data = NATIVE.write_activity_result(msgspec.structs.replace(result, token=making.token))
        self._answers.put(ATTEMPT_ANSWER, data, partial(self._attempt_heard, making, making.token, result))

    def _attempt_heard(self, making: Making, token: str, result: ActivityResult, error: Exception | None) -> None:
        """An answer that was not heard is kept, and given again when the stream is back, or the attempt comes again."""
        if isinstance(error, (ServerUnavailable, StoreError, TimeoutError)):
            log.info("the answer to an attempt was not heard: %s", error)
            return
        if isinstance(error, PayloadTooLarge) and result.failure is None:
            failure = Failure(type="PayloadTooLarge", message=str(error), non_retryable=True)
            told = ActivityResult(instance=result.instance, number=result.number, failure=failure)
            self._attempt_ended(making, told)
            return
        if error is not None:
            log.error("the server does not take the answer to an attempt: %s", error)
        if making.token == token:
            self._attempts.heard(making)

    def _batch_ended(self, token: str, result: BatchResult | Stall) -> None:
        self._answers.put(ACTOR_ANSWER, NATIVE.write_batch_result(token, result), partial(self._batch_heard, token))

    def _batch_heard(self, token: str, error: Exception | None) -> None:
        """A batch whose answer was not heard goes out again when the stream is back; one too large to be told fails."""
        if isinstance(error, PayloadTooLarge):
            self._batch_ended(token, BatchResult(failure=Failure(type="PayloadTooLarge", message=str(error))))
        elif error is not None:
            log.info("the answer to a batch was not heard: %s", error)

    def _tell_again(self) -> None:
        self._attempts.begin_session()
        for making in self._attempts.unheard():
            assert making.result is not None
            self._attempt_ended(making, making.result)

    async def _send(self, answers: list[tuple[int, bytes]]) -> dict[int, Exception]:
        data = await self._channel.send(ANSWER_PATH, write_batch(answers), ANSWER_SECONDS)
        refused: dict[int, Problem] = read_answer(ANSWER, data)
        return {place: error_of(problem) for place, problem in refused.items()}

    # -- beside the stream ----------------------------------------------------------------------------------------

    def _beat(self, token: str, details: Payload | None) -> None:
        assert self._beats is not None
        self._beats.beat(token, details)

    async def _tell_beats(self, beats: Mapping[str, Payload | None], running: list[str]) -> None:
        try:
            unwanted = await self._tell_server(BEAT, ANSWER_SECONDS, beats, running, self._id)
        except (PerdureError, TimeoutError) as error:
            log.info("heartbeats were not heard: %s", error)
            return
        for token in unwanted:
            if self._is_known(token):  # because a server that was started again hands out what it does not know
                self._attempts.cancel(token)

    async def _tell_server(self, call: Call, seconds: float, *arguments: Any) -> Any:
        """What only the server knows that has the stream; a balancer may bring it to another one."""
        tries = 1
        while True:
            try:
                return await self._channel.ask(call, *arguments, timeout=seconds)
            except StoreOwned:
                if tries == TELL_TRIES_MAX:
                    raise
                tries += 1
            await asyncio.sleep(TELL_PAUSE_SECONDS)

    def _is_known(self, token: str) -> bool:
        return self._stream.is_open and self._attempts.is_known(token)

    def _outlet(self, token: Callable[[], str], overtaken: Callable[[], None]) -> Outlet:
        async def refused(token: str) -> None:
            await self._tell_beats({}, [token])

        def ask(call: Call, *arguments: Any) -> Awaitable[Any]:
            return self._channel.ask(call, *arguments, self._id)

        return RemoteOutlet(ask, token, self._is_known, refused, overtaken)

    async def _take_leave(self) -> None:
        if not self.is_connected:
            return
        try:
            await self._tell_server(LEAVE, LEAVE_SECONDS, self._id)
        except (PerdureError, TimeoutError) as error:
            log.info("the server did not hear that this worker leaves: %s", error)

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<NativeWorker {self._id} at {self._channel!r}, {state}: {self._runs!r}, {self._attempts!r}>"
