"""What clients call about one instance: to start it, tell it something, look at it and wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from perdure.engine.operations import Operations
from perdure.errors import InstanceExists, InstanceNotFound, InvalidArgument
from perdure.history.entities import is_entity
from perdure.history.events import EventRaised, RunResumed, RunSuspended, RunTerminated
from perdure.history.work import StartOptions
from perdure.remote.hosted import Hosted
from perdure.remote.requests import (
    AboutInstance,
    InstanceView,
    Pause,
    RaiseEvent,
    StartInstance,
    Terminate,
)
from perdure.remote.rpc.caller import Caller, is_microsoft
from perdure.remote.rpc.views import checked, found, shown_status, view_of
from perdure.remote.wire.statuses import SUSPENDED
from perdure.stores.contract import Status

START_LOOK_SECONDS = 0.01
START_LOOK_SECONDS_MAX = 0.25
"""How often a call that waits for the start of an instance looks, and how far its pause grows."""
REPLACE_SECONDS = 10.0
"""How long a start waits for the end of the instance that it replaces."""


class Instances:
    """Handlers for clients."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    # -- start ----------------------------------------------------------------------------------------------------

    async def start(self, asked: StartInstance, caller: Caller) -> str:
        """The id of the instance, which is durable. Raises InstanceExists, InvalidArgument."""
        if not asked.name:
            raise InvalidArgument("the workflow has no name; say which one to start")
        if is_entity(asked.instance):
            raise InvalidArgument(
                f"id {asked.instance[:200]!r} is an entity's; give the instance one without @ in front"
            )
        if fault := fault_of_policy(asked.replaceable):
            raise InvalidArgument(fault)
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        await self._make_way(operations, asked)
        options = StartOptions(
            id=asked.instance or None,
            at=asked.scheduled,
            tags=dict(asked.tags) if asked.tags else None,
            version=asked.version,
            trace=asked.trace or caller.trace,
            unique=asked.must_be_new or (asked.replaceable is None and is_microsoft(caller)),  # as its clients expect
        )
        id, _ = await operations.start(asked.name, asked.input, options)
        return id

    async def _make_way(self, operations: Operations, asked: StartInstance) -> None:
        """End the instance that has the id, if the client allows that it is replaced. Raises InstanceExists."""
        if asked.replaceable is None or not asked.instance:
            return
        state = await found(operations, asked.instance)
        if state is None:
            return
        if shown_status(state) not in asked.replaceable:
            raise InstanceExists(f"instance {asked.instance!r} exists and is {shown_status(state)}", asked.instance)
        if not state.is_finished:
            event = RunTerminated(output=None, recursive=False)
            await operations.command(asked.instance, None, event, self._key())
            await operations.outcome(asked.instance, None, REPLACE_SECONDS)

    # -- commands -------------------------------------------------------------------------------------------------

    async def raise_event(self, asked: RaiseEvent, caller: Caller) -> None:
        if not asked.name:
            raise InvalidArgument("the event has no name; say what happened")
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        await self._command(operations, asked.instance, EventRaised(name=asked.name, data=asked.data))

    async def terminate(self, asked: Terminate, caller: Caller) -> None:
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        await self._command(operations, asked.instance, RunTerminated(output=asked.output, recursive=asked.recursive))

    async def suspend(self, asked: Pause, caller: Caller) -> None:
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        await self._command(operations, asked.instance, RunSuspended(reason=asked.reason))

    async def resume(self, asked: Pause, caller: Caller) -> None:
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        await self._command(operations, asked.instance, RunResumed(reason=asked.reason))

    async def _command(self, operations: Operations, id: str, event: Any) -> None:
        at = self._hosted.clock.now()
        await operations.command(checked(id), None, _at(event, at), self._key())

    # -- looking --------------------------------------------------------------------------------------------------

    async def get(self, asked: AboutInstance, caller: Caller) -> InstanceView | None:
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        state = await found(operations, asked.instance)
        return view_of(state) if state is not None else None

    async def existing(self, asked: AboutInstance, caller: Caller) -> InstanceView:
        """Likewise, of an instance that has to be there. Raises InstanceNotFound."""
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        return view_of(await operations.state(checked(asked.instance), None))

    async def wait_for_start(self, asked: AboutInstance, caller: Caller) -> InstanceView | None:
        """The instance once its first turn is durable. The caller's deadline ends the wait."""
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        pause = START_LOOK_SECONDS
        while True:
            state = await found(operations, asked.instance)
            if state is None or state.status != Status.PENDING:
                return view_of(state) if state is not None else None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, START_LOOK_SECONDS_MAX)

    async def wait_for_end(self, asked: AboutInstance, caller: Caller) -> InstanceView | None:
        """The finished instance, as soon as it is. The caller's deadline ends the wait."""
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        try:
            state = await operations.outcome(checked(asked.instance), None, None)
            if state.input is None and asked.with_payloads:
                # because whoever saw the end may not have had the beginning at hand
                state = await operations.state(asked.instance, None)
        except InstanceNotFound:
            return None
        return view_of(state)

    def _key(self) -> str:
        return self._hosted.clock.token()


_RUNS = frozenset((Status.RUNNING, Status.PENDING, SUSPENDED))


def fault_of_policy(replaceable: frozenset[str] | None) -> str | None:
    """What is wrong with the statuses of instances that a start may replace. Pure."""
    if replaceable and replaceable & _RUNS and Status.TERMINATED not in replaceable:
        # because what runs is terminated to be replaced; clients know these words
        return (
            "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing reuse of running instances; "
            "add it to the policy"
        )
    return None


def _at(event: Any, at: int) -> Any:
    return msgspec.structs.replace(event, at=at)
