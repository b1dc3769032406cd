"""Whether code asks again for what history holds."""

from __future__ import annotations

import pytest

from perdure.codec import encode
from perdure.history.actions import (
    AnswerUpdate,
    CompleteRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    WaitForEvent,
)
from perdure.history.events import (
    ActivityScheduled,
    ChildCreated,
    DetachedCreated,
    EventSent,
    RunCompleted,
    TimerCreated,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.replay import compare

STATUS = SetStatus(status=encode(1))


def test_the_same_calls_agree_whatever_else_was_asked():
    held = [
        ActivityScheduled(number=1, name="a", input=encode(1)),
        TimerCreated(number=2, due=5, name="old name"),
        ChildCreated(number=3, instance="c", name="child"),
        DetachedCreated(number=4, instance="d"),
        EventSent(number=5, instance="x", name="n"),
    ]
    asked = [
        STATUS,
        ScheduleActivity(number=1, name="a", input=encode("another input")),
        CreateTimer(number=2, due=999),
        WaitForEvent(number=-10, name="e"),
        CreateChild(number=3, name="child"),
        CreateDetached(number=4, name="kid"),
        SendEvent(number=5, instance="y", name="n"),
        CompleteRun(status="completed"),
    ]
    assert compare([*held, RunCompleted(status="completed")], asked, finished=True) is None


@pytest.mark.parametrize(
    "asked",
    [
        ScheduleActivity(number=1, name="b"),
        ScheduleActivity(number=2, name="a"),
        ScheduleActivity(number=1, name="a", app="other"),
        CreateTimer(number=1, due=5),
        CreateChild(number=1, name="a"),
    ],
)
def test_another_number_kind_name_or_app_is_a_difference(asked):
    difference = compare([ActivityScheduled(number=1, name="a")], [asked], finished=False)
    assert difference is not None
    assert difference.number == 1
    assert difference.held == "ActivityScheduled(a)"
    assert difference.asked.startswith(type(asked).__name__)


def test_the_first_difference_is_told_with_the_line():
    held = [ActivityScheduled(number=1, name="a"), ActivityScheduled(number=2, name="b")]
    asked = [ScheduleActivity(number=1, name="a"), CreateTimer(number=2, due=1, line="shop.py:7 in main")]
    text = str(compare(held, asked, finished=False))
    assert text == "event 2: history holds ActivityScheduled(b), the code asked for CreateTimer at shop.py:7 in main"


@pytest.mark.parametrize("finished, words", [(True, "the end of the workflow"), (False, "nothing")])
def test_asking_for_less_is_a_difference(finished, words):
    difference = compare([ActivityScheduled(number=1, name="a")], [], finished)
    assert difference is not None
    assert difference.asked == words


def test_asking_for_more_is_a_difference():
    difference = compare([], [CreateTimer(number=1, due=1, line="l")], finished=False)
    assert difference is not None
    assert (difference.held, difference.asked, difference.line) == ("nothing here", "CreateTimer", "l")


def test_an_update_that_was_done_is_done_again():
    done = [UpdateRequested(key="k", name="add"), UpdateAnswered(key="k")]
    assert compare(done, [AnswerUpdate(key="k")], finished=False) is None
    found = compare(done, [], finished=False)
    assert str(found) == "update add: history holds its answer, the code asked for nothing: no handler takes it now"
    assert compare([UpdateAnswered(key="k", refused=True)], [], finished=False) is None
    assert compare([], [AnswerUpdate(key="k")], finished=False) is None
