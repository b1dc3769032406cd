"""Actions: what code asks for, each with the event that confirms it."""

from __future__ import annotations

import msgspec
import pytest

from perdure.history import actions, events
from perdure.history.replay import CONFIRMED_BY
from perdure.history.settle import _SETTLE

ALL = [
    kind
    for kind in vars(actions).values()
    if isinstance(kind, type) and issubclass(kind, actions.Action) and kind is not actions.Action
]
UNSETTLED = {
    actions.ReportMissingVersion,
    actions.RewindRun,
    actions.SetReminder,
    actions.ClearReminder,
}
"""Actions that no run asks for, or that its turn does not settle."""


def test_every_action_has_a_settlement():
    assert {kind.__name__ for kind in ALL} - {kind.__name__ for kind in UNSETTLED} == {
        kind.__name__ for kind in _SETTLE
    }


def test_every_confirmation_belongs_to_one_action():
    assert set(CONFIRMED_BY.values()) == set(events.CONFIRMATIONS)
    assert len(set(CONFIRMED_BY.values())) == len(CONFIRMED_BY)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_actions_are_frozen_and_say_where_they_were_asked_for(kind):
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert {"number", "line", "router"} <= set(fields)
    assert kind.__struct_config__.frozen


def test_the_engine_s_own_waits_are_apart_from_those_of_code():
    assert actions.FIRST_EVENT_WAIT < actions.TIMEOUT_WAIT < 0
    assert actions.FIRST_EVENT_WAIT < actions.START_WAIT < 0
