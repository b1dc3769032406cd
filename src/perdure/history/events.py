"""What happened to a run: every event there is, as frozen records with one JSON form.

A history is a list of segments, one per committed turn; a segment is a JSON array of events that begins with
`TurnStarted`. An event that confirms an action carries the action's `number`; a result names the `number` it answers.
Fields that only remote SDKs use are here too, so that nothing of theirs is lost between a turn and its replay.
Times are microseconds since 1970 UTC; a field `..._nanos` keeps the rest (0 to 999) that a remote client sent.
"""
# without `annotations` from `__future__`, because msgspec compiles a text anew for each class that has or inherits it,
# which was a twelfth of `import perdure`

from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.options import CallOptions, Place, Trace
from perdure.history.subscribing import SubscribeOptions


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Part of an event."""


class Router(Record, frozen=True):
    """The apps between which a remote event travels."""

    source_app: str = ""
    target_app: str | None = None
    target_namespace: str | None = None


class Parent(Record, frozen=True):
    """Who waits for a child workflow: instance, its run, and the number of the call.

    `turn` is the parent's sequence when it asked, because a remote SDK may use a number again. `app` is None for the
    child's own.
    """

    instance: str
    execution: str
    generation: int
    number: int
    name: str | None = None
    version: str | None = None
    app: str | None = None
    namespace: str | None = None
    turn: int = 0


class Failure(Record, frozen=True):
    """An error as text, with its chain of causes. `packed` is the whole failure where its text is kept encrypted."""

    type: str
    message: str
    stack: str | None = None
    cause: "Failure | None" = None
    non_retryable: bool = False
    properties: dict[str, Any] | None = None
    packed: Payload | None = None


class InstanceEnded(Record, frozen=True, tag="ended"):
    """What the watcher of an instance hears, as the data of an external event: how it ended.

    `status` None: the instance was never begun, because its id was taken.
    """

    at: int
    instance: str
    status: str | None = None


class Attestation(Record, frozen=True):
    """A remote worker's signature of a result, carried and never read."""

    payload: bytes = b""
    signature: bytes = b""


class TimerOrigin(Record, frozen=True):
    """Why a remote SDK created a timer: `kind` is timer, event, activity-retry or child-retry; `about` names which."""

    kind: str
    about: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag=True):
    """Base of all events. `at` is when it happened."""

    at: int = 0
    at_nanos: int = 0
    router: Router | None = None
    event_id: int | None = None
    """What a remote history called the event, where that is not the `number` of an action."""


class TurnStarted(Event, frozen=True):
    """A turn began; `at` is the time that workflow code sees during it.

    `patches` are those that the code asked for and got in this turn for the first time. `version` and `fingerprint`
    name the code, in the turn in which it took up the run.
    """

    patches: list[str] | None = None
    version: str | None = None
    fingerprint: str | None = None


class TurnCompleted(Event, frozen=True):
    """Only kept for histories of other engines."""


class RunStarted(Event, frozen=True):
    name: str
    input: Payload | None = None
    version: str | None = None
    execution: str = ""
    generation: int = 1
    instance: str | None = None
    """Only in histories of other engines; here the head says whose history it is."""
    parent: Parent | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    trace: Trace | None = None
    span: str | None = None
    tags: dict[str, str] | None = None
    timeout: int | None = None
    """Run timeout in microseconds."""
    place: Place | None = None
    """The queue that the run waits for a slot in before it begins."""
    propagation: int | None = None
    """How much of its history the parent hands on."""


class RunCompleted(Event, frozen=True):
    """The run ended; `status` is completed, failed, canceled or terminated."""

    status: str
    output: Payload | None = None
    failure: Failure | None = None


class RunContinued(Event, frozen=True):
    """The run ended by starting its next generation with `input`."""

    input: Payload | None = None
    version: str | None = None


class RunTerminated(Event, frozen=True):
    output: Payload | None = None
    recursive: bool = False


class RunCancelRequested(Event, frozen=True):
    reason: str | None = None


class RunSuspended(Event, frozen=True):
    reason: Payload | None = None
    by: str | None = None


class RunResumed(Event, frozen=True):
    """The run goes on. `now`: what waits for its next attempt is tried at once."""

    reason: Payload | None = None
    now: bool = False


class RunStalled(Event, frozen=True):
    reason: str
    description: str | None = None


class RunRewound(Event, frozen=True):
    """A failed run was taken back to before its failure. `absent`: ids of children that it then created anew."""

    reason: Payload | None = None
    execution: str | None = None
    instance: str | None = None
    trace: Trace | None = None
    name: str | None = None
    version: str | None = None
    input: Payload | None = None
    parent: Parent | None = None
    tags: dict[str, str] | None = None
    absent: list[str] = []


