"""What passes between the engine and whoever runs user code: which run, which attempt, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from perdure.codec import Payload
from perdure.history.actions import ClearReminder, CreateDetached, PublishMessage, SetReminder, SignalEntity
from perdure.history.events import EntityCalled, EntitySignaled, Failure
from perdure.history.options import Label, Place, Trace
from perdure.history.replay import Difference


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Which run this is, as its code may know it. `started` is the first turn's time, microseconds since 1970 UTC.

    `trace` is what a remote worker last said of the run's trace, as base64.
    """

    app: str
    instance: str
    execution: str
    generation: int
    name: str
    started: int
    parent: str | None = None
    tags: dict[str, str] | None = None
    version: str | None = None
    trace: str | None = None


class Stall(msgspec.Struct, frozen=True, gc=False):
    """Why code could not take a turn. `fingerprint` names the code, so that other code is worth another try.

    `difference` says once more, for programs, what a replay asked for and history does not hold.
    """

    reason: str
    description: str
    fingerprint: str | None = None
    line: str | None = None
    difference: Difference | None = None


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One attempt of an activity call. `timeout` and `heartbeat`, within which a sign of life is due, in seconds;
    `details` are those of the last heartbeat before it.

    `execution`, `generation` and `number` name the call; `target` is the app whose code it is, None for the run's own.
    `lapses` counts the claims of the attempt that ran out without a word.
    """

    app: str
    instance: str
    name: str
    attempt: int
    key: str
    input: Payload | None
    timeout: float | None
    details: Payload | None
    execution: str = ""
    generation: int = 1
    number: int = 0
    target: str | None = None
    label: Label | None = None
    heartbeat: float | None = None
    lapses: int = 0


class Outlet(Protocol):
    """Where an attempt puts what it yields. `offset` and `last`: of the newest durable item, 0 and None at first."""

    @property
    def offset(self) -> int: ...
    @property
    def last(self) -> Payload | None: ...

    async def begin(self) -> None:
        """Learn where earlier attempts have left the stream; to be called first."""

    async def put(self, value: Payload) -> None:
        """Take an item, and return when there is room for another. Raises what stands against it."""

    async def flush(self) -> int:
        """Return when every item is durable: how many the stream has. Raises what stands against it."""

    def close(self) -> None:
        """The attempt is over: no more items."""


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended: with a result, or with a failure.

    `step` is work that is still to be done in a transaction of the store, with the dialect's guest connection; the
    outcome of the attempt is what it returns. `guarantee` is that of `ActivityCompleted`. `messages` are those that a
    completed attempt has published.
    """

    result: Payload | None = None
    failure: Failure | None = None
    timed_out: bool = False
    guarantee: str | None = None
    step: Callable[[Any], Outcome | Stall] | None = None
    messages: Sequence[PublishMessage] = ()


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Operations of an entity for its code: `operations` are the signals and calls, in order. `state` None: it has
    none yet. `reminders`: the names of those that it has set."""

    app: str
    entity: str
    name: str
    execution: str
    operations: Sequence[EntitySignaled | EntityCalled]
    state: Payload | None = None
    reminders: Sequence[str] = ()


class Operated(msgspec.Struct, frozen=True, gc=False):
    """How one operation ended."""

    result: Payload | None = None
    failure: Failure | None = None


class BatchResult(msgspec.Struct, frozen=True, gc=False):
    """What code made of a batch: `results` of its first operations, in their order; the others run again.

    `actions` are signals, starts, messages of topics and reminders; `state` None: the entity has none any more.
    `failure`: nothing of it counts.
    """

    results: Sequence[Operated] = ()
    actions: Sequence[SignalEntity | CreateDetached | SetReminder | ClearReminder | PublishMessage] = ()
    state: Payload | None = None
    failure: Failure | None = None


class StartOptions(msgspec.Struct, frozen=True, gc=False):
    """How an instance is started. Times in microseconds: `at` since 1970 UTC, the others as durations.

    Instances of another `kind` than workflows are not among those that `find` gives unless it is asked for them. Starts
    of the same `dedup_key` are one: within `dedup_window` of the first, or, each `debounce` after the one before and
    none later than `debounce_max` after the first, with the input of the last. `unique`: refuse an id that was ever
    used and not purged. `version` and `trace` are what a remote client names.
    """

    id: str | None = None
    at: int | None = None
    tags: dict[str, str] | None = None
    app_id: str | None = None
    if_exists: str = "raise"
    run_timeout: int | None = None
    kind: str = "workflow"
    place: Place | None = None
    version: str | None = None
    trace: Trace | None = None
    unique: bool = False
    dedup_key: str | None = None
    dedup_window: int = 0
    debounce: int | None = None
    debounce_max: int = 0
