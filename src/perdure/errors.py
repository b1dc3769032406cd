"""Every error that Perdure raises, in one tree; each names what it is about and says what to do.

PerdureError
├── UsageError                      the caller's mistake; nothing was written
│   ├── InvalidArgument      1001   an argument has a value that cannot be used
│   ├── NotEncodable         1002   a value cannot be stored as a payload
│   ├── NotDecodable         1003   a payload does not fit the type that is asked for
│   │   ├── KeyMissing       1630   the key of an encrypted payload is not here, or was erased
│   │   ├── PayloadTampered  1631   what is stored is not what was written, or its key is another one
│   │   └── BlobMissing      1632   what holds an offloaded payload is not there
│   ├── AlreadyRegistered    1004   two functions under one name
│   ├── NotDeterministic     1005   workflow code that could not be replayed (found by the lint)
│   ├── NotStarted           1006   a workflow was called where only `.start()` makes it durable
│   ├── NotOpen              1007   the app or client is not open
│   ├── UnknownConfiguration 1008   a configuration key that does not exist
│   ├── NotInWorkflow        1009   an operation that workflow code must leave to an activity
│   ├── OnlyInWorkflow       1010   an operation that exists only inside a workflow or activity
│   ├── ForkedEngine         1011   an engine inherited over fork()
│   ├── NotSecure            1012   a server would listen where strangers can call it, or hear what is said
│   ├── CertificateNotUsable 1013   the files of a server's certificate do not make one
│   ├── MalformedMessage     1014   bytes of a remote peer that are no message of the protocol
│   ├── ActorReentered       1015   a method of an actor calls an actor that waits for it
│   └── ComponentNotFound    1016   an app has no component of this name
├── InstanceError                   an instance is not as the call needs it
│   ├── InstanceNotFound     1201   no instance has this id, or the execution that a handle is for is gone
│   ├── InstanceExists       1202   an instance that is not finished has the id
│   ├── InstanceNotFinished  1203   only a finished instance can be purged or rerun
│   ├── InstanceFinished     1204   a finished instance would ignore it; a rerun needs an id of its own
│   ├── MailboxFull          1205   too many messages wait for an instance that does not take them
│   ├── EventNotRerunnable   1206   the history has no action of that number that can be run again
│   └── UpdateNotAnswered    1207   the run ended before it answered an update
├── OutcomeError                    how durable work ended
│   ├── WorkflowFailed       1301   the workflow raised; the causes are in `__cause__`
│   ├── WorkflowCancelled    1302   the workflow was cancelled
│   ├── WorkflowTerminated   1303   the workflow was terminated
│   ├── ActivityFailed       1311   an activity failed for good
│   ├── ActivityTimedOut     1312   its last attempt took longer than a timeout, or gave no heartbeat
│   ├── ChildWorkflowFailed  1313   a child workflow ended without a result
│   ├── RemoteError          1314   one link of a cause chain that crossed the durable boundary
│   ├── ApplicationError     1315   raised by user code to say: do not retry, or: here are details
│   ├── CompensationFailed   1316   a group: what the compensations of a saga raised
│   ├── UpdateRefused        1317   the validator refused an update; nothing was written
│   ├── UpdateFailed         1318   the handler of an update raised; the causes are in `__cause__`
│   ├── ActorFailed          1319   a method of an actor raised; nothing of it was kept, the causes are in `__cause__`
│   └── ActorTimedOut        1320   an actor has not answered in time; it may do so later
├── StoreError                      the database's side
│   ├── StoreUnavailable     1401   no answer; the outcome of a write is unknown
│   ├── StoreCorrupt         1402   the store is damaged
│   ├── StoreFull            1403   no room is left; nothing was written
│   ├── StoreVersion         1404   a later version has written the store
│   ├── StoreNotUsable       1405   the address or the place cannot hold a store
│   ├── StoreOwned           1406   another process owns the store and standing by is not wanted
│   ├── StoreRolledBack      1407   the store is older than what was seen of it
│   ├── Fenced               1408   the lease of the shard is somebody else's
│   ├── BlobsUnavailable     1409   the place of offloaded payloads did not write or read
│   └── AppReserved          1410   the instances of the app are being moved to another store, or were
├── StateError                      a value of a state store is not as the call needs it
│   ├── EtagMismatch         1660   another one has written, or removed, the value since it was read
│   └── StateStoreNotFound   1661   no state store has this name
├── ScheduleError                   a schedule is not as the call needs it
│   ├── ScheduleNotFound     1610   no schedule has this id
│   └── ScheduleExists       1611   a schedule has the id
├── KitError                        a test cannot go on as it is written (perdure.testing)
│   ├── NothingMoves         1640   what the test waits for never comes: no attempt, timer or event is left
│   ├── NotStubbed           1641   a strict test ran an activity that it has not stubbed, or a stub has no answer left
│   ├── NotInVirtualTime     1642   an activity asked for the network or a process, which virtual time does not have
│   ├── HistoryNotRecorded   1643   a golden history is not there yet, or cannot be read
│   └── DurableMarkMisused   1644   the mark `durable`, or --perdure-crash, says what cannot be done
├── ServerError                     a server's side
│   ├── PortNotFree          1701   another process listens on the port
│   ├── NotAuthenticated     1702   a call came without a token that the server knows
│   ├── NotPermitted         1703   the token of a call is not one for the app that it names
│   ├── NotSupportedByServer 1704   the server lacks what a function needs, or what a call asks for
│   ├── ServerUnavailable    1705   the server gives no answer
│   ├── ToolServerUnavailable 1720  a server of tools (MCP) gives no answer
│   ├── ModelUnavailable     1721   a language model gives no answer, or refuses the request
│   └── PubsubNotFound       1722   no pub/sub component has this name
├── StreamError                     a stream takes no more items
│   ├── StreamTooLong        1650   it has as many as it may
│   └── StreamRefused        1651   the call waits for another attempt, or for none any more
└── Stalled                         why an instance stands still (kept as a reason, not raised at callers)
    ├── WorkflowNotRegistered 1501   no code of that name is here
    ├── VersionNotRegistered  1502   no code of that version is here
    ├── NonDeterminism        1503   the code asks for something else than history holds
    ├── PayloadTooLarge       1504   a value beyond the bound; also raised where a value is passed
    ├── PayloadNotDecodable   1505   recorded data does not fit the type that is asked for
    ├── TurnTooLong           1506   a turn that does not end
    ├── HistoryTooLong        1507   more events than the bound
    ├── HistoryCorrupt        1508   a history that cannot be read; also raised where one is read
    └── Quarantined           1509   its owners died again and again while it was in flight
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class PerdureError(Exception):
    """Base of all errors of Perdure. `code` is stable over versions."""

    code: ClassVar[str] = "PERDURE-1000"

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.code}]"


class UsageError(PerdureError):
    """The call was wrong; nothing was written."""


class InvalidArgument(UsageError, ValueError):
    code = "PERDURE-1001"


class NotEncodable(UsageError, TypeError):
    code = "PERDURE-1002"


class NotDecodable(UsageError, ValueError):
    code = "PERDURE-1003"


class KeyMissing(NotDecodable):
    code = "PERDURE-1630"


class PayloadTampered(NotDecodable):
    code = "PERDURE-1631"


class BlobMissing(NotDecodable):
    code = "PERDURE-1632"


class AlreadyRegistered(UsageError):
    code = "PERDURE-1004"


class NotDeterministic(UsageError):
    code = "PERDURE-1005"


class NotStarted(UsageError):
    code = "PERDURE-1006"


class NotOpen(UsageError):
    code = "PERDURE-1007"


class UnknownConfiguration(UsageError):
    code = "PERDURE-1008"


class NotInWorkflow(UsageError):
    code = "PERDURE-1009"


class OnlyInWorkflow(UsageError):
    code = "PERDURE-1010"


class ForkedEngine(UsageError):
    code = "PERDURE-1011"


class NotSecure(UsageError):
    code = "PERDURE-1012"


class CertificateNotUsable(UsageError):
    code = "PERDURE-1013"


class MalformedMessage(UsageError, ValueError):
    code = "PERDURE-1014"


class ActorReentered(UsageError):
    code = "PERDURE-1015"


class ComponentNotFound(InvalidArgument, LookupError):
    code = "PERDURE-1016"


class InstanceError(PerdureError):
    """An instance is not in the state that the call needs."""

    def __init__(self, message: str, instance_id: str = "") -> None:
        super().__init__(message)
        self.instance_id = instance_id


class InstanceNotFound(InstanceError, LookupError):
    code = "PERDURE-1201"


class InstanceExists(InstanceError):
    code = "PERDURE-1202"


class InstanceNotFinished(InstanceError):
    code = "PERDURE-1203"


class InstanceFinished(InstanceError):
    code = "PERDURE-1204"


class MailboxFull(InstanceError):
    code = "PERDURE-1205"


class EventNotRerunnable(InstanceError):
    code = "PERDURE-1206"


class UpdateNotAnswered(InstanceError):
    code = "PERDURE-1207"


class OutcomeError(PerdureError):
    """Durable work ended without a result. `__cause__` is the chain of what went wrong, as far as it is known."""


class WorkflowFailed(OutcomeError):
    code = "PERDURE-1301"


class WorkflowCancelled(OutcomeError):
    code = "PERDURE-1302"


class WorkflowTerminated(OutcomeError):
    code = "PERDURE-1303"


class ActivityFailed(OutcomeError):
    """An activity failed for good. `type` is the name of the error's class where it was raised."""

    code = "PERDURE-1311"

    def __init__(self, message: str, type: str = "", attempt: int = 1) -> None:
        super().__init__(message)
        self.type = type
        self.attempt = attempt


