"""What remote workers and clients ask for and are told, in Perdure's words: the two protocols are read into these.

Payloads are verbatim; None stands for a field that was absent, an empty text for one that was there and empty. Times
are microseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import Action, PublishMessage
from perdure.history.events import Failure
from perdure.history.options import Trace
from perdure.history.work import Attempt, Batch, Identity, Stall


class Flavour(StrEnum):
    """Which protocol a peer speaks: one of the two public ones, or Perdure's own form of them."""

    DAPR = "dapr"
    MICROSOFT = "microsoft"
    PERDURE = "perdure"


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all of them."""


# -- a worker's stream --------------------------------------------------------------------------------------------


class Capability(StrEnum):
    STATEFUL_HISTORY = "stateful-history"
    HEALTH_PING = "health-ping"
    HISTORY_STREAMING = "history-streaming"
    SCHEDULED_TASKS = "scheduled-tasks"
    LARGE_PAYLOADS = "large-payloads"


class Filters(Request, frozen=True):
    """Names that a worker takes, each with its versions (empty: any). An absent category takes nothing."""

    workflows: Mapping[str, frozenset[str]] = {}
    activities: Mapping[str, frozenset[str]] = {}
    entities: frozenset[str] = frozenset()


class OpenStream(Request, frozen=True):
    """A worker asks for work. Bounds of 0 mean that it named none. `hint`: the flavour that the request's own fields
    give away, None if they fit both."""

    turns_max: int = 0
    activities_max: int = 0
    entities_max: int = 0
    capabilities: frozenset[Capability] = frozenset()
    filters: Filters | None = None
    worker: str = ""
    hint: Flavour | None = None


class TurnItem(Request, frozen=True):
    """A turn for a worker. `past` and `new` are events as the codec has encoded them (`Codec.event`).

    `cached` tells how many events before `past` the worker is believed to have, and `after` under which token it took
    the run's last turn, "" for none that counts. `lineage` is propagated history. `identity` is the run as the engine
    knows it.
    """

    instance: str
    execution: str
    past: Sequence[bytes]
    new: Sequence[bytes]
    token: str
    cached: int | None = None
    must_stream_history: bool = False
    trace: bytes | None = None
    lineage: bytes | None = None
    app: str | None = None
    after: str = ""
    identity: Identity | None = None


class Heritage(Request, frozen=True):
    """The history of a run as far as a call hands it on."""

    app: str
    instance: str
    execution: str
    name: str
    events: Sequence[Any]


class TurnResult(Request, frozen=True):
    """What a worker answers to a turn. `trace` is handed out again, unread, with the run's next turn.

    `processed`: how many of the new events it has taken, None for all. A result that `is_partial` is followed by more
    with the same token; `chunk` numbers them.
    """

    instance: str
    token: str = ""
    actions: Sequence[Action] = ()
    status: Payload | None = None
    patches: Sequence[str] | None = None
    version: str | None = None
    processed: int | None = None
    must_have_history: bool = False
    is_partial: bool = False
    chunk: int | None = None
    trace: bytes | None = None
    stall: Stall | None = None


class ActivityItem(Request, frozen=True):
    """An attempt for a worker; `key` is the idempotency key that it is told, `lineage` is propagated history.

    `attempt` is all that the engine knows.
    """

    instance: str
    execution: str
    number: int
    name: str
    token: str
    input: Payload | None = None
    version: str | None = None
    tags: Mapping[str, str] | None = None
    key: str = ""
    trace: Trace | None = None
    app: str | None = None
    attempt: Attempt | None = None
    lineage: bytes | None = None


class ActivityResult(Request, frozen=True):
    """`timed_out`, `guarantee`, `stall` and `messages` are told by Perdure's own workers alone."""

    instance: str
    number: int
    token: str = ""
    result: Payload | None = None
    failure: Failure | None = None
    timed_out: bool = False
    guarantee: str | None = None
    stall: Stall | None = None
    messages: Sequence[PublishMessage] = ()


# -- clients -------------------------------------------------------------------------------------------------------


class StartInstance(Request, frozen=True):
    """`replaceable`: statuses of an existing instance that the start may replace, None if the client names none.

    `must_be_new`: refuse an id that was ever used.
    """

    name: str
    instance: str = ""
    input: Payload | None = None
    version: str | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    execution: str | None = None
    tags: Mapping[str, str] | None = None
    trace: Trace | None = None
    replaceable: frozenset[str] | None = None
    must_be_new: bool = False
    app: str | None = None


class AboutInstance(Request, frozen=True):
    """Get, wait for start, wait for completion, rewind, restart, history: one instance, and how to look at it."""

    instance: str
    with_payloads: bool = False
    reason: Payload | None = None
    with_new_id: bool = False
    execution: str | None = None
    for_work: bool = False
    app: str | None = None


class RaiseEvent(Request, frozen=True):
    instance: str
    name: str
    data: Payload | None = None
    app: str | None = None


class Terminate(Request, frozen=True):
    instance: str
    output: Payload | None = None
    recursive: bool = False
    app: str | None = None


class TerminateBatch(Request, frozen=True):
    """End instances at once, without their code."""

    instances: Sequence[str] = ()
    reason: Payload | None = None


