"""An instance as people and programs see it from outside."""

from __future__ import annotations

from datetime import datetime

import msgspec

from perdure.codec import Payload
from perdure.history.events import Failure, RunCompleted, RunStarted
from perdure.stores.contract import FINISHED, Halt, Head


class InstanceState(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of one instance as the engine gives it: payloads as stored, times in microseconds since 1970 UTC."""

    id: str
    app: str
    name: str
    status: str
    execution: str
    generation: int
    created: int
    updated: int
    finished: int | None = None
    input: Payload | None = None
    output: Payload | None = None
    custom_status: Payload | None = None
    failure: Failure | None = None
    tags: dict[str, str] | None = None
    parent: str | None = None
    suspended: Halt | None = None
    stalled: Halt | None = None
    version: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instance is not finished: one sentence, since when, and the command that moves it (None: just wait)."""

    instance: str
    cause: str
    sentence: str
    since: datetime | None = None
    command: str | None = None

    def __str__(self) -> str:
        return self.sentence + (f"\n  {self.command}" if self.command else "")


def state_of(head: Head, started: RunStarted | None = None, completed: RunCompleted | None = None) -> InstanceState:
    """The snapshot of a head, with input and output where the events that hold them are given."""
    return InstanceState(
        id=head.id,
        app=head.app,
        name=head.name,
        status=head.status,
        execution=head.execution,
        generation=head.generation,
        created=head.created,
        updated=head.updated,
        finished=head.finished,
        input=started.input if started is not None else None,
        output=completed.output if completed is not None else None,
        custom_status=head.custom_status,
        failure=completed.failure if completed is not None else None,
        tags=head.tags,
        parent=head.parent,
        suspended=head.suspended,
        stalled=head.stalled,
        version=head.version,
    )
