"""An instance as people and programs see it from outside."""

from __future__ import annotations

import shlex
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
    scheduled: int | None = None
    """When it was asked to begin, where its start is at hand."""
    parent_app: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an instance is not finished: one sentence, since when, and the command that moves it (None: just wait).

    `cause` is the id of a row of docs/operations/troubleshooting.md, and `is_normal` if nothing is wrong. `line` is the
    source line that waits; `next` is what happens by itself and when, "nothing" if nothing does; `chain` are the ids of
    the instances and entities on the way from this one to where the cause is. The command lacks only the store or
    server.
    """

    instance: str
    cause: str
    sentence: str
    since: datetime | None = None
    command: str | None = None
    line: str | None = None
    next: str = "nothing"
    chain: tuple[str, ...] = ()
    is_normal: bool = False

    def command_on(self, words: str, app: str | None = None) -> str | None:
        """The command with the words that lead to its store or server, quoted for a shell, and the app unless it names
        one. They come right after the verb, because what follows may be taken for arguments alone."""
        if self.command is None:
            return None
        said = self.command.split(" ")  # which parts nothing that is quoted before its arguments
        verb = 3 if said[1] == "schedule" else 2
        names_app = said[verb : verb + 1] == ["--app"]
        more = [words] if words else []
        more += ["--app", shlex.quote(app)] if app is not None and not names_app else []
        return " ".join([*said[:verb], *more, *said[verb:]])

    def __str__(self) -> str:
        return self.sentence + (f"\n  {self.command}" if self.command else "")


class CauseGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that are not finished for the same cause: how many, since when the oldest waits, and that one as an
    example."""

    cause: str
    count: int
    example: Explanation
    oldest: datetime | None = None
    is_normal: bool = False


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished instances by cause, what is wrong first and then by count; `looked` is how many there were.

    `cursor` continues with older ones; None: these were all.
    """

    groups: list[CauseGroup]
    looked: int
    cursor: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """Where work is whose code is with workers elsewhere: a cause as `Explanation` has it, and half a sentence."""

    cause: str
    sentence: str


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
        scheduled=started.scheduled if started is not None else None,
        parent_app=started.parent.app if started is not None and started.parent is not None else None,
    )
