"""What an instance waits for, as rows."""

from __future__ import annotations

import msgspec

from perdure.clock import to_microseconds
from perdure.history.waiting import WaitState
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import cut

PROBLEM_CHARACTERS_MAX = 200


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One wait. `due` says when it is looked at next; `problem` is the last attempt's error."""

    kind: str
    name: str
    number: int
    since: str
    due: str
    attempt: int
    node: str
    problem: str
    line: str
    on: str


def waiting_of(wait: WaitState, now: int) -> Waiting:
    due = None if wait.due is None else to_microseconds(wait.due)
    failure = wait.failure
    return Waiting(
        kind=wait.kind,
        name=wait.name,
        number=max(wait.number, 0),
        since=moments.ago(to_microseconds(wait.since), now),
        due="" if due is None else f"{moments.clock(due)} UTC, {moments.ago(due, now)}",
        attempt=wait.attempt,
        node=wait.node or "",
        problem="" if failure is None else cut(f"{failure.type}: {failure.message}", PROBLEM_CHARACTERS_MAX)[0],
        line=wait.line or "",
        on=wait.on or "",
    )
