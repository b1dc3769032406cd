"""The port to code with a codec in it: code sees plain payloads, the engine packed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from perdure.codec import Codec, Payload
from perdure.errors import PayloadTooLarge
from perdure.history.actions import Action
from perdure.history.delivery import Gate, deliveries, turns
from perdure.history.events import CONFIRMATIONS, RunStarted
from perdure.history.options import Limits, Place
from perdure.history.work import Attempt, Batch, BatchResult, Identity, Outcome, Outlet, Stall
from perdure.sdk.failures import to_failure
from perdure.sdk.packing.batch import PackingBatch
from perdure.sdk.packing.outlet import PackingOutlet
from perdure.sdk.packing.packer import Packer, stall_of
from perdure.sdk.steps import ReadHistory
from perdure.sdk.worker import LiveBatch, LiveRun, LocalRun, Operator, Worker

Done = Callable[[list[Action] | Stall], None]


class PackingWorker:
    """A worker, and a codec between it and the engine. What is large, or lies elsewhere, is worked on by tasks.

    `unread`: events whose payloads a replay need not read, because it compares kinds and names.
    """

    is_remote = False
    is_ready = True
    gate = Gate

    def __init__(self, worker: Worker, codec: Codec, *, unread: tuple[type, ...] = CONFIRMATIONS) -> None:
        self.unread = unread
        self._worker = worker
        self._packer = Packer(codec)
        self._tasks: set[asyncio.Task[None]] = set()

    def refuse_steps(self) -> None:
        self._worker.refuse_steps()

    def read_with(self, read: ReadHistory) -> None:
        self._worker.read_with(read)

    def start(self) -> None:
        self._worker.start()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._worker.stop()

    def fingerprint(self, name: str, version: str | None) -> str | None:
        fingerprint = self._worker.fingerprint(name, version)
        return self.stamped(fingerprint) if fingerprint is not None else None

    async def in_thread(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._worker.in_thread(function, args, kwargs)

    def queues(self) -> Mapping[str, Limits]:
        return self._worker.queues()

    def place(self, name: str, version: str | None) -> Place | None:
        return self._worker.place(name, version)

    def workflows(self) -> Collection[str]:
        return self._worker.workflows()

    def activities(self) -> Collection[str]:
        return self._worker.activities()

    def room(self) -> None:
        """As many attempts as the node has slots."""

    def stamped(self, fingerprint: str) -> str:
        """Of code and codec, because a stall may end with either."""
        return f"{fingerprint}+{self._packer.codec.fingerprint()}"

    def open(self, identity: Identity, is_new: bool) -> PackingRun | Stall:
        live = self._worker.open(identity, is_new)
        return live if isinstance(live, Stall) else PackingRun(live, identity, self._packer, self)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what has to wait."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Outcome | Stall:
        codec = self._packer.codec
        try:
            key = codec.key_for(None, work.input.key if work.input is not None else None)
            plain = msgspec.structs.replace(
                work,
                input=await codec.unpacked(work.input) if work.input is not None else None,
                details=await codec.unpacked(work.details) if work.details is not None else None,
            )
        except Exception as error:  # noqa: BLE001 because whatever stands against it, the run is to wait and not to fail
            return stall_of(error)
        outcome = await self._worker.attempt(
            plain,
            lambda details: beat(self._packed_details(details, key)),
            lambda: PackingOutlet(outlet(), codec, key),
        )
        return outcome if isinstance(outcome, Stall) else await self._packed(outcome, key)

    @property
    def operator(self) -> Operator | None:
        """Who runs operations of actors."""
        return self._worker.operator

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> LiveBatch | None:
        """Run operations of an actor, with a codec between them and the engine."""
        if self.operator is None or not self.operator.knows(batch.name):
            return None
        packing = PackingBatch(batch, done, self._packer, self._worker.operate, self.spawn)
        packing.begin()
        return packing

    def standing(self, head: object, wait: object) -> None:
        """The code is here."""

    async def rest(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while self._tasks and now() < deadline:
            await asyncio.wait(self._tasks, timeout=deadline - now())
        await self._worker.rest(max(deadline - now(), 0))

    def _packed_details(self, details: Payload | None, key: str | None) -> Payload | None:
        """Never offloaded, because a heartbeat comes from any thread and waits for nothing."""
        return self._packer.codec.pack(details, key, offloads=False)[0] if details is not None else None

    async def _packed(self, outcome: Outcome, key: str | None) -> Outcome | Stall:
        if outcome.step is not None:
            return msgspec.structs.replace(outcome, step=partial(self._packed_step, outcome.step, key))
        try:
            if outcome.result is not None:
                outcome = msgspec.structs.replace(outcome, result=await self._packer.codec.packed(outcome.result, key))
            if outcome.messages:
                messages = [await self._packer.pack_slowly(message, key) for message in outcome.messages]
                outcome = msgspec.structs.replace(outcome, messages=messages)
        except Exception as error:  # noqa: BLE001 because an outcome that cannot be written is no failure of the activity
            return self._unpackable(error, key)
        return self._with_failure_packed(outcome, key)

    def _packed_step(self, step: Callable[[Any], Outcome | Stall], key: str | None, guest: Any) -> Outcome | Stall:
        """Do a transaction's step, and pack what it gives. Never offloaded, because the store waits for it."""
        outcome = step(guest)
        if isinstance(outcome, Stall):
            return outcome
        try:
            if outcome.result is not None:
                result, _ = self._packer.codec.pack(outcome.result, key, offloads=False)
                outcome = msgspec.structs.replace(outcome, result=result)
            messages = [self._packer.pack_at_hand(message, key) for message in outcome.messages]
            outcome = msgspec.structs.replace(outcome, messages=messages)
        except Exception as error:  # noqa: BLE001 as above
            return self._unpackable(error, key)
        return self._with_failure_packed(outcome, key)

    def _unpackable(self, error: Exception, key: str | None) -> Outcome | Stall:
        """What becomes of an attempt whose result cannot be packed: too large is its own fault."""
        if not isinstance(error, PayloadTooLarge):
            return stall_of(error)
        failure = msgspec.structs.replace(to_failure(error), non_retryable=True)
        return self._with_failure_packed(Outcome(failure=failure), key)

    def _with_failure_packed(self, outcome: Outcome, key: str | None) -> Outcome | Stall:
        if outcome.failure is None:
            return outcome
        try:
            return msgspec.structs.replace(outcome, failure=self._packer.pack_failure(outcome.failure, key))
        except Exception as error:  # noqa: BLE001 as above
            return stall_of(error)

    def __repr__(self) -> str:
        return f"<PackingWorker {self._packer.codec!r}>"


