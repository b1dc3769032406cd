"""One run between a server and its workers, a step at a time: each message can be lost, repeated or taken back.

Server, settling, bytes and workers are the real ones; what is missing is the network, the store and time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.app import App
from perdure.codec import encode
from perdure.history.actions import Action
from perdure.history.creation import pending_head
from perdure.history.delivery import Shutter
from perdure.history.events import RunStarted, encode_segment
from perdure.history.settle import settle
from perdure.history.work import Identity, Stall
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.run import RemoteRun
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.dispatch.turn import TurnWork
from perdure.remote.native.codec import NATIVE, Turn
from perdure.remote.native.runs import LiveRuns
from perdure.remote.requests import OpenStream, TurnResult
from perdure.remote.security import Grant
from perdure.sdk.worker import Worker
from perdure.stores.contract import Wait

EXECUTION = "0123456789abcdef0123456789abcdef"


class Executor(Worker):
    """A worker's code that counts how often a run was brought into memory."""

    opened = 0

    def open(self, identity: Identity, is_new: bool) -> Any:
        self.opened += 1
        return super().open(identity, is_new)


class Bench:
    """A connected worker: its stream as the server has it, and its live runs."""

    def __init__(self, app: App, name: str, runs_max: int = 100) -> None:
        self.executor = Executor(app.id, app.definitions)
        self.runs = LiveRuns(self.executor, runs_max)
        self.stream = WorkerStream(app.id, NATIVE, OpenStream(worker=name))
        self.answers: list[bytes] = []
        self.sizes: list[int] = []

    async def take(self) -> list[bytes]:
        """Take the turns that lie in the stream; what this gave to answer."""
        given = len(self.answers)
        while self.stream.has_unsent:
            data = await self.stream.next()
            assert data is not None
            item = NATIVE.read_item(data)
            if isinstance(item, Turn):
                self.sizes.append(len(item.past))
                self.runs.take(item, self._note)
        return self.answers[given:]

    def _note(self, result: TurnResult) -> None:
        self.answers.append(NATIVE.write_turn_result(result))


class Desk:
    """A run at its server. `advance` hands out a turn, `hear` takes an answer, and settles it if it counts."""

    def __init__(self, app: App, name: str, *arguments: Any) -> None:
        self._numbers = itertools.count(1)
        self._clock = itertools.count(1_700_000_000_000_000, 1_000)
        self.app = app
        self.dispatcher = Dispatcher(lambda: 0.0, lambda: f"token{next(self._numbers)}", lambda app, ready: None)
        self.at = next(self._clock)
        self.start = RunStarted(at=self.at, name=name, input=encode(arguments[0]), execution=EXECUTION)
        self.head = pending_head(app.id, "i-1", self.start, self.at)
        self.waits: dict[int, Wait] = {}
        self.gate = Shutter()
        self.events: list[Sequence[Any]] = []
        self.stall: Stall | None = None
        self.accepted: list[Any] = []
        self.run = self._opened()

    def _opened(self) -> RemoteRun:
        head = self.head
        identity = Identity("shop", head.id, head.execution, head.generation, head.name, self.at)
        return RemoteRun(identity, self.dispatcher)

    def connect(self, bench: Bench) -> Bench:
        self.dispatcher.connect(bench.stream)
        return bench

    def advance(self, *events: Any) -> None:
        """What the engine does with a batch: record what the code is not to see, hand out what it is."""
        self.accepted = [msgspec.structs.replace(event, at=(at := next(self._clock))) for event in events]
        self.at = at
        seen = self.gate.pass_through(self.accepted)
        if seen:
            self.run.advance(self.at, seen, self._done)
        else:
            self.accepted = self.gate.recorded(self.accepted)
            self._done([])

    def hear(self, answer: bytes) -> bool:
        """Take an answer as the server does; whether it is one to a turn that is out."""
        result = NATIVE.read_turn_result(answer)
        found = self.dispatcher.peek(result.token)
        if found is None:
            return False
        work, _ = found
        assert isinstance(work, TurnWork)
        work.take(result, self.dispatcher, Grant("shop", frozenset(("shop",))))
        return True

    async def turn(self, bench: Bench, *events: Any) -> None:
        """A turn that nothing disturbs."""
        self.advance(*events)
        await self.converse(bench)

    async def converse(self, bench: Bench) -> None:
        """Let worker and server talk until neither has anything to say."""
        while answers := await bench.take():
            for answer in answers:
                self.hear(answer)

    def _done(self, result: list[Action] | Stall) -> None:
        if isinstance(result, Stall):
            self.stall = result
            return
        draft = settle(self.head, self.waits, self.at, self.accepted, result)
        for number in draft.closed:
            self.waits.pop(number, None)
        self.waits.update(draft.opened)
        head = draft.new_head()
        self.head = head if head is not None else msgspec.structs.replace(self.head, sequence=self.head.sequence + 1)
        self.events.append(draft.events)
        self.run.settled(draft.events, encode_segment(draft.events) if len(draft.events) > 1 else None)

    @property
    def output(self) -> Any:
        """What the run has returned."""
        completed = self.events[-1][-1]
        return msgspec.json.decode(completed.output.data)


def play(scenario: Any) -> None:
    asyncio.run(scenario())
