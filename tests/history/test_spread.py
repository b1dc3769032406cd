"""Which calls of a turn are offered: those beyond the room, unless only the owner can run them."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.history.draft import Draft
from perdure.history.events import Failure
from perdure.history.options import CallOptions, Label, RetryPolicy, encode_options
from perdure.history.reports import GIVEN_BACK, AttemptFailed, fold, next_due
from perdure.history.spread import Room, spread
from perdure.stores.contract import CLAIMED, HELD, OFFERED, QUEUED, Head, Status, Wait, WaitKind

HEAD = Head("order", "shop", "fan", Status.RUNNING, "e", 1, 1, 1, 1)


def call(number: int, name: str = "pack", **fields: Any) -> Wait:
    return Wait(number, WaitKind.ACTIVITY, name, 1, attempt=1, **fields)


def opened(room: Room, *calls: Wait) -> tuple[int, list[str]]:
    draft = Draft(HEAD, {}, 1)
    draft.opened = {wait.number: wait for wait in calls}
    kept = spread(draft, room, lambda name: name != "lines")
    return kept, [wait.state for wait in draft.opened.values()]


def test_calls_beyond_the_room_are_offered_in_the_order_of_the_code() -> None:
    assert opened(Room(2), *map(call, range(4))) == (2, [HELD, HELD, OFFERED, OFFERED])


@pytest.mark.parametrize("total", [0, -5])
def test_without_room_all_are_offered(total: int) -> None:
    assert opened(Room(total), call(1), call(2)) == (0, [OFFERED, OFFERED])


def test_what_is_no_call_that_runs_at_once_takes_no_room() -> None:
    timer = Wait(1, WaitKind.TIMER, "timer", 1, due=5)
    assert opened(Room(1), timer, call(2, state=QUEUED), call(3)) == (1, [HELD, QUEUED, HELD])


def test_a_name_that_the_node_bounds_has_a_room_of_its_own() -> None:
    calls = [call(1), call(2), call(3, "mail"), call(4, "mail"), call(5)]
    assert opened(Room(10, {"mail": 1}), *calls) == (4, [HELD, HELD, HELD, OFFERED, HELD])


@pytest.mark.parametrize(
    "only_here",
    [
        call(1, "lines"),
        call(1, on="another app"),
        call(1, options=encode_options(CallOptions(label=Label(version="2")))),
        call(1, options=encode_options(CallOptions(label=Label(run_version="2")))),
        call(1, options=b"no JSON"),
    ],
)
def test_what_only_the_owner_can_run_is_not_offered(only_here: Wait) -> None:
    assert opened(Room(0), only_here) == (1, [HELD])


def test_a_label_that_names_no_version_may_go_anywhere() -> None:
    labelled = call(1, options=encode_options(CallOptions(label=Label(tags={"a": "b"}))))
    assert opened(Room(0), labelled) == (0, [OFFERED])


def test_of_calls_that_change_only_those_that_are_tried_again_are_offered() -> None:
    for room, expected in ((0, [HELD, OFFERED]), (1, [HELD, HELD])):
        draft = Draft(HEAD, {}, 1)
        draft.changed = [call(1, due=0), call(2, due=9)]
        draft.retried = (2,)
        assert spread(draft, Room(room), lambda _: True) == 0
        assert [wait.state for wait in draft.changed] == expected


def test_a_call_that_is_tried_again_is_nobodys_and_one_given_back_is_the_owners_at_the_same_attempt() -> None:
    claimed = {"state": CLAIMED, "token": "t", "claimed_by": "node-2", "claimed_until": 5}
    options = encode_options(CallOptions(retry=RetryPolicy(max_attempts=2)))
    wait = call(1, options=options, **claimed)
    for type, attempt, retried in (("ValueError", 2, (1,)), (GIVEN_BACK, 1, ())):
        draft = Draft(HEAD, {1: wait}, 1)
        fold(draft, AttemptFailed(at=7, number=1, failure=Failure(type, "m"), attempt=1), Around())
        (planned,) = draft.changed
        assert (planned.state, planned.attempt, planned.token) == (HELD, attempt, None)
        assert (planned.claimed_by, planned.claimed_until) == (None, None)
        assert draft.retried == retried


def test_a_failure_of_that_type_that_is_the_activitys_own_counts_like_any_other() -> None:
    event = AttemptFailed(at=7, number=1, failure=Failure(GIVEN_BACK, "m"), attempt=1)
    assert next_due(call(1, state=CLAIMED), event, 0.5) == 7
    assert next_due(call(1), event, 0.5) is None


class Around:
    def chance(self, event: Any) -> float:
        return 0.5

    def offers(self, address: Any) -> bool:
        return False