class PackingRun(LocalRun):
    """A run's code, and the codec between it and the engine.

    A turn whose payloads are small is taken at once. Any other is taken by a task: blobs are read before the code
    advances, and written before the engine hears what it asked for, so that no turn refers to a blob that is not there.
    """

    __slots__ = ("_closed", "_history", "_identity", "_key", "_live", "_packer", "_worker")

    def __init__(self, live: LiveRun, identity: Identity, packer: Packer, worker: PackingWorker) -> None:
        self._live = live
        self._identity = identity
        self._packer = packer
        self._worker = worker
        self._key: str | None = None
        self._history: list[Any] | None = None
        self._closed = False

    def advance(self, at: int, events: Sequence[Any], done: Done) -> None:
        """Take one turn and say, now or later, what the code asked for, packed."""
        if self._history is not None or not self._packer.is_quick(events):
            self._worker.spawn(self._advance_slowly(at, events, done))
            return
        try:
            plain = [self._packer.unpack(self._noticed(event)) for event in events]
        except Exception as error:  # noqa: BLE001 because keys may come from anywhere and raise anything
            done(stall_of(error))
            return
        self._live.advance(at, plain, lambda result: self._advanced(result, done))

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """As a run without a codec. One whose history has large payloads is replayed by the next turn's task."""
        arrived = (event for segment in history for event in segment if not isinstance(event, self._worker.unread))
        if not self._packer.is_quick(arrived):
            for _ in deliveries(history, gate):
                pass  # because the engine goes by the gate from now on
            self._history = [event for segment in history for event in segment]
            return None
        try:
            return self._stamped(self._live.replay([self._plain(segment) for segment in history], gate))
        except Exception as error:  # noqa: BLE001 as above
            return stall_of(error)

    def listening(self) -> dict[int, str]:
        """As a run without a codec; nothing as long as the replay waits for the next turn."""
        return self._live.listening()

    def close(self) -> None:
        self._closed = True
        self._live.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _advance_slowly(self, at: int, events: Sequence[Any], done: Done) -> None:
        try:
            stall = await self._catch_up()
            plain = [await self._packer.unpack_slowly(self._noticed(event)) for event in events] if not stall else []
        except Exception as error:  # noqa: BLE001 because a turn that nobody ends would block the instance for ever
            stall, plain = stall_of(error), []
        if self._closed:
            return
        if stall is not None:
            done(stall)
        else:
            self._live.advance(at, plain, lambda result: self._advanced(result, done))

    async def _catch_up(self) -> Stall | None:
        """Replay the history that was too large to be replayed at once, a turn at a time."""
        history, self._history = self._history, None
        if history is None:
            return None
        gate = Gate()
        for turn in turns(history):
            plain = [await self._plain_slowly(event) for event in turn]
            if self._closed:
                return None
            stall = self._live.follow([plain], gate)
            if stall is not None:
                return self._stamped(stall)
        self._live.take_over()
        return None

    def _advanced(self, result: list[Action] | Stall, done: Done) -> None:
        if isinstance(result, Stall):
            done(self._stamped(result) or result)
        elif self._packer.is_quick(result):
            packed: list[Action] | Stall
            try:
                packed = [self._packer.pack(action, self._key) for action in result]
            except Exception as error:  # noqa: BLE001 as above
                packed = stall_of(error)
            done(packed)
        else:
            self._worker.spawn(self._pack_slowly(result, done))

    async def _pack_slowly(self, actions: list[Action], done: Done) -> None:
        packed: list[Action] | Stall
        try:
            packed = [await self._packer.pack_slowly(action, self._key) for action in actions]
        except Exception as error:  # noqa: BLE001 as above
            packed = stall_of(error)
        if not self._closed:
            done(packed)

    def _plain(self, segment: Sequence[Any]) -> list[Any]:
        unread = self._worker.unread
        return [event if isinstance(event, unread) else self._packer.unpack(self._noticed(event)) for event in segment]

    async def _plain_slowly(self, event: Any) -> Any:
        if isinstance(event, self._worker.unread):
            return event
        return await self._packer.unpack_slowly(self._noticed(event))

    def _noticed(self, event: Any) -> Any:
        """What a run writes goes under the key of its input."""
        if isinstance(event, RunStarted):
            beside = event.input.key if event.input is not None else None
            self._key = self._packer.codec.key_for(self._identity.tags, beside)
        return event

    def _stamped(self, stall: Stall | None) -> Stall | None:
        if stall is None or stall.fingerprint is None:
            return stall
        return msgspec.structs.replace(stall, fingerprint=self._worker.stamped(stall.fingerprint))

    def __repr__(self) -> str:
        return f"<PackingRun of {self._identity.name} {self._identity.instance}, key {self._key}>"
