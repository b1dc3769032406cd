"""Who waits for the end of which run, and how the end is found: told by the owner here, or looked for, for all at once.

A node looks for runs of instances that others own, again and again, and once for one that it owns and does not run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from perdure.actors.rounds import Rounds
from perdure.engine.node import Node
from perdure.errors import HistoryCorrupt, InstanceNotFound, PerdureError, StoreRolledBack, StoreUnavailable
from perdure.history.events import RunCompleted, RunStarted, decode_segment
from perdure.history.state import InstanceState, state_of
from perdure.scheduler.pace import LOOK_SECONDS_MAX, LookPause, look_gap
from perdure.stores.contract import FINISHED, Awaited, End, Head

T = TypeVar("T")
Future = asyncio.Future[InstanceState]
Run = tuple[str, str | None]
"""(instance id, execution); None: the newest run."""


class Waiters:
    """The callers in this process that wait for runs to end.

    `head` reads the head of an instance of an execution, or raises InstanceNotFound; `state` reads the rest.
    """

    def __init__(
        self,
        node: Node,
        head: Callable[[str, str | None], Awaitable[Head]],
        state: Callable[[Head], Awaitable[InstanceState]],
    ) -> None:
        self._node = node
        self._head = head
        self._state = state
        self._waiting: dict[Run, list[Future]] = {}
        self._unsure: set[Run] = set()
        self._poll = Rounds("results", self._poll_round, lambda: look_gap(len(self._waiting)))
        self._pause = LookPause()

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def start(self) -> None:
        self._poll.start()

    async def stop(self) -> None:
        await self._poll.stop()
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()
        self._waiting.clear()

    async def wait(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        """The final state of a run. Raises InstanceNotFound, StoreCorrupt, HistoryCorrupt, and TimeoutError after so
        many seconds."""
        run = (id, execution)
        future: Future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run, []).append(future)
        try:
            if not self._node.runs(id, execution):
                self._unsure.add(run)
                self._pause.restart()
                self._poll.wake()
            if timeout is None:
                return await future
            async with asyncio.timeout(timeout):
                return await future
        finally:
            futures = self._waiting.get(run, [])
            if future in futures:
                futures.remove(future)
            if not futures:
                self._waiting.pop(run, None)
                self._unsure.discard(run)

    def ended(self, head: Head, begun: RunStarted | None, completed: RunCompleted) -> None:
        """A run of this node has ended."""
        futures = self._waiting.get((head.id, head.execution), ()), self._waiting.get((head.id, None), ())
        if any(futures):
            state = state_of(head, begun, completed)
            for some in futures:
                _tell(some, state)

    def taken_over(self) -> None:
        """This node owns more shards now: the last owner may have finished something between two looks."""
        self._unsure.update(self._waiting)
        self._poll.wake()

    def give_up(self, error: PerdureError) -> None:
        """What is waited for may never come, or not here: tell everybody who waits."""
        for futures in self._waiting.values():
            _tell(futures, error)

    # -- looking --------------------------------------------------------------------------------------------------

    async def _poll_round(self) -> float | None:
        try:
            return await self._look()
        except StoreRolledBack as error:
            self.give_up(error)
            raise

    async def _look(self) -> float | None:
        unsure, self._unsure = self._unsure, set()
        owned = self._node.owned
        known = ((Awaited(self._node.shard_of(id), id, execution), (id, execution)) for id, execution in self._waiting)
        awaited = [awaited for awaited, run in known if awaited.shard not in owned or run in unsure]
        if not awaited:
            return None if not self._waiting else LOOK_SECONDS_MAX
        try:
            ends = await self._node.store.ends(awaited)
        except BaseException:
            self._unsure |= unsure
            raise
        news = [(run, end) for run, end in zip(awaited, ends, strict=True) if end is not None]
        for run, end in news:
            state = _state(run, end)
            outcome = await self._read(run) if state is None else state
            _tell(self._waiting.get((run.id, run.execution), ()), outcome)
        return self._pause.after(bool(news))

    async def _read(self, run: Awaited) -> InstanceState | PerdureError | None:
        """What the rows of one instance tell of a run; None if it goes on after all."""
        try:
            head = await self._head(run.id, run.execution)
            return await self._state(head) if head.status in FINISHED else None
        except StoreUnavailable:
            raise
        except PerdureError as error:
            return error

    def __repr__(self) -> str:
        return f"<Waiters for {len(self._waiting)} runs>"


def _tell(futures: Iterable[Future], outcome: InstanceState | PerdureError | None) -> None:
    for future in futures:
        if future.done() or outcome is None:
            continue
        if isinstance(outcome, PerdureError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _state(run: Awaited, end: End) -> InstanceState | PerdureError | None:
    """What its end says of a run; None if more has to be read."""
    head = end.head
    if end.is_unreadable:
        return None
    if head is None:
        return not_found(run.id)
    if run.execution not in (None, head.execution):
        return replaced(run.id)
    if end.first is None or end.last is None:
        return None
    try:
        started = first_of(RunStarted, events_of(run.id, end.first))
        completed = first_of(RunCompleted, reversed(events_of(run.id, end.last)))
    except HistoryCorrupt as error:
        return error
    return None if started is None else state_of(head, started, completed)


def events_of(id: str, segment: bytes, sequence: int | None = None) -> list[Any]:
    """The events of a segment of an instance. Raises HistoryCorrupt."""
    try:
        return decode_segment(segment)
    except ValueError as error:
        which = "a segment" if sequence is None else f"segment {sequence}"
        raise HistoryCorrupt(f"{which} of {id!r} cannot be read: {error}") from error


def first_of(kind: type[T], events: Iterable[Any]) -> T | None:
    """The first event of a kind."""
    return next((event for event in events if isinstance(event, kind)), None)


def replaced(id: str) -> InstanceNotFound:
    return InstanceNotFound(
        f"the execution of {id!r} that this handle is for is gone; client.get(id) means the newest", id
    )


def not_found(id: str) -> InstanceNotFound:
    return InstanceNotFound(f"no instance {id[:200]!r}; `perdure list` shows those there are", id)
