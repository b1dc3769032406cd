"""What a draft becomes in the store."""

from __future__ import annotations

from perdure.history.draft import Draft
from perdure.history.events import EventRaised, decode_segment
from perdure.stores.contract import Head, Published, Status, Wait

HEAD = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 5, 0, 0)
REFUSED = Published("answer/k", b"{}", answer=True)


def test_a_turn_in_which_nothing_happened_is_not_written():
    assert Draft(HEAD, {}, 9).turn(0, 5, (), ()) is None


def test_the_first_turn_is_always_written():
    turn = Draft(HEAD, {}, 9).turn(0, None, (), ())
    assert turn is not None
    assert turn.expected is None


def test_mail_is_consumed_though_nothing_else_happened():
    turn = Draft(HEAD, {}, 9).turn(0, 5, ["k"], ())
    assert turn is not None
    assert (turn.consumed, turn.segment, turn.head) == (["k"], None, None)


def test_events_and_waits_are_written_under_the_condition_of_the_head():
    draft = Draft(HEAD, {}, 9)
    draft.events.append(EventRaised(name="e"))
    draft.opened[1] = Wait(1, "activity", "a", 9)
    turn = draft.turn(3, 5, (), ["k"])
    assert turn is not None
    assert (turn.shard, turn.id, turn.execution, turn.generation, turn.expected) == (3, "x", "e1", 1, 5)
    assert decode_segment(turn.segment) == draft.events
    assert (list(turn.opened), turn.seen) == ([draft.opened[1]], ["k"])


def test_a_changed_head_is_stored_with_the_next_sequence():
    draft = Draft(HEAD, {}, 9)
    draft.fields["status"] = Status.COMPLETED
    turn = draft.turn(0, 5, (), ())
    assert turn is not None
    assert turn.head is not None
    assert (turn.head.status, turn.head.sequence, turn.head.updated) == (Status.COMPLETED, 6, 9)


def test_refusals_are_written_beside_other_things_only():
    draft = Draft(HEAD, {}, 9)
    draft.refused.append(REFUSED)
    assert draft.turn(0, 5, (), ()) is None
    turn = draft.turn(0, 5, ["k"], ())
    assert turn is not None
    assert list(turn.published) == [REFUSED]
