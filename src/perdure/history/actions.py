"""What workflow code asked for during a turn: imperatives, each with the event of the same root that confirms it.

`number` counts the actions of a run that history records, from 1 (remote SDKs: from what they like); waits for events
count down from `FIRST_EVENT_WAIT`, since history has no event for them.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from perdure.codec import Example, Payload
from perdure.history.events import AnyEvent, Failure, Router, TimerOrigin
from perdure.history.options import NO_OPTIONS, CallOptions, Place, Trace

FIRST_EVENT_WAIT = -10
"""Numbers above it and below 0 are the engine's own waits: START_WAIT, TIMEOUT_WAIT and QUEUE_WAIT."""
START_WAIT = -1
TIMEOUT_WAIT = -2
QUEUE_WAIT = -3


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag=True):
    """Base of all actions. `line` is the place in the source that asked, as "file.py:12 in checkout".

    `denied`: why a call, a child, an event or a detached instance is not to be; history has it, and a call fails.
    """

    number: int = 0
    line: str | None = None
    router: Router | None = None
    denied: Failure | None = None


class ScheduleActivity(Action, frozen=True):
    name: str
    input: Payload | None = None
    app: str | None = None
    options: CallOptions = NO_OPTIONS
    version: str | None = None
    key: str | None = None
    tags: dict[str, str] | None = None
    trace: Trace | None = None
    propagation: int | None = None
    run_version: str | None = None


class CancelActivity(Action, frozen=True):
    pass


class CreateChild(Action, frozen=True):
    """`instance` empty: the engine derives the id from the parent's."""

    name: str
    instance: str = ""
    input: Payload | None = None
    app: str | None = None
    version: str | None = None
    tags: dict[str, str] | None = None
    timeout: int | None = None
    trace: Trace | None = None
    retry_of: str | None = None
    propagation: int | None = None
    place: Place | None = None


class CancelChild(Action, frozen=True):
    reason: str | None = None


class CreateDetached(Action, frozen=True):
    """`watch`: the external event by which the creator hears of the end (see `InstanceEnded`), in whichever run it is
    then. An instance that is watched never takes an id that was used before.
    """

    name: str
    instance: str = ""
    input: Payload | None = None
    app: str | None = None
    version: str | None = None
    tags: dict[str, str] | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    timeout: int | None = None
    execution: str | None = None
    trace: Trace | None = None
    watch: str | None = None
    place: Place | None = None


class CreateTimer(Action, frozen=True):
    due: int
    due_nanos: int = 0
    name: str | None = None
    origin: TimerOrigin | None = None


class CancelTimer(Action, frozen=True):
    pass


class WaitForEvent(Action, frozen=True):
    """Only a wait row: history needs no event for it. `example` is of the data that the code takes; None: any."""

    name: str
    until: int | None = None
    example: Example | None = None


class StopWaiting(Action, frozen=True):
    pass


class SendEvent(Action, frozen=True):
    """`execution` is only kept: an event goes to the instance's current run."""

    instance: str
    name: str
    data: Payload | None = None
    app: str | None = None
    execution: str | None = None


class PublishMessage(Action, frozen=True):
    """`id` empty: the engine derives it from the run and the number. See `MessagePublished`."""

    topic: str
    id: str = ""
    data: Payload | None = None
    content_type: str = "application/json"
    key: str | None = None
    source: str = ""
    kind: str = "perdure.message"
    expires: int | None = None
    extensions: dict[str, str] | None = None


class CancelInstance(Action, frozen=True):
    """Ask an instance that is no child of this run to cancel itself; history needs no event for it."""

    instance: str
    reason: str | None = None


class TerminateInstance(Action, frozen=True):
    instance: str
    output: Payload | None = None
    recursive: bool = False


class SetStatus(Action, frozen=True):
    status: Payload


class PublishState(Action, frozen=True):
    """What queries for `name` are told from now on; history needs no event for it."""

    name: str
    state: Payload


class AnswerUpdate(Action, frozen=True):
    """The answer to the request `key`: a result, or a failure; `refused` tells that nothing was done."""

    key: str
    result: Payload | None = None
    failure: Failure | None = None
    refused: bool = False


class CompleteRun(Action, frozen=True):
    """The run ends; `status` is completed, failed, canceled or terminated.

    `keep_calls`: activities that nobody awaits still run (generator style, remote SDKs); otherwise they are canceled.
    `version`, `events` and `tags` are only kept: remote SDKs may send them although nothing follows.
    """

    status: str
    output: Payload | None = None
    failure: Failure | None = None
    details: str | None = None
    keep_calls: bool = False
    version: str | None = None
    events: list[AnyEvent] = []
    tags: dict[str, str] | None = None


class ContinueRun(Action, frozen=True):
    """The run ends and its next generation starts with `input`; `events` are carried over, in order."""

    input: Payload | None = None
    version: str | None = None
    events: list[AnyEvent] = []
    name: str | None = None
    details: str | None = None
    failure: Failure | None = None
    tags: dict[str, str] | None = None


class RecordCode(Action, frozen=True):
    """Another code than before takes up the run; `version` only where the run begins."""

    fingerprint: str | None = None
    version: str | None = None


class RecordPatch(Action, frozen=True):
    """From here on the run takes the new side of the patch `name`."""

    name: str


class BeginTurn(Action, frozen=True):
    """The turn was handed to its code at `at`, later than it was asked for; it comes first."""

    at: int


class RecordTrace(Action, frozen=True):
    """What the worker of the next turn is to be told of the run's trace, unread. History does not hold it."""

    trace: bytes


class ReportMissingVersion(Action, frozen=True):
    pass


class SignalEntity(Action, frozen=True):
    target: str
    operation: str
    request: str = ""
    input: Payload | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    app: str | None = None


class CallEntity(Action, frozen=True):
    target: str
    operation: str
    request: str = ""
    input: Payload | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    parent_instance: str | None = None
    parent_execution: str | None = None
    app: str | None = None


class SetReminder(Action, frozen=True):
    """Of an entity, for itself: run `operation` at `due`, and each `period` after that, in microseconds. The reminder
    that has the `name` is replaced."""

    name: str
    operation: str
    due: int
    period: int | None = None
    input: Payload | None = None


class ClearReminder(Action, frozen=True):
    name: str


class RequestEntityLock(Action, frozen=True):
    section: str
    locks: list[str] = []
    position: int = 0
    parent_instance: str | None = None


class UnlockEntity(Action, frozen=True):
    section: str
    target: str | None = None
    parent_instance: str | None = None


class RewindRun(Action, frozen=True):
    """A remote SDK's own new history for a failed run, as a segment's bytes."""

    history: Raw


AnyAction = (
    ScheduleActivity
    | CancelActivity
    | CreateChild
    | CancelChild
    | CreateDetached
    | CreateTimer
    | CancelTimer
    | WaitForEvent
    | StopWaiting
    | SendEvent
    | PublishMessage
    | CancelInstance
    | TerminateInstance
    | SetStatus
    | PublishState
    | AnswerUpdate
    | CompleteRun
    | ContinueRun
    | RecordCode
    | RecordPatch
    | RecordTrace
    | BeginTurn
    | ReportMissingVersion
    | SignalEntity
    | CallEntity
    | RequestEntityLock
    | UnlockEntity
    | RewindRun
)