class ActivityTimedOut(ActivityFailed, TimeoutError):
    code = "PERDURE-1312"


class ChildWorkflowFailed(OutcomeError):
    code = "PERDURE-1313"

    def __init__(self, message: str, type: str = "", instance_id: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.instance_id = instance_id


class RemoteError(OutcomeError):
    """An error as it was on the other side of the durable boundary: `type`, message and `stack` as text."""

    code = "PERDURE-1314"

    def __init__(self, type: str, message: str, stack: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.stack = stack

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" + (f"\n{self.stack}" if self.stack else "")


class ApplicationError(OutcomeError):
    """Raise it from an activity or workflow to fail with a type of your choice; `retryable=False` fails at once."""

    code = "PERDURE-1315"

    def __init__(self, message: str, *, type: str = "ApplicationError", retryable: bool = True) -> None:
        super().__init__(message)
        self.type = type
        self.retryable = retryable


class CompensationFailed(OutcomeError, ExceptionGroup[Exception]):
    """Compensations of a saga failed: `exceptions` is what they raised, `__cause__` what made them run."""

    code = "PERDURE-1316"

    def derive(self, excs: Sequence[Exception]) -> CompensationFailed:  # type: ignore[override]
        return CompensationFailed(self.message, excs)


class UpdateRefused(OutcomeError):
    """The update was refused before anything was done; `__cause__` is what the validator raised."""

    code = "PERDURE-1317"


class UpdateFailed(OutcomeError):
    """The handler raised; `__cause__` is its error. What it did before that is done."""

    code = "PERDURE-1318"


class ActorFailed(OutcomeError):
    """A method of an actor raised. `type` is the name of the error's class where it was raised."""

    code = "PERDURE-1319"

    def __init__(self, message: str, type: str = "") -> None:
        super().__init__(message)
        self.type = type


class ActorTimedOut(ActorFailed, TimeoutError):
    code = "PERDURE-1320"


class StoreError(PerdureError):
    """The database's side of a problem."""


class StoreUnavailable(StoreError):
    code = "PERDURE-1401"


class StoreCorrupt(StoreError):
    code = "PERDURE-1402"


class StoreFull(StoreError):
    code = "PERDURE-1403"


class StoreVersion(StoreError):
    code = "PERDURE-1404"


class StoreNotUsable(StoreError):
    code = "PERDURE-1405"


class StoreOwned(StoreError):
    code = "PERDURE-1406"


class StoreRolledBack(StoreError):
    code = "PERDURE-1407"


class Fenced(StoreError):
    code = "PERDURE-1408"


class BlobsUnavailable(StoreError):
    code = "PERDURE-1409"


class AppReserved(StoreError):
    code = "PERDURE-1410"


class StateError(PerdureError):
    """A value of a state store is not as the call needs it; nothing was written."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class EtagMismatch(StateError):
    code = "PERDURE-1660"


class StateStoreNotFound(StateError, LookupError):
    code = "PERDURE-1661"


class ScheduleError(PerdureError):
    """A schedule is not in the state that the call needs."""

    def __init__(self, message: str, schedule_id: str = "") -> None:
        super().__init__(message)
        self.schedule_id = schedule_id


class ScheduleNotFound(ScheduleError, LookupError):
    code = "PERDURE-1610"


class ScheduleExists(ScheduleError):
    code = "PERDURE-1611"


class KitError(PerdureError):
    """A test cannot go on as it is written; raised by `perdure.testing` alone."""


class NothingMoves(KitError):
    code = "PERDURE-1640"


class NotStubbed(KitError):
    code = "PERDURE-1641"


class NotInVirtualTime(KitError):
    code = "PERDURE-1642"


class HistoryNotRecorded(KitError):
    code = "PERDURE-1643"


class DurableMarkMisused(KitError):
    code = "PERDURE-1644"


class ServerError(PerdureError):
    """A server could not begin, or refused a call."""


class PortNotFree(ServerError):
    code = "PERDURE-1701"


class NotAuthenticated(ServerError):
    code = "PERDURE-1702"


class NotPermitted(ServerError):
    code = "PERDURE-1703"


class NotSupportedByServer(ServerError):
    """Raised when a worker connects, naming the function and what it needs, or by the call that needs it."""

    code = "PERDURE-1704"


class ServerUnavailable(ServerError):
    """Whether the call took effect is not known."""

    code = "PERDURE-1705"


class ToolServerUnavailable(ServerError):
    """Whether the tool was run is not known."""

    code = "PERDURE-1720"


class ModelUnavailable(ServerError):
    """The provider's own words are in the message."""

    code = "PERDURE-1721"


class PubsubNotFound(ServerError, LookupError):
    code = "PERDURE-1722"


class StreamError(PerdureError):
    """A stream does not take an item of an attempt."""


class StreamTooLong(StreamError):
    code = "PERDURE-1650"


class StreamRefused(StreamError):
    code = "PERDURE-1651"


class Stalled(PerdureError):
    """Why an instance stands still until the cause changes; see `InstanceState.stalled`."""


class WorkflowNotRegistered(Stalled):
    code = "PERDURE-1501"


class VersionNotRegistered(Stalled):
    code = "PERDURE-1502"


class NonDeterminism(Stalled):
    code = "PERDURE-1503"


class PayloadTooLarge(Stalled):
    """A value is larger than the bound of a payload.

    Raised at who passes it: to `start`, `raise_event`, `terminate` and `rerun`, and to `heartbeat` in an activity;
    nothing is written then. The result of an activity fails its call with this type, without another attempt. In
    workflow code, and for its result, it is a stall.
    """

    code = "PERDURE-1504"


class PayloadNotDecodable(Stalled):
    code = "PERDURE-1505"


class TurnTooLong(Stalled):
    code = "PERDURE-1506"


class HistoryTooLong(Stalled):
    code = "PERDURE-1507"


class HistoryCorrupt(Stalled):
    code = "PERDURE-1508"


class Quarantined(Stalled):
    code = "PERDURE-1509"
