"""Turns in which no code of the workflow has a part: what others decide about a run, and what comes after its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perdure.history.actions import START_WAIT, TIMEOUT_WAIT
from perdure.history.draft import Draft
from perdure.history.events import (
    Failure,
    RunCancelRequested,
    RunRewound,
    RunSuspended,
    RunTerminated,
    SlotGranted,
    TimerFired,
    decode_segment,
)
from perdure.history.fork import adopt
from perdure.history.options import app_of
from perdure.history.reports import admit
from perdure.history.rewind import rewind
from perdure.history.settle import finish, record
from perdure.stores.contract import FINISHED, Head, Segment, Status, Wait

TIMED_OUT = Failure(type="RunTimedOut", message="the run took longer than its run_timeout")


def goes_without_code(kinds: set[type]) -> bool:
    """Whether a node that has no code may take a turn with events of these types."""
    return RunTerminated in kinds or kinds == {RunSuspended}


def needs_no_code(head: Head, is_asleep: bool, events: Sequence[Any]) -> bool:
    """Whether code has no part in a turn with these events. `is_asleep`: the run's start lies ahead."""
    if head.status in FINISHED:
        return True
    kinds = set(map(type, events))
    if is_asleep and RunCancelRequested in kinds:
        return True
    return RunTerminated in kinds or (TimerFired in kinds and _timed_out(events))


def decide_without_code(
    head: Head, waits: Mapping[int, Wait], at: int, events: Sequence[Any], reports: Sequence[Any] = ()
) -> Draft:
    """What follows from the events and reports of a turn that needs no code: the run's end, or nothing after that."""
    draft = Draft(head, waits, at)
    if head.status in FINISHED:
        draft.closed.extend(event.number for event in (*events, *reports) if hasattr(event, "number"))
        return draft
    for event in events:
        record(draft, event)
    terminated = next((event for event in events if type(event) is RunTerminated), None)
    if terminated is not None:
        _terminate_children(draft, terminated)
        finish(draft, Status.TERMINATED, terminated.output)
    elif _timed_out(events):
        finish(draft, Status.FAILED, failure=TIMED_OUT)
    else:
        finish(draft, Status.CANCELED)  # because the code has not begun, there is nobody to tell
    return draft


def decide_fork(head: Head, waits: Mapping[int, Wait], at: int, events: Sequence[Any]) -> Draft:
    """The first turn of a fork; what came with it waits for the next one, which is the code's."""
    draft = Draft(head, waits, at)
    adopt(draft, events[0])
    if START_WAIT in waits:
        draft.closed.append(START_WAIT)
    for event in events[1:]:
        if type(event) is SlotGranted:
            admit(draft, event)
        else:
            draft.tell_itself(event)
    return draft


def decide_rewind(
    head: Head, waits: Mapping[int, Wait], at: int, segments: Iterable[Segment], asked: RunRewound
) -> Draft:
    """The turn of a failed run that takes it back to before its failure; `segments` are its history."""
    draft = Draft(head, waits, at)
    rewind(draft, [event for segment in segments for event in decode_segment(segment.events)], asked)
    return draft


def _terminate_children(draft: Draft, event: RunTerminated) -> None:
    if event.recursive:
        for wait in draft.waits.values():
            if wait.kind == "child" and wait.on is not None:
                ended = RunTerminated(at=draft.at, output=event.output, recursive=True)
                draft.send(wait.on, ended, app=app_of(wait.options))


def _timed_out(events: Sequence[Any]) -> bool:
    return any(type(event) is TimerFired and event.number == TIMEOUT_WAIT for event in events)