class Pause(Request, frozen=True):
    """Suspend or resume."""

    instance: str
    reason: Payload | None = None
    app: str | None = None


class Selection(Request, frozen=True):
    """Which instances, newest or oldest as the call says; times: created, or finished, at or after, and before."""

    statuses: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    finished_since: int | None = None
    finished_until: int | None = None
    prefix: str = ""
    limit: int = 0
    cursor: str | None = None
    with_payloads: bool = False


class Purge(Request, frozen=True):
    """By id, by ids, or by a selection. `seconds_max` bounds the work of one call."""

    instances: Sequence[str] = ()
    selection: Selection | None = None
    recursive: bool = False
    forced: bool = False
    seconds_max: float | None = None
    app: str | None = None


class Rerun(Request, frozen=True):
    """A new instance from the history of a finished one, from the action `number` on."""

    source: str
    number: int
    instance: str = ""
    input: Payload | None = None
    replaces_input: bool = False
    child: str | None = None


class InstanceView(Request, frozen=True):
    """An instance as clients are shown it. `status` is Perdure's, with `suspended` and `stalled` beside it."""

    instance: str
    name: str
    status: str
    created: int
    updated: int
    version: str | None = None
    scheduled: int | None = None
    started: int | None = None
    finished: int | None = None
    input: Payload | None = None
    output: Payload | None = None
    custom_status: Payload | None = None
    failure: Failure | None = None
    execution: str | None = None
    parent: str | None = None
    parent_app: str | None = None
    tags: Mapping[str, str] | None = None
    is_suspended: bool = False
    is_stalled: bool = False


class Views(Request, frozen=True):
    """A page of instances, or of their ids; `cursor` None is the end."""

    views: Sequence[InstanceView] = ()
    ids: Sequence[str] = ()
    cursor: str | None = None


# -- entities ------------------------------------------------------------------------------------------------------


class SignalEntity(Request, frozen=True):
    entity: str
    operation: str
    request: str = ""
    input: Payload | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0


class AskedLoad(Request, frozen=True):
    """How much there is to do for an app (None: the port's own), where `target` may wait for one replica."""

    app: str | None
    target: float
    metric: str


class AboutEntity(Request, frozen=True):
    entity: str
    with_state: bool = False


class EntitySelection(Request, frozen=True):
    prefix: str = ""
    since: int | None = None
    until: int | None = None
    with_state: bool = False
    with_transient: bool = False
    limit: int = 0
    cursor: str | None = None


class CleanEntities(Request, frozen=True):
    """Which leftovers of entities go: those without state, and locks whose owner is gone."""

    removes_empty: bool = False
    releases_orphaned: bool = False
    cursor: str | None = None


class EntityView(Request, frozen=True):
    entity: str
    updated: int
    backlog: int = 0
    locked_by: str | None = None
    state: Payload | None = None


class EntityViews(Request, frozen=True):
    """A page of entities; `cursor` None is the end."""

    views: Sequence[EntityView] = ()
    cursor: str | None = None


class EntityItem(Request, frozen=True):
    """A batch of operations for a worker: `operations` are encoded events. `batch` is what the engine knows of it."""

    entity: str
    execution: str
    token: str
    operations: Sequence[bytes]
    state: Payload | None = None
    batch: Batch | None = None


class OperationResult(Request, frozen=True):
    result: Payload | None = None
    failure: Failure | None = None


class EntityResult(Request, frozen=True):
    """`actions` are signals, starts and reminders, in order. `failure`: nothing of the batch counts. `stall`: why the
    worker could not read or write its payloads."""

    token: str = ""
    results: Sequence[OperationResult] = ()
    actions: Sequence[Any] = ()
    state: Payload | None = None
    failure: Failure | None = None
    must_have_state: bool = False
    stall: Stall | None = None


# -- the runtime ---------------------------------------------------------------------------------------------------


class OfferedComponent(Request, frozen=True):
    """A component that programs may use: its `type` is one of Dapr's, such as `state.redis`."""

    name: str
    type: str
    version: str = "v1"
    capabilities: Sequence[str] = ()


class Origin(StrEnum):
    """Where a subscription comes from: a resource file, the program's answer when it was asked, or its stream."""

    DECLARATIVE = "DECLARATIVE"
    PROGRAMMATIC = "PROGRAMMATIC"
    STREAMING = "STREAMING"


class TopicSubscription(Request, frozen=True):
    """What is delivered to a program. `rules` are pairs of a condition, "" for none, and a path of the program."""

    pubsub: str
    topic: str
    origin: Origin
    rules: Sequence[tuple[str, str]] = ()
    metadata: Mapping[str, str] = {}
    dead_letter_topic: str = ""


class Metadata(Request, frozen=True):
    """What a runtime tells of itself; `values` are those that programs have set.

    `actors` counts the active ones by type, None where programs host none.
    """

    app: str
    version: str
    workers: int = 0
    values: Mapping[str, str] = {}
    features: Sequence[str] = ()
    components: Sequence[OfferedComponent] = ()
    subscriptions: Sequence[TopicSubscription] = ()
    mcp_servers: Sequence[str] = ()
    actors: Mapping[str, int] | None = None


class SetMetadata(Request, frozen=True):
    key: str
    value: str
