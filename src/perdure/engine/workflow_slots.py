"""How many workflows a node has begun that are not finished, in all and by name, and who waits to begin."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from perdure.stores.contract import Head

WORKFLOW = "workflow"
"""The kind of instances that take slots; schedules and entities take none."""


class _Waiter(NamedTuple):
    shard: int
    name: str
    ask: Callable[[str], None]


class WorkflowSlots:
    """The workflows of one node, on all of its shards; `count` None: as many as there are.

    A slot is taken by the turn that begins a workflow, and left when its end is durable. What a node takes over has
    begun already, and may be more than there are slots; then nothing begins until there are less. Those that wait are
    asked by age, each with the function that it left, and have to enter before that returns or to be asked again.
    """

    def __init__(self, count: int | None = None, limits: Mapping[str, int] = MappingProxyType({})) -> None:
        self.count = count
        self.limits = limits
        self.is_limited = count is not None or bool(limits)
        self._held: dict[str, tuple[int, str]] = {}
        self._names: Counter[str] = Counter()
        self._waiting: dict[str, _Waiter] = {}
        self._lines: dict[str | None, list[tuple[int, str]]] = {}
        self._asked: set[str] = set()

    def enter(self, shard: int, head: Head, ask: Callable[[str], None]) -> bool:
        """Whether the workflow may begin now. If not it waits, and `ask` is called with its id when it may."""
        if head.id in self._held:
            self._asked.discard(head.id)
            return True
        if head.id not in self._waiting and self._has_slot(head.name) and self._next(self._line_of(head.name)) is None:
            self.occupy(shard, head)
            return True
        if head.id not in self._waiting:
            self._waiting[head.id] = _Waiter(shard, head.name, ask)
            heapq.heappush(self._lines.setdefault(self._line_of(head.name), []), (head.created, head.id))
        return False

    def occupy(self, shard: int, head: Head) -> None:
        """The workflow has begun, whether or not there was a slot."""
        self._waiting.pop(head.id, None)
        self._asked.discard(head.id)
        if head.id not in self._held:
            self._hold(head.id, shard, head.name)

    def leave(self, id: str) -> None:
        """The workflow is finished, or has not begun after all: others may begin. One that waits waits no longer."""
        self._waiting.pop(id, None)
        self._asked.discard(id)
        held = self._held.pop(id, None)
        if held is not None:
            self._names[held[1]] -= 1
        self._ask_next()

    def settle(self, id: str) -> None:
        """Who was asked has answered: if it has not entered, its slot is another's."""
        if id in self._asked:
            self.leave(id)

    def vacate(self, shard: int) -> None:
        """The shard is another node's now."""
        self._waiting = {id: waiter for id, waiter in self._waiting.items() if waiter.shard != shard}
        for id in [id for id, (where, _) in self._held.items() if where == shard]:
            self.leave(id)

    def waits(self, id: str) -> bool:
        return id in self._waiting

    def holders(self, name: str) -> Iterator[str]:
        """Ids of those for whose end a workflow of this name waits, those of the longest time first."""
        is_of_name = name in self.limits and self._names[name] >= self.limits[name]
        return (id for id, (_, held) in self._held.items() if not is_of_name or held == name)

    def bound(self, name: str) -> int:
        """How many may have begun of those that `holders` tells of."""
        is_of_name = name in self.limits and self._names[name] >= self.limits[name]
        return self.limits[name] if is_of_name else self.count or 0

    def _hold(self, id: str, shard: int, name: str) -> None:
        self._held[id] = (shard, name)
        self._names[name] += 1

    def _has_slot(self, name: str) -> bool:
        is_free = self.count is None or len(self._held) < self.count
        return is_free and (name not in self.limits or self._names[name] < self.limits[name])

    def _line_of(self, name: str) -> str | None:
        return name if name in self.limits else None

    def _next(self, line: str | None) -> tuple[int, str] | None:
        """Who waits for the longest time in the line."""
        heap = self._lines.get(line)
        while heap:
            if heap[0][1] in self._waiting:
                return heap[0]
            heapq.heappop(heap)  # because it waits no longer
        self._lines.pop(line, None)
        return None

    def _ask_next(self) -> None:
        """Ask those who may begin; each has its slot until it has answered."""
        while (id := self._first()) is not None:
            waiter = self._waiting.pop(id)
            self._hold(id, waiter.shard, waiter.name)
            self._asked.add(id)
            waiter.ask(id)

    def _first(self) -> str | None:
        """The oldest of those that have a slot to take."""
        found = [first for line in list(self._lines) if (first := self._next(line)) is not None]
        free = [first for first in found if self._has_slot(self._waiting[first[1]].name)]
        return min(free)[1] if free else None

    def __repr__(self) -> str:
        return f"<WorkflowSlots {len(self._held)} of {self.count}, {len(self._waiting)} wait>"