class RunForked(Event, frozen=True):
    """A new instance takes over the history of another one before its action `number`, and what came next as mail.

    `history` holds the events of the turns that are kept; `arrivals` those that the first turn of its own takes.
    """

    source: str
    number: int
    history: "list[AnyEvent]"
    arrivals: "list[AnyEvent]"


class MessagePublished(Event, frozen=True):
    """A message of a topic, a CloudEvent 1.0: mail to the topic, and in the history of the run that published it.

    `number` is that of the action. `id` and `source` tell the event from others, `kind` is its type. Messages of one
    `key` stay in order. `expires` is when nobody needs it any more, microseconds since 1970 UTC; None: never.
    """

    topic: str
    id: str
    number: int | None = None
    data: Payload | None = None
    content_type: str = "application/json"
    key: str | None = None
    source: str = ""
    kind: str = "perdure.message"
    expires: int | None = None
    extensions: dict[str, str] | None = None


class ActivityScheduled(Event, frozen=True):
    number: int
    name: str
    input: Payload | None = None
    version: str | None = None
    app: str | None = None
    key: str | None = None
    """Idempotency key given by a remote SDK; in-process calls derive theirs from run and number."""
    tags: dict[str, str] | None = None
    trace: Trace | None = None
    rerun_of: str | None = None
    propagation: int | None = None
    options: CallOptions | None = None
    run_version: str | None = None


class ActivityCompleted(Event, frozen=True):
    number: int
    result: Payload | None = None
    attempt: int = 1
    started: int | None = None
    key: str | None = None
    attestation: Attestation | None = None
    signer: bytes | None = None
    guarantee: str | None = None
    """How often it may have happened: `exactly-once` for a transaction, `keyed` where the idempotency key was asked
    for; None is at least once."""
    messages: list[MessagePublished] = []
    """What the attempt has published, which is sent with the turn that takes its result."""


class ActivityFailed(Event, frozen=True):
    number: int
    failure: Failure
    attempt: int = 1
    started: int | None = None
    timed_out: bool = False
    key: str | None = None
    attestation: Attestation | None = None
    signer: bytes | None = None
    details: Payload | None = None


class ActivityCancelled(Event, frozen=True):
    number: int


class ChildCreated(Event, frozen=True):
    number: int
    instance: str
    name: str
    input: Payload | None = None
    version: str | None = None
    app: str | None = None
    tags: dict[str, str] | None = None
    trace: Trace | None = None
    rerun_of: str | None = None
    retry_of: str | None = None
    propagation: int | None = None
    timeout: int | None = None
    place: Place | None = None


class ChildCompleted(Event, frozen=True):
    number: int
    result: Payload | None = None
    attestation: Attestation | None = None
    signer: bytes | None = None


class ChildFailed(Event, frozen=True):
    number: int
    failure: Failure
    attestation: Attestation | None = None
    signer: bytes | None = None


class ChildCancelled(Event, frozen=True):
    number: int


class DetachedCreated(Event, frozen=True):
    number: int
    instance: str
    name: str = ""
    input: Payload | None = None


class TimerCreated(Event, frozen=True):
    number: int
    due: int
    due_nanos: int = 0
    name: str | None = None
    origin: TimerOrigin | None = None
    rerun_of: str | None = None


class TimerFired(Event, frozen=True):
    number: int
    due: int = 0
    due_nanos: int = 0


class TimerCancelled(Event, frozen=True):
    number: int


class EventRaised(Event, frozen=True):
    """An external event arrived; `key` is the id of the message that brought it."""

    name: str
    data: Payload | None = None
    key: str | None = None


class UpdateRequested(Event, frozen=True):
    """Somebody asks the code to do something and waits for its answer; `key` names the request."""

    key: str
    name: str
    data: Payload | None = None


class UpdateAnswered(Event, frozen=True):
    """The answer to the request `key`: a result, or a failure; `refused` tells that nothing was done."""

    key: str
    result: Payload | None = None
    failure: Failure | None = None
    refused: bool = False


class TurnAnswered(Event, frozen=True):
    """A remote worker's answer to a turn, as mail from a node that does not own the run. History never holds it.

    `apps` are those that the worker may call beside its own, None for any; they count where the turn was lent.
    """

    token: str
    answer: bytes = b""
    apps: list[str] | None = []


class EventSent(Event, frozen=True):
    number: int
    instance: str
    name: str
    data: Payload | None = None
    app: str | None = None


class NoteRecorded(Event, frozen=True):
    """Free text of another engine's history."""

    data: Payload | None = None


class StateRecorded(Event, frozen=True):
    """A state snapshot of another engine's history, verbatim."""

    state: Payload | None = None


class EntitySignaled(Event, frozen=True):
    number: int
    request: str
    operation: str
    target: str | None = None
    input: Payload | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    app: str | None = None


