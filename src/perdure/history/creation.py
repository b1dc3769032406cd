"""How an instance comes to be: its ids, its first head, and the mail that starts it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import START_WAIT
from perdure.history.events import Parent, RunStarted, encode_event
from perdure.history.options import CallOptions, Place, encode_options
from perdure.history.work import StartOptions
from perdure.stores.contract import QUEUED, Creation, Head, Mail, Status, Wait, WaitKind


def asked_start(name: str, input: Payload | None, options: StartOptions, execution: str, at: int) -> RunStarted:
    """The start that a caller asks for."""
    return RunStarted(
        at=at,
        name=name,
        input=input,
        execution=execution,
        scheduled=options.at,
        tags=options.tags,
        timeout=options.run_timeout,
        version=options.version,
        trace=options.trace,
        place=options.place,
    )


def asked_creation(app: str, id: str, started: RunStarted, options: StartOptions) -> Creation:
    """The instance that a caller asks for, which whoever owns it begins."""
    head = pending_head(app, id, started, started.at, kind=options.kind)
    unique = options.unique or options.if_exists == "return"
    return creation(head, started, f"{head.execution}.start", started.at, unique=unique)


class Watcher(msgspec.Struct, frozen=True):
    """Who hears of an instance's end, and by which external event."""

    instance: str
    event: str


def pending_head(
    app: str, instance: str, started: RunStarted, at: int, *, kind: str = "workflow", watcher: Watcher | None = None
) -> Head:
    """The head of an instance that no turn has run yet."""
    more: dict[str, Any] = {}
    if watcher is not None:
        more["watcher"] = msgspec.to_builtins(watcher)
    if started.parent is not None:
        more["parent"] = msgspec.to_builtins(started.parent)
    return Head(
        id=instance,
        app=app,
        name=started.name,
        status=Status.PENDING,
        execution=started.execution,
        generation=started.generation,
        sequence=0,
        created=at,
        updated=at,
        parent=started.parent.instance if started.parent else None,
        tags=started.tags,
        version=started.version,
        kind=kind,
        more=more,
    )


def creation(
    head: Head,
    started: RunStarted,
    key: str,
    at: int,
    *,
    refusal: Mail | None = None,
    unique: bool = False,
) -> Creation:
    """A new instance with its start mail; delayed if `started.scheduled` lies ahead, or by its place in a queue."""
    due = started.scheduled if started.scheduled is not None and started.scheduled > at else None
    waits = (start_wait(at, due, started.place),) if due is not None or started.place is not None else ()
    mail = Mail(head.id, key, encode_event(started), at, head.execution, head.generation)
    parent = parent_of(head)
    return Creation(head, mail, waits, parent_call(parent) if parent else None, refusal, unique)


def start_wait(at: int, due: int | None, place: Place | None) -> Wait:
    """What an instance that does not begin at once waits for."""
    if place is None:
        return Wait(START_WAIT, WaitKind.START, "start", at, due)
    options = encode_options(CallOptions(place=place))
    return Wait(START_WAIT, WaitKind.START, "start", at, due, state=QUEUED, options=options)


def parent_of(head: Head) -> Parent | None:
    """Who waits for this run, if it is a child."""
    found = head.more.get("parent")
    return msgspec.convert(found, Parent) if found else None


def watcher_of(head: Head) -> Watcher | None:
    """Who hears of this instance's end, besides a parent."""
    found = head.more.get("watcher")
    return msgspec.convert(found, Watcher) if found else None


def parent_call(parent: Parent) -> str:
    """The identity of a child's creation: the same call creates the same child."""
    return f"{parent.execution}.{parent.generation}.{parent.number}.{parent.turn}"


def child_id(head: Head, number: int) -> str:
    """The id of a child that was given none: the parent's, generation if not the first, and the number in hex."""
    generation = "" if head.generation == 1 else f"{head.generation:x}."
    return f"{head.id}:{generation}{number:04x}"


def execution_of(head: Head, number: int) -> str:
    """A child's execution id: derived, so that a repeated turn creates the same run, and as unique as the parent's."""
    text = f"{head.execution}.{head.generation}.{number}.{head.sequence}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
