"""The client: starts, finds and steers the instances of an app through a gateway."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from perdure.clock import Clock, SystemClock, forks
from perdure.codec import PLAIN, Writer
from perdure.errors import ForkedEngine, InvalidArgument, NotInWorkflow, NotOpen, PerdureError
from perdure.history.alike import FailureGroup, FailureQuery, Retried
from perdure.history.audit_log import LogPage
from perdure.history.lifecycle import FeedState
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, Survey
from perdure.history.topic_state import TopicState
from perdure.history.work import StartOptions
from perdure.paging import each_found
from perdure.sdk.batch import on_each
from perdure.sdk.filters import FILTERS, micros, query_of, some_text
from perdure.sdk.gateway import Gateway
from perdure.sdk.handle import Handle
from perdure.sdk.lifecycle import Announced, announced
from perdure.sdk.loop import running_loop
from perdure.sdk.options import checked_count, checked_id, checked_name, checked_number
from perdure.sdk.snapshot import State, shown
from perdure.sdk.untyped import UntypedWorkflow
from perdure.stores.contract import FINISHED, UNFINISHED, Status

if TYPE_CHECKING:
    from perdure.sdk.debugger import Coded
    from perdure.sdk.schedule_state import ScheduleState
    from perdure.sdk.schedules import Schedule

LIST_PAGE = 100
"""Instances that one page of `Client.list` reads."""
SURVEY_LIMIT = 10_000
"""Instances that `Client.explain_all` looks at, unless it is told otherwise; a cursor goes on."""
SWEEP_DAYS = 2
"""Offloaded payloads of younger days are never swept, because what refers to them may be about to be written."""


class Client:
    """Starts, finds and steers instances through a gateway."""

    def __init__(
        self, gateway: Gateway, clock: Clock | None = None, writer: Writer = PLAIN, app: Coded | None = None
    ) -> None:
        self._gateway = gateway
        self.app = app
        """Whose code runs here; None for a client from outside."""
        self.writer = writer
        self._clock = clock or SystemClock()
        self._forks = forks()
        self._loop = _get_running_loop()

    @property
    def gateway(self) -> Gateway:
        """What is behind this client.

        Raises ForkedEngine in a process that inherited it over fork(), NotInWorkflow in workflow code, and NotOpen on
        an event loop that it was not opened on.
        """
        gateway = self._gateway
        if forks() != self._forks:
            raise ForkedEngine(
                "this client was opened before a fork; open an app or client in the child process instead"
            )
        if _get_running_loop() is not self._loop:
            raise _misplaced()
        return gateway

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def workflow(self, name: str) -> UntypedWorkflow:
        """The untyped twin of a workflow, by name."""
        return UntypedWorkflow(self, checked_name(name, "a workflow's name"), StartOptions())

    def get(self, id: str) -> Handle[Any]:
        """The handle of an existing instance, without I/O; it means the newest execution."""
        return Handle(self, checked_id(id), None)

    def get_schedule(self, id: str) -> Schedule:
        """The handle of a schedule, without I/O."""
        from perdure.sdk.schedules import Schedule  # because schedules cost nothing where there are none

        return Schedule(self, id)

    def schedules(self) -> AsyncIterator[ScheduleState]:
        """The schedules, newest first. One that cannot be read here is left out, and the log says so."""
        from perdure.sdk.schedules import listed

        return listed(self)

    async def list(
        self,
        *,
        name: str | None = None,
        status: str | Sequence[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        finished_after: datetime | None = None,
        finished_before: datetime | None = None,
        tags: dict[str, str] | None = None,
        parent: str | None = None,
        text: str | None = None,
        suspended: bool | None = None,
        stalled: bool | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[State]:
        """Instances that meet all conditions, newest first; `limit` of them at most."""
        query = query_of(
            name=name,
            status=status,
            created_after=created_after,
            created_before=created_before,
            finished_after=finished_after,
            finished_before=finished_before,
            tags=tags,
            parent=parent,
            text=text,
            suspended=suspended,
            stalled=stalled,
        )
        if limit is not None:
            checked_count("limit", limit, 0)
        async for state in each_found(partial(self.gateway.find, query), LIST_PAGE, limit):
            yield shown(state)

    async def explain_all(self, *, limit: int = SURVEY_LIMIT, cursor: str | None = None, **filters: Any) -> Survey:
        """The unfinished instances that `list` would give, grouped by why they are not finished.

        It looks at `limit` of them, newest first, from the cursor on that the survey before gave. Read from the store:
        no worker needs to be up. Who waits for a child counts as such; the child has its own cause.
        """
        checked_count("limit", limit, 1)
        unknown = sorted(filters.keys() - FILTERS)
        if unknown:
            raise InvalidArgument(
                f"explain_all got an unexpected keyword argument {unknown[0]!r}; the filters are those of Client.list"
            )
        return await self.gateway.explain_all(query_of(**filters), cursor, limit)

    async def explain_topics(self, topic: str | None = None) -> Sequence[Explanation]:
        """Why messages of a topic (None: of all topics) are not done, one for each group that has any left.

        `instance` is the topic's name. Read from the store: no worker needs to be up.
        """
        return await self.gateway.explain_topics(topic)

    async def terminate_all(self, output: Any = None, recursive: bool = True, **filters: Any) -> int:
        """Terminate the unfinished instances that `list` would give; how many."""
        return await on_each(self, lambda handle: handle.terminate(output, recursive), UNFINISHED, filters)

    async def cancel_all(self, reason: str = "", **filters: Any) -> int:
        """Cancel the unfinished instances that `list` would give; how many."""
        return await on_each(self, lambda handle: handle.cancel(reason), UNFINISHED, filters)

    async def suspend_all(self, reason: str = "", **filters: Any) -> int:
        """Suspend the unfinished instances that `list` would give; how many."""
        return await on_each(self, lambda handle: handle.suspend(reason), UNFINISHED, filters)

    async def resume_all(self, reason: str = "", *, now: bool = False, **filters: Any) -> int:
        """Resume the unfinished instances that `list` would give; how many. `now` as of `Handle.resume`."""
        return await on_each(self, lambda handle: handle.resume(reason, now=now), UNFINISHED, filters)

    async def purge_all(self, recursive: bool = True, **filters: Any) -> int:
        """Purge the finished instances that `list` would give; how many, with their children.

        A client that offloads sweeps what they leave behind.
        """
        count = await on_each(self, lambda handle: handle.purge(recursive), tuple(sorted(FINISHED)), filters)
        if count and self.gateway.offloads:
            await self.gateway.sweep(SWEEP_DAYS)
        return count

    async def sweep(self, *, days: int = SWEEP_DAYS) -> int:
        """Delete offloaded payloads that nothing refers to: of purged instances, and those that crashes left; how many.

        What is of younger days than `days` ago (UTC, at least 2) is left. It reads the whole store. Raises
        InvalidArgument without a codec that offloads.
        """
        return await self.gateway.sweep(checked_count("days", days, SWEEP_DAYS))

    async def failures(
        self,
        *,
        name: str | None = None,
        since: datetime | None = None,
        fingerprint: str | None = None,
        limit: int = 1_000,
    ) -> Sequence[FailureGroup]:
        """Failed and stalled instances in groups of the same failure, the largest first; from the store alone.

        Of the newest `limit` (at most 10,000) of either, those of workflow `name` that failed after `since`.
        """
        asked = FailureQuery(
            name=some_text("name", name),
            since=micros("since", since),
            fingerprint=some_text("fingerprint", fingerprint),
            limit=checked_count("limit", limit, 1),
        )
        return await self.gateway.failures(asked)

    async def retry_failures(self, fingerprint: str, *, canary_seconds: float = 60.0, limit: int = 1_000) -> Retried:
        """Rerun the failed instances, or resume the stalled ones, of a group of `failures`: the oldest as a canary, the
        others once that has come through within `canary_seconds`.

        The rerun of instance `x` is `x.rerun`, so that a repetition of this reruns nothing twice. Raises
        InvalidArgument if no failure has the fingerprint.
        """
        from perdure.sdk.retrying import retry  # because most programs have no failures to retry

        checked_number("canary_seconds", canary_seconds, 0.0)
        groups = await self.failures(fingerprint=fingerprint, limit=limit)
        if not groups:
            raise InvalidArgument(
                f"no failure has the fingerprint {fingerprint!r}; `perdure failures` shows those there are"
            )
        return await retry(self, groups[0], canary_seconds)

    async def publish(
        self,
        topic: str,
        data: Any = None,
        *,
        key: str | None = None,
        id: str | None = None,
        type: str = "perdure.message",
        source: str | None = None,
        ttl: float | timedelta | None = None,
        extensions: Mapping[str, str] | None = None,
    ) -> str:
        """Publish a message at once: it is durable when this returns its id.

        Messages of one `key` stay in order. The same `source` and `id` again are the same event, which changes nothing.
        After `ttl` seconds nobody needs it. Raises InvalidArgument, NotEncodable, PayloadTooLarge, and MailboxFull if
        the topic takes no more for the moment.
        """
        from perdure.sdk.publishing import at_once  # because most clients publish nothing

        message = at_once(self, topic, data, key, id, type, source, ttl, extensions)
        await self.gateway.publish([message])
        return message.id

    async def topics(self) -> Sequence[TopicState]:
        """The topics and their groups, by name: what each has left, and since when."""
        return await self.gateway.topics()

    async def forget_group(self, topic: str, group: str) -> None:
        """Have a group that subscribes no more forgotten, so that the topic keeps nothing for it."""
        await self.gateway.leave(checked_name(topic, "a topic's name"), checked_name(group, "a group's name"))

    async def queues(self) -> Sequence[QueueState]:
        """The queues in which something waits or runs, by name; read from the store, no worker needs to be up."""
        return await self.gateway.queues()

    async def nodes(self) -> Sequence[NodeState]:
        """The nodes of the app that live, by name, with their shards and what they tell of themselves."""
        return await self.gateway.nodes()

    async def counts(self) -> dict[Status, int]:
        """How many instances there are, by status; entities and schedules are not among them."""
        return {Status(status): count for status, count in (await self.gateway.counts()).items()}

    def lifecycle(
        self,
        *,
        after: str | None = None,
        type: str | Sequence[str] | None = None,
        name: str | None = None,
        instance: str | None = None,
        follow: bool = True,
    ) -> AsyncIterator[Announced]:
        """What happens to instances, as it happens: events of the lifecycle feed, in order within each instance.

        `after` is the cursor of an event that was seen before; without it those come that are yet to happen, and from
        "" on all that are kept. `type` names kinds, such as "failed"; `name` a workflow, `instance` an id. `follow`
        False ends with the newest. The app writes them with `lifecycle=True` or a webhook. Raises InvalidArgument.
        """
        return announced(self, after, type, name, instance, follow)

    async def feed(self) -> FeedState:
        """How far the lifecycle feed is: how many events wait, and which were given up."""
        return await self.gateway.feed()

    async def tell_again(self) -> int:
        """Tell those events again that were given up; how many."""
        return await self.gateway.tell_again()

    async def audited(self, after: int = 0, limit: int = 1_000) -> LogPage:
        """Entries of the audit log behind the number `after`, as they are stored, and how far the log goes."""
        return await self.gateway.audited(checked_count("after", after, 0), checked_count("limit", limit, 1))

    async def holder(self) -> str | None:
        """Which process runs the app's workflows, for people to read; None: nobody does."""
        return await self.gateway.holder()

    def now(self) -> int:
        return self._clock.now()

    def fresh_key(self) -> str:
        """An id for a message, so that a repetition of it is noticed."""
        return self._clock.token()

    def __repr__(self) -> str:
        return f"<Client of {self.gateway!r}>"


def _misplaced() -> PerdureError:
    """Why a client cannot be used here, on a loop that is not its own."""
    if running_loop() is not None:
        return NotInWorkflow(
            "workflow code cannot use a client or a handle, whose answers are no part of its history; await the child "
            "workflow itself, wait for an external event, call perdure.raise_event, or use the client in an activity"
        )
    return NotOpen(
        "this client was opened on another event loop, and an engine runs on one; use it there "
        "(asyncio.run_coroutine_threadsafe from other threads), or open an app or client on this loop"
    )