class EntityCalled(Event, frozen=True):
    """`parent_instance` None: a client asks, and the answer is published. `parent_app`: the app of the run that asks,
    if it is another one. `chain`: the entities whose operations wait for this one, outermost first."""

    number: int
    request: str
    operation: str
    target: str | None = None
    input: Payload | None = None
    scheduled: int | None = None
    scheduled_nanos: int = 0
    parent_instance: str | None = None
    parent_execution: str | None = None
    parent_app: str | None = None
    app: str | None = None
    chain: list[str] = []


class EntityCompleted(Event, frozen=True):
    """The answer to the call `request`; `number` is that of the action."""

    request: str
    output: Payload | None = None
    number: int | None = None


class EntityFailed(Event, frozen=True):
    request: str
    failure: Failure
    number: int | None = None


class EntityLockRequested(Event, frozen=True):
    number: int
    section: str
    locks: list[str] = []
    position: int = 0
    parent_instance: str | None = None


class EntityLockGranted(Event, frozen=True):
    """Every entity of the request `section` is the run's now; `number` is that of the action."""

    section: str
    number: int | None = None


class EntityUnlocked(Event, frozen=True):
    number: int
    section: str
    target: str | None = None
    parent_instance: str | None = None


class EntityLocksReleased(Event, frozen=True):
    """A run that asked for `locks` has ended: mail that goes from one entity to the next. History never holds it."""

    section: str
    locks: list[str]


class ReminderSet(Event, frozen=True):
    """An entity is to run `operation` at `due`, and each `period` after that: mail from outside its turns. One of the
    same `name` is replaced. History never holds it. Times in microseconds."""

    name: str
    operation: str
    due: int
    period: int | None = None
    input: Payload | None = None


class ReminderCleared(Event, frozen=True):
    """The reminder `name` is to come no more: mail likewise."""

    name: str


class GroupJoined(Event, frozen=True):
    """A group subscribes to a topic, or has other options from now on. History never holds it."""

    topic: str
    group: str
    options: SubscribeOptions


class GroupLeft(Event, frozen=True):
    """A group wants no message of a topic any more, and its place in it is forgotten. History never holds it."""

    topic: str
    group: str


class SlotWanted(Event, frozen=True):
    """A wait asks for a slot of its queue, which the queue's door gives. History never holds it."""

    number: int
    instance: str
    execution: str
    generation: int
    since: int
    place: Place


class SlotGranted(Event, frozen=True):
    """A slot of its queue is free for a wait; `permit` is what the queue's rate counts, if a turn of the wait's own run
    is to write that. History never holds it. As mail of a door it names the queue."""

    number: int
    permit: Any = None
    queue: str = ""


class SlotLeft(Event, frozen=True):
    """A wait that has, or has asked for, a slot wants it no more. History never holds it."""

    number: int
    instance: str
    execution: str
    generation: int


AnyEvent = (
    TurnStarted
    | TurnCompleted
    | RunStarted
    | RunCompleted
    | RunContinued
    | RunTerminated
    | RunCancelRequested
    | RunSuspended
    | RunResumed
    | RunStalled
    | RunRewound
    | RunForked
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | ChildCreated
    | ChildCompleted
    | ChildFailed
    | ChildCancelled
    | DetachedCreated
    | TimerCreated
    | TimerFired
    | TimerCancelled
    | EventRaised
    | UpdateRequested
    | UpdateAnswered
    | EventSent
    | MessagePublished
    | NoteRecorded
    | StateRecorded
    | EntitySignaled
    | EntityCalled
    | EntityCompleted
    | EntityFailed
    | EntityLockRequested
    | EntityLockGranted
    | EntityUnlocked
)
AnyLetter = (
    AnyEvent
    | TurnAnswered
    | EntityLocksReleased
    | ReminderSet
    | ReminderCleared
    | GroupJoined
    | GroupLeft
    | SlotWanted
    | SlotGranted
    | SlotLeft
)
"""What mail may bring: events of histories, and some that no history holds."""

CONFIRMATIONS = (
    ActivityScheduled,
    ChildCreated,
    DetachedCreated,
    TimerCreated,
    EventSent,
    MessagePublished,
    EntitySignaled,
    EntityCalled,
    EntityLockRequested,
    EntityUnlocked,
)
"""Events that record an action of workflow code; replay matches them by number, kind, name and app."""
CANCELLATIONS = (ActivityCancelled, ChildCancelled, TimerCancelled)
"""Events that record that workflow code took an action back; replay matches them by number and kind."""

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyLetter)
_segment_decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[AnyEvent])

encode_event = _encoder.encode
"""One event as JSON bytes."""
encode_segment = _encoder.encode
"""The events of one turn as a JSON array."""


def decode_event(data: bytes) -> Any:
    """Raises ValueError if the bytes are no event."""
    return _event_decoder.decode(data)


def decode_segment(data: bytes) -> list[Any]:
    """Raises ValueError if the bytes are no list of events."""
    return _segment_decoder.decode(data)
