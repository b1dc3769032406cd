"""What the tools answer: short documents with keys that stay, in which no value is longer than a model should read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel

from perdure.clock import LATEST, to_datetime
from perdure.codec import Payload, is_packed, readable
from perdure.errors import OutcomeError, RemoteError
from perdure.history.alike import FailureGroup, Retried
from perdure.history.events import Failure
from perdure.history.state import CauseGroup, Explanation, Survey
from perdure.sdk.snapshot import State
from perdure.stores.contract import Halt

VALUE_CHARACTERS_MAX = 2_000
"""Characters of one value, such as an input, that an answer repeats; of a longer one it has the beginning."""
EVENT_CHARACTERS_MAX = 400
"""Characters of one value of an event, because a history has many."""
CAUSES_MAX = 5
"""How many causes of a failure are told, the outermost first."""
IDS_MAX = 20
"""Ids of one group of failures that are told."""
_INSTANTS = frozenset(("at", "due", "scheduled", "started"))
_UNSAID = frozenset(("at", "at_nanos", "number", "name"))

Command = Callable[[Explanation], str | None]
"""The command line of an explanation, for the place that the server looks at."""


class Summary(BaseModel):
    """An instance as a list shows it."""

    id: str
    workflow: str
    status: str
    created: str
    finished: str | None = None
    custom_status: Any = None
    tags: dict[str, str] | None = None
    parent: str | None = None
    suspended: str | None = None
    stalled: str | None = None


class Instance(Summary):
    """An instance with its values; a long value is cut and says so."""

    app: str
    execution: str
    run: int
    updated: str
    input: Any = None
    output: Any = None
    failure: list[str] | None = None


class Listing(BaseModel):
    """Instances, newest first. `more`: there are others; narrow the filters to see them."""

    instances: list[Summary]
    more: bool = False


class Told(BaseModel):
    """Why an instance is not finished. `command` moves it, for a person with a shell; `normal`: nothing is wrong."""

    id: str
    cause: str
    sentence: str
    since: str | None = None
    next: str
    command: str | None = None
    line: str | None = None
    chain: list[str] | None = None
    normal: bool


class Cause(BaseModel):
    """Instances that are not finished for one cause, and one of them."""

    cause: str
    count: int
    normal: bool
    oldest: str | None = None
    example: Told


class Causes(BaseModel):
    """Unfinished instances by cause, what is wrong first; `looked` is how many there were, `more` if there are older
    ones."""

    looked: int
    causes: list[Cause]
    more: bool = False


class Event(BaseModel):
    """One event of a history; `index` counts from 1."""

    index: int
    at: str
    type: str
    name: str | None = None
    number: int | None = None
    facts: dict[str, Any] | None = None


class History(BaseModel):
    """Events of the current run, oldest first; `next_after` goes on behind them."""

    events: list[Event]
    next_after: int | None = None


class Failures(BaseModel):
    """Instances that failed, or stand still, alike. `ids` are those that have not been rerun, oldest first."""

    fingerprint: str
    sentence: str
    place: str | None = None
    workflows: list[str]
    stalled: bool
    count: int
    rerun: int
    first: str
    last: str
    example: str
    ids: list[str]


class FailureListing(BaseModel):
    """Groups of failures, the largest first."""

    groups: list[Failures]


class Overview(BaseModel):
    """How many instances there are by status, and which process runs the app (null: none, and nothing moves)."""

    counts: dict[str, int]
    runs_in: str | None = None


class Done(BaseModel):
    """What a changing tool did; `status` is that of the instance right after."""

    id: str
    done: str
    status: str
    note: str | None = None


class Group(BaseModel):
    """What became of a group of failures. `hitch` says why the others did not follow the first, `canary`."""

    canary: str
    count: int
    hitch: str | None = None
    refused: list[str]


def summary(state: State) -> Summary:
    """An instance without its values."""
    return Summary(**_summary(state))


def instance(state: State) -> Instance:
    """An instance with its values and what it failed with."""
    return Instance(
        **_summary(state),
        app=state.app,
        execution=state.execution_id,
        run=state.run,
        updated=_moment(state.updated),
        input=bounded(state.input),
        output=bounded(state.output),
        failure=_causes(state.failure) if state.failure is not None else None,
    )


def told(explanation: Explanation, command: Command) -> Told:
    """Why an instance is not finished."""
    return Told(
        id=explanation.instance,
        cause=explanation.cause,
        sentence=explanation.sentence,
        since=_optional(explanation.since),
        next=explanation.next,
        command=command(explanation),
        line=explanation.line,
        chain=list(explanation.chain) if len(explanation.chain) > 1 else None,
        normal=explanation.is_normal,
    )


def causes(survey: Survey, command: Command) -> Causes:
    """Unfinished instances by cause."""
    return Causes(
        looked=survey.looked, causes=[_cause(group, command) for group in survey.groups], more=survey.cursor is not None
    )


def history(events: Iterable[tuple[int, Any]], next_after: int | None) -> History:
    """Events with their index."""
    return History(events=[_event(index, event) for index, event in events], next_after=next_after)


def failures(groups: Iterable[FailureGroup]) -> FailureListing:
    """Groups of failures."""
    return FailureListing(groups=[_failures(group) for group in groups])


def group(retried: Retried) -> Group:
    """What became of a group of failures."""
    return Group(
        canary=retried.canary, count=retried.count, hitch=retried.hitch, refused=list(retried.refused)[:IDS_MAX]
    )


def bounded(value: Any, characters: int = VALUE_CHARACTERS_MAX) -> Any:
    """The value, or the beginning of its JSON if that is long."""
    if value is None:
        return None
    text = json.dumps(value, default=str)
    return json.loads(text) if len(text) <= characters else _cut(text, characters)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text):,} characters in all)"


def _summary(state: State) -> dict[str, Any]:
    return {
        "id": state.id,
        "workflow": state.name,
        "status": state.status.value,
        "created": _moment(state.created),
        "finished": _optional(state.finished),
        "custom_status": bounded(state.custom_status, EVENT_CHARACTERS_MAX),
        "tags": state.tags or None,
        "parent": state.parent,
        "suspended": _halt(state.suspended),
        "stalled": _halt(state.stalled),
    }


def _halt(halt: Halt | None) -> str | None:
    if halt is None:
        return None
    why = f": {halt.description}" if halt.description else ""
    return _cut(f"{halt.reason}{why}", EVENT_CHARACTERS_MAX)


def _causes(error: BaseException) -> list[str]:
    found: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < CAUSES_MAX:
        kind = cause.type if isinstance(cause, RemoteError) else type(cause).__name__
        said = cause.message if isinstance(cause, RemoteError) else Exception.__str__(cause)
        code = f" [{cause.code}]" if isinstance(cause, OutcomeError) and not isinstance(cause, RemoteError) else ""
        found.append(_cut(f"{kind}: {said}{code}", VALUE_CHARACTERS_MAX))
        cause = cause.__cause__
    return found


def _cause(group: CauseGroup, command: Command) -> Cause:
    return Cause(
        cause=group.cause,
        count=group.count,
        normal=group.is_normal,
        oldest=_optional(group.oldest),
        example=told(group.example, command),
    )


def _event(index: int, event: Any) -> Event:
    fields = msgspec.structs.asdict(event)
    facts = {
        name: _fact(name, value)
        for name, value in fields.items()
        if name not in _UNSAID and value not in (None, 0, "", [], {}) and not name.endswith("_nanos")
    }
    return Event(
        index=index,
        at=_instant(event.at),
        type=type(event).__name__,
        name=fields.get("name") or None,
        number=fields.get("number") or None,
        facts=facts or None,
    )


def _fact(name: str, value: Any) -> Any:
    if isinstance(value, Payload):
        return _payload(value)
    if isinstance(value, Failure):
        return _cut(f"{value.type}: {value.message}", EVENT_CHARACTERS_MAX)
    if name in _INSTANTS and isinstance(value, int):
        return _instant(value)
    return bounded(msgspec.to_builtins(value, str_keys=True, enc_hook=str), EVENT_CHARACTERS_MAX)


def _payload(payload: Payload) -> Any:
    if is_packed(payload):
        return str(readable(payload))
    text = bytes(payload.data).decode("utf-8", "replace")
    if len(text) > EVENT_CHARACTERS_MAX:
        return _cut(text, EVENT_CHARACTERS_MAX)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # because damaged data is to be seen as it is


def _failures(group: FailureGroup) -> Failures:
    return Failures(
        fingerprint=group.fingerprint,
        sentence=group.sentence,
        place=group.place,
        workflows=group.workflows,
        stalled=group.is_stalled,
        count=group.count,
        rerun=group.rerun,
        first=_moment(group.first),
        last=_moment(group.last),
        example=group.example,
        ids=group.ids[:IDS_MAX],
    )


def _instant(at: int) -> str:
    return _moment(to_datetime(min(at, LATEST)))


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _optional(at: datetime | None) -> str | None:
    return _moment(at) if at is not None else None
