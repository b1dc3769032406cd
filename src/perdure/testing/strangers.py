"""Workers of the public protocols as their SDKs behave: turns replayed from history, answers sent as they can."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from perdure.engine.attempts import idempotency_key
from perdure.errors import PerdureError
from perdure.history.actions import (
    Action,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleActivity,
    SendEvent,
    SetStatus,
)
from perdure.history.delivery import Gate, deliveries
from perdure.history.events import CONFIRMATIONS, RunResumed, RunStarted, RunSuspended, TurnStarted
from perdure.history.work import Attempt, Identity, Outcome
from perdure.remote.requests import (
    AboutInstance,
    ActivityItem,
    ActivityResult,
    Capability,
    Flavour,
    OpenStream,
    TurnItem,
    TurnResult,
)
from perdure.remote.rpc.table import SERVICE
from perdure.remote.wire.codec import Codec, codec_of
from perdure.remote.wire.framing import framed, unframed
from perdure.remote.wire.schema import MICROSOFT_SCHEMA
from perdure.testing.network import ATTEMPT_DONE, TURN_DONE, WORK, Manners, SimChannel
from perdure.testing.nodes import SimWorker
from perdure.testing.programs import Program
from perdure.testing.repertoire import PlainRun
from perdure.testing.scenario import APP

AGENTS = {Flavour.DAPR: "dapr-simulated", Flavour.MICROSOFT: "durabletask-python"}
"""User agents by which servers tell the flavours."""
HISTORY = f"/{SERVICE}/GetInstanceHistory"
GIVEN_BACK = f"/{SERVICE}/AbandonTaskOrchestratorWorkItem"
SPOKEN = (ScheduleActivity, CreateChild, CreateTimer, SendEvent, CompleteRun, ContinueRun, CreateDetached)
"""Actions for which the protocols have words; what else code asks for, its SDK keeps to itself."""
BEFORE_START = (TurnStarted, RunSuspended, RunResumed)
"""Events that may come before a run's start; some SDKs wait for ever if it is another."""
AGAIN_SECONDS = 0.1
ANSWER_SECONDS = 30.0


