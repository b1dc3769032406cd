"""What is told outside of an instance's life, as events of CloudEvents 1.0: decided from the heads around a turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.errors import InvalidArgument
from perdure.history.events import Failure
from perdure.stores.contract import FINISHED, Head, Notice, Status, Turn

TYPES = (
    *("started", "completed", "failed", "canceled", "terminated", "continued", "rewound"),
    *("suspended", "resumed", "stalled", "recovered", "purged"),
)
"""The last part of the types that there are, behind `PREFIX`."""
PREFIX = "perdure.workflow."
TEXT_CHARACTERS_MAX = 1_000
"""What an event tells of a reason or an error's message."""
WORKFLOW = "workflow"
"""The kind of instances whose lives are told."""


class LifecycleEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of an instance's life. `id` is the same whenever it is told again; `sequence` rises within an instance.

    `source` is the app as a path, `subject` the instance, `time` RFC 3339. `data` has app, instance, name, execution,
    run, turn and status; where there are any, parent and tags, and the reason or failure.
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    sequence: str
    partitionkey: str
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """The last part of the type, such as "completed"."""
        return self.type.removeprefix(PREFIX)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """As it is written: with all that the specification asks for, also where it is always the same."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    sequence: str
    partitionkey: str
    data: dict[str, Any]


def notices_of(before: Head, turn: Turn, failure: Failure | None) -> list[Notice]:
    """What a turn brings about that is told; `failure` is that of a run which it ends."""
    after = turn.head
    if after is None or after.kind != WORKFLOW:
        return []
    return [_notice(after, what, turn.at, more) for what, more in _changes(before, after, failure)]


def purged(head: Head, at: int) -> Notice | None:
    """The notice of an instance that is deleted; None for one whose life is not told."""
    return _notice(head, "purged", at, {}) if head.kind == WORKFLOW else None


def _changes(before: Head, after: Head, failure: Failure | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """In the order in which they came about."""
    if before.stalled is not None and after.stalled is None:
        yield "recovered", {}
    # one that was terminated before it was begun has never started
    is_first = before.generation == 1 and before.status == Status.PENDING and after.status != Status.TERMINATED
    if is_first and (after.status != Status.PENDING or after.generation > 1):
        yield "started", {}
    if before.status in FINISHED and after.status not in FINISHED:
        yield "rewound", {}
    if before.suspended is not None and after.suspended is None and after.status not in FINISHED:
        yield "resumed", {}
    if after.suspended is not None and before.suspended is None:
        yield "suspended", _halted(after.suspended.reason, None)
    if after.stalled is not None and after.stalled != before.stalled:
        yield "stalled", _halted(after.stalled.reason, after.stalled.description)
    if after.generation > before.generation:
        yield "continued", {}
    if after.status in FINISHED and before.status not in FINISHED:
        yield str(after.status), _failed(failure)


def _halted(reason: str, description: str | None) -> dict[str, Any]:
    told = {"reason": reason, "description": description}
    return {name: text[:TEXT_CHARACTERS_MAX] for name, text in told.items() if text}


def _failed(failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {}
    return {"failure": {"type": failure.type, "message": failure.message[:TEXT_CHARACTERS_MAX]}}


def _notice(head: Head, what: str, at: int, more: dict[str, Any]) -> Notice:
    data = {
        "app": head.app,
        "instance": head.id,
        "name": head.name,
        "execution": head.execution,
        "run": head.generation,
        "turn": head.sequence,
        "status": str(head.status),
        **({"parent": head.parent} if head.parent is not None else {}),
        **({"tags": head.tags} if head.tags else {}),
        **more,
    }
    told = _Told(
        id=f"{head.execution}.{head.sequence}.{what}",
        source=f"/perdure/apps/{head.app}",
        type=f"{PREFIX}{what}",
        subject=head.id,
        time=to_datetime(at).isoformat().replace("+00:00", "Z"),
        sequence=f"{head.sequence:012d}",
        partitionkey=head.id,
        data=data,
    )
    return Notice(head.id, _encode(told))


_encode = msgspec.json.Encoder().encode


def read(event: bytes | str) -> LifecycleEvent:
    """The event in a notice. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(event, type=LifecycleEvent)


class Wanted(msgspec.Struct, frozen=True):
    """Which events somebody wants to hear; None: all."""

    kinds: frozenset[str] | None = None
    name: str | None = None
    instance: str | None = None

    @classmethod
    def of(cls, kinds: str | Sequence[str] | None, name: str | None, instance: str | None) -> Wanted:
        """Raises InvalidArgument for a kind that there is not."""
        if kinds is None:
            return cls(None, name, instance)
        given = [kinds] if isinstance(kinds, str) else list(kinds)
        for kind in given:
            if kind.removeprefix(PREFIX) not in TYPES:
                raise InvalidArgument(f"events of type {kind[:80]!r} are none; there are {', '.join(TYPES)}")
        return cls(frozenset(kind.removeprefix(PREFIX) for kind in given), name, instance)

    def fits(self, event: LifecycleEvent) -> bool:
        """Whether it is one of them."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.name is None or event.data.get("name") == self.name)
            and (self.instance is None or event.subject == self.instance)
        )


ANCIENT = "0.0"
"""The cursor behind which all lies that is kept."""


class NoticePage(msgspec.Struct, frozen=True):
    """Events as JSON texts, each with the cursor behind it, and the cursor behind them all."""

    events: list[tuple[str, str]]
    cursor: str


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the feed is: events that wait, and those that were given up, of which the first are shown with why."""

    pending: int
    is_more: bool
    given_up: list[tuple[str, str]]
