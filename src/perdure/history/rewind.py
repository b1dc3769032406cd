"""A failed run back at the point before its failure: what stays of its history, what comes again, what is open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import TIMEOUT_WAIT
from perdure.history.delivery import turns
from perdure.history.draft import Draft
from perdure.history.events import (
    CANCELLATIONS,
    CONFIRMATIONS,
    ActivityFailed,
    ChildCreated,
    ChildFailed,
    RunCompleted,
    RunForked,
    RunRewound,
    RunStarted,
    TimerFired,
    TurnStarted,
    UpdateAnswered,
)
from perdure.history.fork import adopted, reopen, still_open
from perdure.history.settle import bound_run
from perdure.stores.contract import Status, Wait

_FAILURES = (ActivityFailed, ChildFailed)
_BROUGHT_ABOUT = (*CONFIRMATIONS, *CANCELLATIONS, UpdateAnswered)


class Rewound(msgspec.Struct, frozen=True):
    """`history` as it stays, and `arrivals` that the code sees again after it."""

    history: list[Any]
    arrivals: list[Any]

    @property
    def children(self) -> list[ChildCreated]:
        """The children that the run waits for again."""
        answered = {getattr(event, "number", None) for event in self.arrivals}
        return [e for e in still_open(self.history) if isinstance(e, ChildCreated) and e.number not in answered]


def rewound(events: Iterable[Any]) -> Rewound:
    """The history of a failed run without its last failures, and all that followed from them.

    Failures that came together without an answer of the code go together. A run that failed by itself goes back to
    before its last turn. Calls that lost their failure are open, and are made again.
    """
    found = list(turns(events))
    last = max((at for at, turn in enumerate(found) if _has(turn, _FAILURES)), default=len(found) - 1)
    first = last
    while first > 0 and not _has(found[first - 1], _BROUGHT_ABOUT):
        first -= 1
    history = [event for turn in found[:first] for event in turn]
    for turn in found[first:last]:
        history += [event for event in turn if not isinstance(event, _FAILURES)]
    is_open = {event.number for event in still_open(history)}
    again = [event for turn in found[last:] for event in turn if _comes_again(event)]
    return Rewound(history, [event for event in again if getattr(event, "number", None) in (None, *is_open)])


def fork_before_failure(
    source: str, events: Iterable[Any], execution: str, at: int, input: Payload | None, replace_input: bool
) -> RunForked | None:
    """The fork of a failed run's history before its failure; None if nothing is before it.

    Its number is that of the first call that is made again, 0 if there is none. A failed child is begun anew.
    """
    found = rewound(events)
    if not found.history and not found.arrivals:
        return None
    history = [adopted(event, execution, input, replace_input) for event in found.history]
    arrivals = [adopted(event, execution, input, replace_input) for event in found.arrivals]
    answered = {getattr(event, "number", None) for event in arrivals}
    again = [event.number for event in still_open(history) if event.number not in answered]
    return RunForked(at=at, source=source, number=min(again, default=0), history=history, arrivals=arrivals)


def _has(turn: list[Any], kinds: tuple[type, ...]) -> bool:
    return any(isinstance(event, kinds) for event in turn)


def _comes_again(event: Any) -> bool:
    if isinstance(event, (*_FAILURES, *_BROUGHT_ABOUT, TurnStarted, RunCompleted, RunRewound)):
        return False
    return not (isinstance(event, TimerFired) and event.number == TIMEOUT_WAIT)


def rewind(draft: Draft, events: Iterable[Any], asked: RunRewound) -> None:
    """The turn that takes a failed run back. It writes history anew, and opens again what that leaves open."""
    found = rewound(events)
    draft.erase = True
    draft.events = []
    draft.fields.update(status=Status.RUNNING, finished=None, stalled=None, suspended=None)
    for event in found.history:
        if isinstance(event, RunStarted):
            bound_run(draft, event)
    answered = {getattr(event, "number", None) for event in found.arrivals}
    for event in still_open(found.history):
        if isinstance(event, ChildCreated) and event.number not in answered and event.instance not in asked.absent:
            draft.opened[event.number] = Wait(event.number, "child", event.name, draft.at, on=event.instance)
        else:
            reopen(draft, event, is_answered=event.number in answered)
    for event in found.arrivals:
        draft.tell_itself(event)
    if found.history:  # because history begins with its start
        draft.events = [*found.history, TurnStarted(at=draft.at), asked]
