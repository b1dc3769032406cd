"""The gateway: what a client asks of an engine, in this process or behind a wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from perdure.codec import Payload
from perdure.history.alike import FailureGroup, FailureQuery
from perdure.history.audit_log import LogPage
from perdure.history.events import MessagePublished, UpdateAnswered, UpdateRequested
from perdure.history.lifecycle import FeedState, NoticePage
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, InstanceState, Survey
from perdure.history.streams import Selection, StreamPage
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_state import TopicState
from perdure.history.waiting import WaitState
from perdure.history.work import StartOptions
from perdure.stores.contract import Query, Stream


class Gateway(Protocol):
    """The engine in this process fulfils it, or one behind a wire.

    `execution` pins a call to one execution; None means the newest.
    """

    @property
    def offloads(self) -> bool:
        """Whether payloads may lie in blobs, and so have to be swept."""

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        """Begin an instance; (instance id, execution id) when it is durable. Raises InstanceExists."""

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        """Send a command or event; returns when it is durable. Raises InstanceNotFound, MailboxFull."""

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        """Send an update; its answer once that is durable. `is_repeatable`: the same key may have been sent before.

        Raises InstanceNotFound, MailboxFull, UpdateNotAnswered.
        """

    async def call_actor(
        self, id: str, operation: str, request: str, input: Payload | None, chain: list[str], is_repeatable: bool
    ) -> UpdateAnswered:
        """Call a method of an actor; its answer once that is durable. The same `request` is answered alike.

        `chain`: the actors whose methods wait for this one. `is_repeatable`: the request may have been sent before.
        Raises InvalidArgument, MailboxFull.
        """

    async def signal_actor(
        self, id: str, operation: str, request: str, input: Payload | None, scheduled: int | None
    ) -> None:
        """Have an actor run a method, now or from `scheduled` on, microseconds since 1970 UTC; durable when this
        returns. Raises InvalidArgument, MailboxFull."""

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        """The state that the instance has set under a name. Raises InstanceNotFound."""

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        """The streams of the instance that have an item. Raises InstanceNotFound."""

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        """Items of a stream with offset > after; if `wait`, once there is one, or the stream or instance has ended.

        Raises InstanceNotFound.
        """

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        """Messages for topics, in their order; durable when this returns. Raises MailboxFull."""

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        """Have a group subscribe to a topic, or change its options. Raises InvalidArgument for one group too many."""

    async def leave(self, topic: str, group: str) -> None:
        """Forget a group of a topic, and its place."""

    async def topics(self) -> list[TopicState]:
        """The topics, by name."""

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        """The finished instance, as soon as it is. Raises TimeoutError, InstanceNotFound."""

    async def state(self, id: str, execution: str | None) -> InstanceState:
        """Raises InstanceNotFound."""

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        """A page of history from segment `after` on, and where to go on (None: the end)."""

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        """A page of instances, newest first, without payloads."""

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        """Delete a finished instance; how many went. Raises InstanceNotFound, InstanceNotFinished."""

    async def rerun(
        self, id: str, from_event: int | None, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        """A new instance that keeps the history before event number `from_event`, or before its failure."""

    async def revise(self, id: str, number: int, new_id: str | None, result: Payload | None) -> tuple[str, str]:
        """A new instance that keeps the history to the answer of call `number`, which gets another result."""

    async def explain(self, id: str) -> Explanation:
        """Why it is not finished."""

    async def failures(self, asked: FailureQuery) -> list[FailureGroup]:
        """Failed and stalled instances in groups of the same failure, the largest first."""

    async def explain_all(self, query: Query, cursor: str | None, limit: int) -> Survey:
        """The causes of unfinished instances, those of `limit` of them from the cursor on, newest first."""

    async def explain_topics(self, topic: str | None) -> list[Explanation]:
        """Why messages of a topic, or of all, are not done: one for each group that has any left."""

    async def queues(self) -> list[QueueState]:
        """The queues in which something waits or runs, by name."""

    async def nodes(self) -> list[NodeState]:
        """The nodes of the app that live, by name."""

    async def counts(self) -> dict[str, int]:
        """How many workflow instances there are, by status."""

    async def waits(self, id: str) -> list[WaitState]:
        """What an instance waits for, by when it began. Raises InstanceNotFound."""

    async def audited(self, after: int, limit: int) -> LogPage:
        """Entries of the audit log behind the number `after`, and how far the log goes."""

    async def notices(self, after: str | None, limit: int) -> NoticePage:
        """Events of the lifecycle feed behind a cursor; None: those that are to come. Raises InvalidArgument."""

    async def feed(self) -> FeedState:
        """How far the lifecycle feed is."""

    async def tell_again(self) -> int:
        """Tell those events again that were given up; how many."""

    async def holder(self) -> str | None:
        """Which process runs the app, for people to read; None: nobody."""

    async def unreferenced(self, names: set[str]) -> set[str]:
        """Those of the names that stand nowhere in the store, whichever app's."""

    async def sweep(self, days: int) -> int:
        """Delete blobs that are `days` old or older and that nothing refers to; how many. Raises InvalidArgument."""
