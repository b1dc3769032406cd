"""What clients call to end instances at once, or to remove them."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from perdure.engine.operations import Operations
from perdure.errors import InstanceNotFinished, InstanceNotFound, InvalidArgument
from perdure.history.entities import is_entity
from perdure.history.events import RunTerminated
from perdure.paging import each_found
from perdure.remote.hosted import Hosted
from perdure.remote.requests import Purge, Selection, Terminate, TerminateBatch
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.listing import PAGE_MAX, page_of
from perdure.remote.rpc.views import checked
from perdure.stores.contract import Query

BATCH_MAX = 500
"""Instances that one call may name."""
END_SECONDS = 10.0
"""How long a removal by force waits for the end of what it removes."""


class Removal:
    """Handlers for clients."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def purge(self, asked: Purge, caller: Caller) -> tuple[int, bool]:
        """How many are gone, and whether that is all of them. What is not finished stays, unless it is forced."""
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        _check_batch(len(asked.instances))
        count, is_complete = 0, True
        if asked.selection is not None:
            count, is_complete = await self._purge_selected(operations, asked, asked.selection)
        for id in asked.instances:
            if is_entity(id):
                async with operations.audit.action("purge", id):
                    count += await operations.entities.delete(id)
            else:
                count += await self._purge_one(operations, checked(id), asked)
        return count, is_complete

    async def terminate_batch(self, asked: TerminateBatch, caller: Caller) -> list[str]:
        """The ids of which there is no instance to end."""
        operations = await self._hosted.operations_for(caller.grant, None)
        _check_batch(len(asked.instances))
        left: list[str] = []
        for id in asked.instances:
            try:
                await self._terminate(operations, checked(id), Terminate(instance=id, output=asked.reason))
            except InstanceNotFound:
                left.append(id)
        return left

    async def _purge_one(self, operations: Operations, id: str, asked: Purge) -> int:
        count = 0
        if asked.forced:
            count = await self._force(operations, id, asked.recursive)
        try:
            return count + await operations.purge(id, None, asked.recursive)
        except (InstanceNotFound, InstanceNotFinished):
            return count

    async def _force(self, operations: Operations, id: str, is_recursive: bool) -> int:
        """End the instance, and remove its children if they are to go; how many are gone."""
        try:
            await self._terminate(operations, id, Terminate(instance=id))
            await operations.outcome(id, None, END_SECONDS)
        except InstanceNotFound:
            return 0
        if not is_recursive:
            return 0
        count = 0
        async for child in each_found(partial(operations.find, Query(parent=id)), PAGE_MAX):
            count += await self._purge_one(operations, child.id, Purge(recursive=True, forced=True))
        return count

    async def _terminate(self, operations: Operations, id: str, asked: Terminate) -> None:
        clock = self._hosted.clock
        event = RunTerminated(at=clock.now(), output=asked.output, recursive=asked.recursive)
        await operations.command(id, None, event, clock.token())

    async def _purge_selected(self, operations: Operations, asked: Purge, chosen: Selection) -> tuple[int, bool]:
        now = asyncio.get_running_loop().time
        ends = now() + asked.seconds_max if asked.seconds_max is not None else None
        each = msgspec.structs.replace(asked, instances=(), selection=None)
        count = 0
        async for state in each_found(partial(page_of, operations, chosen), PAGE_MAX):
            if ends is not None and now() > ends:
                return count, False
            count += await self._purge_one(operations, state.id, each)
        return count, True


def _check_batch(count: int) -> None:
    if count > BATCH_MAX:
        raise InvalidArgument(f"the call names {count:,} instances; name {BATCH_MAX} at most")
