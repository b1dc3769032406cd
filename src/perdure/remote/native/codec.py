"""Turns and attempts for Perdure's own workers: nothing that the engine knows is lost on the way.

A message has the addresses of the public protocol's, in its fields, so that a server need not know whose it is to find
the work that it is about. All else is JSON in a field that no public message has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from perdure.codec import Payload
from perdure.errors import InvalidArgument, MalformedMessage
from perdure.history.actions import (
    Action,
    AnyAction,
    ClearReminder,
    CreateDetached,
    PublishMessage,
    SetReminder,
    SignalEntity,
)
from perdure.history.events import AnyEvent, Failure, encode_event
from perdure.history.work import Attempt, Batch, BatchResult, Identity, Operated, Stall
from perdure.remote.native.envelope import BODY, CANCEL, PING, Envelope, read_envelope, write_envelope
from perdure.remote.requests import (
    ActivityItem,
    ActivityResult,
    EntityItem,
    EntityResult,
    Flavour,
    OperationResult,
    TurnItem,
    TurnResult,
)

T = TypeVar("T")


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn"):
    """A turn as a worker reads it. `past` are events that it does not have, after `cached` that it has.

    `after` is the token of the run's last turn, if it was this worker's; else `past` is all there is.
    """

    identity: Identity
    past: list[AnyEvent]
    new: list[AnyEvent]
    cached: int = 0
    after: str = ""
    token: str = ""


class AttemptItem(msgspec.Struct, frozen=True, omit_defaults=True, tag="attempt"):
    """An attempt as a worker reads it."""

    attempt: Attempt
    token: str = ""


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True, tag="batch"):
    """Operations of an actor as a worker reads them."""

    batch: Batch
    token: str = ""


class Cancel(msgspec.Struct, frozen=True):
    """Nobody wants the answer to an attempt any more."""

    token: str


class Ping(msgspec.Struct, frozen=True):
    """A sign of life."""


class _TurnOut(msgspec.Struct, omit_defaults=True, tag="turn"):
    identity: Identity
    past: list[Raw]
    new: list[Raw]
    cached: int = 0
    after: str = ""


class _TurnAnswer(msgspec.Struct, omit_defaults=True):
    actions: list[AnyAction] = []
    must_have_history: bool = False
    stall: Stall | None = None


class _AttemptAnswer(msgspec.Struct, omit_defaults=True):
    result: Payload | None = None
    failure: Failure | None = None
    timed_out: bool = False
    guarantee: str | None = None
    stall: Stall | None = None
    messages: tuple[PublishMessage, ...] = ()


class _BatchAnswer(msgspec.Struct, omit_defaults=True):
    results: list[Operated] = []
    actions: list[SignalEntity | CreateDetached | SetReminder | ClearReminder | PublishMessage] = []
    state: Payload | None = None
    failure: Failure | None = None
    stall: Stall | None = None


_encode = msgspec.json.Encoder().encode
_item: msgspec.json.Decoder[Turn | AttemptItem | BatchItem] = msgspec.json.Decoder(Turn | AttemptItem | BatchItem)
_batch_answer = msgspec.json.Decoder(_BatchAnswer)
_turn_answer = msgspec.json.Decoder(_TurnAnswer)
_attempt_answer = msgspec.json.Decoder(_AttemptAnswer)


class NativeCodec:
    """The protocol of Perdure's own workers; both of its ends."""

    flavour = Flavour.PERDURE

    # -- what a server writes

    def event(self, event: Any, instance: str, execution: str, app: str = "") -> bytes | None:
        """An event as the store has it: these workers are shown all of them."""
        return encode_event(event)

    def history(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        return [encode_event(event) for event in events]

    history_for_work = history

    def turn_item(self, item: TurnItem) -> bytes:
        """Raises InvalidArgument for a turn of a run that nobody has identified."""
        if item.identity is None:
            raise InvalidArgument(f"a turn of {item.instance!r} does not say which run it is of")
        past, new = [Raw(event) for event in item.past], [Raw(event) for event in item.new]
        body = _encode(_TurnOut(item.identity, past, new, item.cached or 0, item.after))
        return write_envelope(Envelope(token=item.token, kind=BODY, body=body), is_item=True)

    def activity_item(self, item: ActivityItem) -> bytes:
        """Raises InvalidArgument for an attempt without what the engine knows of it."""
        if item.attempt is None:
            raise InvalidArgument(f"an attempt for {item.instance!r} does not say which one it is")
        return write_envelope(
            Envelope(token=item.token, kind=BODY, body=_encode(AttemptItem(item.attempt))), is_item=True
        )

    def entity_item(self, item: EntityItem) -> bytes:
        """Raises InvalidArgument for a batch without what the engine knows of it."""
        if item.batch is None:
            raise InvalidArgument(f"a batch of {item.entity!r} does not say what the engine knows of it")
        return write_envelope(Envelope(token=item.token, kind=BODY, body=_encode(BatchItem(item.batch))), is_item=True)

    def ping(self) -> bytes:
        return write_envelope(Envelope(kind=PING), is_item=True)

    def cancel_item(self, token: str) -> bytes | None:
        return write_envelope(Envelope(token=token, kind=CANCEL), is_item=True)

    def shows(self, event: Any) -> bool:
        """Workers are told of everything."""
        return True

    # -- what a worker reads

    def read_item(self, data: bytes) -> Turn | AttemptItem | BatchItem | Cancel | Ping:
        """Raises MalformedMessage for bytes that are no item."""
        envelope = read_envelope(data, is_item=True)
        if envelope.kind == CANCEL:
            return Cancel(envelope.token)
        if envelope.kind == PING:
            return Ping()
        return msgspec.structs.replace(_decoded(_item, envelope.body), token=envelope.token)

    # -- what a worker writes

    def write_turn_result(self, result: TurnResult) -> bytes:
        actions: Sequence[Action] = result.actions
        body = _encode(_TurnAnswer(list(actions), result.must_have_history, result.stall))  # type: ignore[arg-type]
        return write_envelope(Envelope(instance=result.instance, token=result.token, kind=BODY, body=body))

    def write_activity_result(self, result: ActivityResult) -> bytes:
        told = result.result, result.failure, result.timed_out, result.guarantee, result.stall
        body = _encode(_AttemptAnswer(*told, tuple(result.messages)))
        return write_envelope(
            Envelope(instance=result.instance, number=result.number, token=result.token, kind=BODY, body=body),
            is_attempt=True,
        )

    def write_batch_result(self, token: str, result: BatchResult | Stall) -> bytes:
        if isinstance(result, Stall):
            answer = _BatchAnswer(stall=result)
        else:
            answer = _BatchAnswer(list(result.results), list(result.actions), result.state, result.failure)
        return write_envelope(Envelope(token=token, kind=BODY, body=_encode(answer)))

    # -- what a server reads

    def read_turn_result(self, data: bytes) -> TurnResult:
        envelope = read_envelope(data)
        answer = _decoded(_turn_answer, envelope.body)
        return TurnResult(
            instance=envelope.instance,
            token=envelope.token,
            actions=answer.actions,
            must_have_history=answer.must_have_history,
            stall=answer.stall,
        )

    def read_activity_result(self, data: bytes) -> ActivityResult:
        envelope = read_envelope(data, is_attempt=True)
        answer = _decoded(_attempt_answer, envelope.body)
        return ActivityResult(
            instance=envelope.instance,
            number=envelope.number,
            token=envelope.token,
            result=answer.result,
            failure=answer.failure,
            timed_out=answer.timed_out,
            guarantee=answer.guarantee,
            stall=answer.stall,
            messages=answer.messages,
        )

    def read_entity_result(self, data: bytes) -> EntityResult:
        envelope = read_envelope(data)
        answer = _decoded(_batch_answer, envelope.body)
        return EntityResult(
            token=envelope.token,
            results=[OperationResult(one.result, one.failure) for one in answer.results],
            actions=answer.actions,
            state=answer.state,
            failure=answer.failure,
            stall=answer.stall,
        )

    def __repr__(self) -> str:
        return f"<NativeCodec of {self.flavour}>"


NATIVE = NativeCodec()


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"{len(body):,} bytes are no message of Perdure's own: {error}") from None
