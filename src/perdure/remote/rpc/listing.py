"""What clients call to look at many instances, or at all that happened to one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from perdure.engine.operations import Operations
from perdure.history.events import RunStalled
from perdure.history.state import InstanceState
from perdure.remote.codec import Codec
from perdure.remote.dispatch.work import Kind
from perdure.remote.hosted import Hosted
from perdure.remote.requests import AboutInstance, Selection, Views
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.views import checked, found, shown_status, view_of
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.statuses import STALLED, SUSPENDED
from perdure.stores.contract import FINISHED, UNFINISHED, Query, Status

PAGE_MAX = 1_000
"""Instances of one page."""
IDS_DEFAULT = 100
"""Ids of one page of finished instances, if the client names no number."""
HISTORY_PAGE = 500
"""Turns that are read at once."""


class Listing:
    """Handlers for clients."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def query(self, asked: Selection, caller: Caller) -> Views:
        """A page of instances, with their payloads if they are asked for."""
        operations = await self._hosted.operations_for(caller.grant, None)
        states, cursor = await select(operations, asked)
        if asked.with_payloads:
            full = [await found(operations, state.id) for state in states]
            states = [state for state in full if state is not None]  # because some may be purged meanwhile
        return Views(views=[view_of(state) for state in states], cursor=cursor)

    async def ids(self, asked: Selection, caller: Caller) -> Views:
        """A page of ids."""
        operations = await self._hosted.operations_for(caller.grant, None)
        states, cursor = await select(operations, asked)
        return Views(ids=[state.id for state in states], cursor=cursor)

    async def finished_ids(self, asked: Selection, caller: Caller) -> Views:
        """A page of ids of finished instances, in the order in which they ended."""
        statuses = asked.statuses & FINISHED if asked.statuses else FINISHED
        if not statuses:
            return Views()
        operations = await self._hosted.operations_for(caller.grant, None)
        query = _query(msgspec.structs.replace(asked, statuses=statuses))
        limit = min(asked.limit or IDS_DEFAULT, PAGE_MAX)
        states, cursor = await operations.find(msgspec.structs.replace(query, by_end=True), asked.cursor, limit)
        return Views(ids=[state.id for state in states], cursor=cursor)

    async def history(self, asked: AboutInstance, caller: Caller, codec: Codec) -> AsyncIterator[list[bytes]]:
        """The committed history in parts, as events of a codec. Raises InstanceNotFound.

        While the run goes on these are the events that its worker was shown, because a worker that lost its memory asks
        for them here, and counts them. A stall, which is no part of history, is told at its end while no worker has a
        turn of the run.
        """
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        state = await operations.state(checked(asked.instance), None)
        encode = codec.history if state.is_finished else codec.history_for_work
        execution = wire_execution(state.execution, state.generation)
        after: int | None = 0
        while after is not None:
            events, after = await operations.events(asked.instance, after, HISTORY_PAGE)
            if after is None and not self._is_out(state):
                events = [*events, *_stalls(state)]
            yield encode(events, asked.instance, execution, state.app)

    def _is_out(self, state: InstanceState) -> bool:
        return self._hosted.dispatcher.without_token(state.app, Kind.TURN, state.id) is not None


def _stalls(state: InstanceState) -> list[RunStalled]:
    halt = state.stalled
    if halt is None or state.is_finished:
        return []
    return [RunStalled(at=halt.since, reason=halt.reason, description=halt.description)]


async def select(operations: Operations, asked: Selection) -> tuple[list[InstanceState], str | None]:
    """A page of those that are selected, full unless it is the last."""
    limit = min(asked.limit or PAGE_MAX, PAGE_MAX)
    states: list[InstanceState] = []
    cursor = asked.cursor
    while len(states) < limit:
        page, cursor = await page_of(operations, asked, cursor, limit - len(states))
        states.extend(page)
        if cursor is None:
            break
    return states, cursor


async def page_of(
    operations: Operations, asked: Selection, cursor: str | None, limit: int
) -> tuple[list[InstanceState], str | None]:
    """Those that are selected of the next `limit` instances that may be, and where the next page begins."""
    if asked.statuses and not _stored(asked.statuses):
        return [], None
    page, cursor = await operations.find(_query(asked), cursor, limit)
    return [state for state in page if _is_selected(state, asked)], cursor


def _query(asked: Selection) -> Query:
    return Query(
        status=tuple(sorted(_stored(asked.statuses))),
        created_after=asked.since,
        created_before=asked.until,
        finished_after=asked.finished_since,
        finished_before=asked.finished_until,
        text=asked.prefix or None,
    )


def _stored(statuses: frozenset[str]) -> frozenset[str]:
    """The statuses in the store of instances that are shown with one of these."""
    halted = frozenset(UNFINISHED) if statuses & {SUSPENDED, STALLED} else frozenset()
    return (statuses & frozenset(Status)) | halted


def _is_selected(state: InstanceState, asked: Selection) -> bool:
    is_stalled = state.stalled is not None and not state.is_finished and STALLED in asked.statuses
    has_status = not asked.statuses or shown_status(state) in asked.statuses or is_stalled
    return has_status and state.id.startswith(asked.prefix)
