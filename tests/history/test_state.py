"""An instance as it is seen from outside."""

from __future__ import annotations

import pytest

from perdure.codec import encode
from perdure.history.events import Failure, RunCompleted, RunStarted
from perdure.history.state import Explanation, state_of
from perdure.stores.contract import Halt, Head, Status

HEAD = Head(
    "x",
    "shop",
    "main",
    Status.FAILED,
    "e1",
    2,
    5,
    1_000_000,
    2_000_000,
    3_000_000,
    tags={"k": "v"},
    stalled=Halt("r", 1),
    version="v1",
)


def test_a_snapshot_holds_the_head_and_the_payloads_of_its_events():
    started, failure = RunStarted(name="main", input=encode(1)), Failure("T", "m")
    state = state_of(HEAD, started, RunCompleted(status="failed", output=encode(2), failure=failure))
    assert (state.created, state.updated, state.finished) == (1_000_000, 2_000_000, 3_000_000)
    assert (state.input, state.output, state.failure) == (encode(1), encode(2), failure)
    assert (state.generation, state.tags, state.stalled, state.version) == (2, {"k": "v"}, Halt("r", 1), "v1")


def test_without_events_there_are_no_payloads():
    state = state_of(HEAD)
    assert (state.input, state.output, state.failure) == (None, None, None)


@pytest.mark.parametrize("status", Status)
def test_four_states_are_final(status):
    finished = state_of(Head("x", "a", "n", status, "e", 1, 0, 0, 0)).is_finished
    assert finished == (status in ("completed", "failed", "canceled", "terminated"))


def test_an_explanation_reads_as_a_sentence_and_a_command():
    assert (
        str(Explanation(instance="x", cause="c", sentence="It waits.", command="perdure resume x"))
        == "It waits.\n  perdure resume x"
    )
    assert str(Explanation(instance="x", cause="c", sentence="It waits.")) == "It waits."
