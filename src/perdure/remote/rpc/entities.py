"""What clients call about entities: signalled, looked at, cleaned up."""

from __future__ import annotations

import msgspec

from perdure.engine.entities import Entities
from perdure.history.entities import EntityState
from perdure.remote.hosted import Hosted
from perdure.remote.requests import (
    AboutEntity,
    CleanEntities,
    EntitySelection,
    EntityView,
    EntityViews,
    SignalEntity,
)
from perdure.remote.rpc.caller import Caller

PAGE_MAX = 1_000
"""Entities of one page."""


class EntityCalls:
    """Handlers for clients."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def signal(self, asked: SignalEntity, caller: Caller) -> None:
        """Raises InvalidArgument, MailboxFull."""
        entities = await self._entities(caller)
        await entities.signal(
            asked.entity, asked.operation, asked.request, asked.input, asked.scheduled, asked.scheduled_nanos
        )

    async def get(self, asked: AboutEntity, caller: Caller) -> EntityView | None:
        found = await (await self._entities(caller)).get(asked.entity)
        return _view(found, asked.with_state) if found is not None else None

    async def query(self, asked: EntitySelection, caller: Caller) -> EntityViews:
        """A page of those that are selected, full unless it is the last."""
        entities = await self._entities(caller)
        limit = min(asked.limit or PAGE_MAX, PAGE_MAX)
        views: list[EntityView] = []
        cursor = asked.cursor
        while len(views) < limit:
            page, cursor = await entities.find(asked.prefix, cursor, limit - len(views))
            views.extend(_view(found, asked.with_state) for found in page if _is_selected(found, asked))
            if cursor is None:
                break
        return EntityViews(views=views, cursor=cursor)

    async def clean(self, asked: CleanEntities, caller: Caller) -> tuple[int, int, str | None]:
        """How many entities are removed and locks released; where the next call goes on."""
        operations = await self._hosted.operations(caller.app)
        async with operations.audit.action("clean", "", empty=asked.removes_empty, orphaned=asked.releases_orphaned):
            return await operations.entities.clean(asked.removes_empty, asked.releases_orphaned, asked.cursor)

    async def _entities(self, caller: Caller) -> Entities:
        return (await self._hosted.operations(caller.app)).entities


def _is_selected(found: EntityState, asked: EntitySelection) -> bool:
    since, until = asked.since, asked.until
    is_in_time = (since is None or found.modified >= since) and (until is None or found.modified < until)
    return is_in_time and (found.state is not None or (asked.with_transient and found.exists))


def _view(found: EntityState, with_state: bool) -> EntityView:
    view = EntityView(
        entity=found.id,
        updated=found.modified,
        backlog=found.backlog,
        locked_by=found.locked_by,
        state=found.state,
    )
    return view if with_state else msgspec.structs.replace(view, state=None)
