"""What is read of instances, and how they are found."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import (
    ADMITTED,
    FINISHED,
    QUEUED,
    Awaited,
    End,
    Head,
    Item,
    Loaded,
    OpenCall,
    Page,
    Permit,
    Query,
    Segment,
    Stream,
    Wait,
)
from perdure.stores.instance import Instance
from perdure.stores.memory.rows import Rows
from perdure.stores.rules import matches, read_cursor, write_cursor


class Reading(Rows):
    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        return [
            Loaded(
                found.head,
                list(found.segments),
                list(found.mail.values()),
                found.open_waits,
                [*reversed(found.seen)],
            )
            for found in self._of(shard, ids)
        ]

    async def head(self, shard: int, id: str) -> Head | None:
        found = self._instances[shard].get(id)
        return found.head if found else None

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        return [found.head for shard, id in dict.fromkeys(places) for found in self._of(shard, [id])]

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        return [self._end(self._instances[run.shard].get(run.id), run.execution) for run in awaited]

    def _end(self, found: Instance | None, execution: str | None) -> End | None:
        if found is None:
            return End()
        if found.head.status not in FINISHED:
            return End(found.head) if execution not in (None, found.head.execution) else None
        events = [segment.events for segment in found.segments]
        return End(found.head, events[0], events[-1]) if events else End(found.head)

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        segments = [segment for found in self._of(shard, [id]) for segment in found.segments]
        return [segment for segment in segments if segment.sequence > after][:limit]

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        found = self._instances[shard].get(id)
        return found.segments[-1] if found and found.segments else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        found = self._instances[shard].get(id)
        return found.open_waits if found else []

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        found = self._instances[shard].get(id)
        shown = {**found.published, **found.answers} if found else {}
        return {name: shown[name] for name in names if name in shown}

    async def streams(self, shard: int, id: str) -> list[Stream]:
        found = self._instances[shard].get(id)
        return [found.stream(*key) for key in sorted(found.streams)] if found else []

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        found = self._instances[shard].get(id)
        strand = found.streams.get((generation, number)) if found else None
        return strand.items[after : after + limit] if strand else []

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        found = self._instances[shard].get(id)
        strand = found.streams.get((generation, number)) if found else None
        return strand.items[-1] if strand else None

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        calls: list[OpenCall] = []
        for id, found in self._unfinished(shard):
            if len(calls) >= limit:
                break
            if id > after:
                head = found.head
                calls += [
                    OpenCall(shard, id, head.execution, head.generation, wait)
                    for wait in found.open_waits
                    if wait.state in (QUEUED, ADMITTED)
                ]
        return calls

    async def permits(self, shard: int, after: int) -> list[Permit]:
        kept = [permit for permit in self._shards[shard].permits if permit.until > after]
        return sorted(kept, key=lambda permit: (permit.queue, permit.at))

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        found = [
            ((_place(instance.head, query), instance.head.id, shard), instance.head)
            for shard, instances in self._instances.items()
            if query.shard in (None, shard)
            for instance in instances.values()
            if matches(instance.head, query)
        ]
        found.sort(key=lambda entry: entry[0], reverse=not query.by_end)
        if cursor is not None:
            position = read_cursor(cursor)
            found = [e for e in found if (e[0] > position if query.by_end else e[0] < position)]
        page = found[:limit]
        return Page([head for _, head in page], write_cursor(*page[-1][0]) if len(found) > limit else None)


def _place(head: Head, query: Query) -> int:
    return (head.finished or 0) if query.by_end else head.created
