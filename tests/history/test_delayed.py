"""Operations whose time has not come: reminders that are set, replaced, cleared, and come again."""

from __future__ import annotations

import msgspec
import pytest

from perdure.clock import SECOND
from perdure.codec import encode
from perdure.history import delayed
from perdure.history.actions import SetReminder
from perdure.history.delayed import (
    REMINDER_TRIES_MAX,
    clear_reminder,
    come_again,
    kept_in,
    next_tick,
    operation_of,
    reminders_of,
    set_reminder,
)
from perdure.history.draft import Draft
from perdure.history.entities import entity_head
from perdure.stores.contract import Status, Wait

NOW = 1_000_000
HEAD = msgspec.structs.replace(entity_head("shop", "@bell@a", "e0", 5), status=Status.RUNNING, sequence=3)


def draft(*waits: Wait, at: int = NOW) -> Draft:
    return Draft(HEAD, {wait.number: wait for wait in waits}, at)


def reminder(name: str = "ring", due: int = NOW + 5, period: int | None = None) -> SetReminder:
    return SetReminder(name=name, operation="ring", due=due, period=period, input=encode(1))


def the_one(turn: Draft) -> Wait:
    (wait,) = (*turn.opened.values(), *turn.changed)
    return wait


def kept(period: int | None = None) -> Wait:
    turn = draft()
    assert set_reminder(turn, reminder(period=period))
    return the_one(turn)


def test_a_reminder_is_a_row_with_its_name_and_each_time_of_it_a_request_of_its_own() -> None:
    wait = kept(period=10)
    assert (wait.number, wait.token, wait.due, wait.name) == (1, "ring", NOW + 5, "ring")
    event, _ = operation_of(HEAD.id, wait)
    assert (event.operation, event.input, event.request) == ("ring", encode(1), f"@bell@a/ring@{NOW + 5}")
    assert [one.token for one in reminders_of({1: wait, 2: Wait(2, "entity", "add", 1, 9)})] == ["ring"]


def test_one_of_the_same_name_is_replaced_also_one_of_the_same_turn() -> None:
    turn = draft(kept())
    assert set_reminder(turn, reminder(due=NOW + 7))
    assert set_reminder(turn, reminder(due=NOW + 8))
    assert turn.closed == [1]
    assert [wait.due for wait in turn.opened.values()] == [NOW + 8]
    clear_reminder(turn, "ring")
    assert (turn.opened, turn.closed) == ({}, [1])
    clear_reminder(turn, "another")
    assert turn.closed == [1]


def test_what_is_due_in_the_past_is_due_now() -> None:
    turn = draft()
    assert set_reminder(turn, reminder(due=5))
    assert the_one(turn).due == NOW


def test_reminders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayed, "REMINDERS_MAX", 2)
    turn = draft()
    assert [set_reminder(turn, reminder(name)) for name in ("a", "b", "c", "a")] == [True, True, False, True]


def test_one_without_a_period_is_gone_when_it_has_come() -> None:
    turn = draft(kept())
    assert not come_again(turn, 1, failed=False)
    assert turn.closed == [1]


def test_one_with_a_period_comes_again_and_not_for_what_was_missed() -> None:
    turn = draft(kept(period=10), at=NOW + 38)
    assert not come_again(turn, 1, failed=False)
    wait = the_one(turn)
    assert (wait.number, wait.due, turn.closed) == (1, NOW + 45, [])
    assert next_tick(NOW, 10, NOW - 3) == NOW + 10
    assert next_tick(NOW, 0, NOW + 5) == NOW + 6


@pytest.mark.parametrize("period", [None, 10 * SECOND])
def test_one_that_fails_is_tried_in_growing_pauses_and_then_given_up(period: int | None) -> None:
    wait, pauses = kept(period), []
    for _ in range(REMINDER_TRIES_MAX):
        turn = draft(wait)
        assert not come_again(turn, 1, failed=True)
        wait = the_one(turn)
        pauses.append(((wait.due or 0) - NOW) / SECOND)
        assert operation_of(HEAD.id, wait)[0].request == f"@bell@a/ring@{NOW + 5}"  # because it is the same time of it
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]
    turn = draft(wait)
    assert come_again(turn, 1, failed=True)
    if period is None:
        assert turn.closed == [1]
    else:
        assert (the_one(turn).due, kept_in(the_one(turn)).tries) == (NOW + 5 + period, 0)


def test_what_a_turn_has_cleared_does_not_come_again() -> None:
    turn = draft(kept(period=10))
    come_again(turn, 1, failed=False)
    clear_reminder(turn, "ring")
    assert (turn.changed, turn.closed) == ([], [1])
