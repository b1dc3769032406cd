"""A fork of a run that was once suspended."""

from __future__ import annotations

from perdure.history.events import ActivityScheduled, RunResumed, RunStarted, RunSuspended, TurnStarted
from perdure.history.fork import fork


def test_a_fork_that_keeps_a_suspension_begins_with_its_resume():
    events = [
        *[TurnStarted(at=1), RunStarted(at=1, name="w", execution="e")],
        *[TurnStarted(at=2), RunSuspended(at=2)],
        *[TurnStarted(at=3), RunResumed(at=3), ActivityScheduled(at=3, number=1, name="a")],
    ]
    forked = fork("source", events, 1, "f", 9, None, replace_input=False)
    assert forked is not None
    assert [type(event) for event in forked.arrivals] == [RunResumed]