class Stranger:
    """Serves one stream after another. `memory_max` histories are kept by a worker that is stateful."""

    def __init__(
        self,
        channel: SimChannel,
        manners: Manners,
        flavour: Flavour,
        code: SimWorker,
        opened: OpenStream,
        memory_max: int,
    ) -> None:
        self.channel = channel
        self.broken: list[str] = []
        self._manners = manners
        self._codec: Codec = codec_of(flavour)
        self._is_microsoft = flavour is Flavour.MICROSOFT
        self._code = code
        self._opened = opened
        self._tasks: set[asyncio.Task[None]] = set()
        self._memory: dict[tuple[str, str], list[bytes]] = {}
        self._memory_max = memory_max if Capability.STATEFUL_HISTORY in opened.capabilities else 0

    async def serve(self) -> None:
        """Take work until the process ends."""
        opening = self._codec.peer.write_open_stream(self._opened)
        while True:
            try:
                async for data in self.channel.stream(WORK, opening):
                    item = self._codec.read_item(data)
                    if isinstance(item, TurnItem):
                        self._spawn(self._turn(item), "perdure-turn")
                    elif isinstance(item, ActivityItem):
                        self._spawn(self._attempt(item), "perdure-attempt")
            except PerdureError:
                await asyncio.sleep(AGAIN_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- turns ----------------------------------------------------------------------------------------------------

    async def _turn(self, item: TurnItem) -> None:
        if self._is_microsoft and await self._declines(item):
            return
        frames = await self._history(item)
        if frames is None:
            return
        actions = self._replayed(item, frames)
        if actions is not None:
            await self._answer(item, actions)

    async def _declines(self, item: TurnItem) -> bool:
        """Whether the worker asks for the whole history, gives the turn back, or answers nonsense."""
        if self._manners.happens("history asked for in full"):
            await self._tell(TurnResult(instance=item.instance, token=item.token, must_have_history=True))
        elif self._manners.happens("work given back"):
            request = MICROSOFT_SCHEMA.AbandonWorkflowTaskRequest(completionToken=item.token)
            await self._send(GIVEN_BACK, request.SerializeToString())
        elif self._manners.happens("answer garbled"):
            result = self._codec.peer.write_turn_result(TurnResult(instance=item.instance, token=item.token))
            await self._send(TURN_DONE, result + b"\x12\x03\xff")
        else:
            return False
        return True

    async def _history(self, item: TurnItem) -> list[bytes] | None:
        """The events before the turn; None if they are not to be had, or are another run's by now."""
        key = item.instance, item.execution
        frames = [*item.past]
        if item.cached is not None:
            known = self._memory.get(key, [])
            if len(known) < item.cached:
                known = await self._asked_for(item)
            if len(known) < item.cached:
                return None
            frames = known[: item.cached] + frames
        if self._memory_max:
            self._memory[key] = frames
            while len(self._memory) > self._memory_max:
                del self._memory[next(iter(self._memory))]
        return frames

    async def _asked_for(self, item: TurnItem) -> list[bytes]:
        self._manners.note("history asked of the server")
        peer = self._codec.peer
        try:
            data = await self.channel.send(HISTORY, peer.write_about(AboutInstance(instance=item.instance)))
        except PerdureError:
            return []
        found = peer.read_history(data)
        started = next((event for event in map(self._codec.read_event, found) if isinstance(event, RunStarted)), None)
        is_same = isinstance(started, RunStarted) and started.execution == item.execution
        return [framed(event) for event in found] if is_same else []

    def _replayed(self, item: TurnItem, frames: Sequence[bytes]) -> list[Action] | None:
        """What the code asks for in the turn, None if there is no such code."""
        past = [self._codec.read_event(unframed(frame)) for frame in frames]
        new = [self._codec.read_event(unframed(frame)) for frame in item.new]
        started = next((event for event in [*past, *new] if not isinstance(event, BEFORE_START)), None)
        if not isinstance(started, RunStarted):
            self.broken.append(f"the history of {item.instance} begins with {started}")
            return None
        workflow = self._code.workflow(started.name)
        if workflow is None:
            return None
        run = PlainRun(
            Identity(APP, item.instance, item.execution, 1, started.name, (past or new)[0].at),
            workflow.main,
            workflow.is_generator,
        )
        gate = Gate()
        for turn in deliveries([past], gate):
            run.retrace(turn)
        actions = run.advance(new[0].at, gate.pass_through([e for e in new[1:] if not isinstance(e, CONFIRMATIONS)]))
        run.close()
        return actions

    async def _answer(self, item: TurnItem, actions: Sequence[Action]) -> None:
        status = next((action.status for action in actions if isinstance(action, SetStatus)), None)
        spoken = [action for action in actions if isinstance(action, SPOKEN)]
        parts = [spoken]
        if self._is_microsoft and self._manners.happens("answer in parts"):
            parts = [[action] for action in spoken] + [[]]
        for place, part in enumerate(parts):
            is_last = place == len(parts) - 1
            result = TurnResult(
                instance=item.instance,
                token=item.token,
                actions=part,
                status=status if is_last else None,
                is_partial=not is_last,
                chunk=place if len(parts) > 1 else None,
            )
            if not await self._tell(result):
                return  # because the server has not heard all of it, so that the turn's lease decides

    async def _tell(self, result: TurnResult) -> bool:
        return await self._send(TURN_DONE, self._codec.peer.write_turn_result(result))

    # -- attempts -------------------------------------------------------------------------------------------------

    async def _attempt(self, item: ActivityItem) -> None:
        execution, generation, *_ = item.token.split(".")
        key = idempotency_key((item.instance, execution, int(generation), item.number))  # because one flavour has none
        work = Attempt(APP, item.instance, item.name, 1, key, item.input, None, None, number=item.number)
        outcome = await self._code.attempt(work, lambda details: None, _no_outlet)
        assert isinstance(outcome, Outcome)
        result = ActivityResult(
            instance=item.instance,
            number=item.number,
            token=item.token,
            result=outcome.result,
            failure=outcome.failure,
        )
        data = self._codec.peer.write_activity_result(result)
        if not await self._send(ATTEMPT_DONE, data):
            await self._send(ATTEMPT_DONE, data)  # because some SDKs try again, once

    async def _send(self, path: str, data: bytes) -> bool:
        """Whether the server has heard it."""
        try:
            await self.channel.send(path, data, ANSWER_SECONDS)
        except (PerdureError, TimeoutError):
            return False
        return True

    def __repr__(self) -> str:
        return f"<Stranger {self._codec.flavour} at {self.channel!r}>"


def _no_outlet() -> Any:
    raise AssertionError("no activity of these protocols yields")


def spoken_by(flavour: Flavour, program: Program) -> Program:
    """The program without what the flavour has no word for: detached children, and in the other flavour a name for
    those of each generation."""
    if flavour is Flavour.DAPR and program.rounds == 1:
        return program
    data = msgspec.json.encode(program).replace(b'"detached":true', b'"detached":false')
    return msgspec.json.decode(data, type=Program)
