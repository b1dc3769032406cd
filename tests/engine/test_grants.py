"""What a turn takes of the slots that doors have sent, and which ones it leaves."""

from __future__ import annotations

from perdure.actors.message import Message
from perdure.engine.grants import address_of, grants_in, slots_left_by, take_slots
from perdure.history.events import EventRaised, SlotGranted
from perdure.history.options import CallOptions, Limits, Place, encode_options
from perdure.history.slots import door_of
from perdure.stores.contract import ADMITTED, HELD, QUEUED, Head, Status, Turn, Wait

HEAD = Head("order", "shop", "main", Status.RUNNING, "e1", 2, 5, 0, 0)
PLACE = encode_options(CallOptions(place=Place("mails", Limits(concurrency=1))))
WAITS = {number: Wait(number, "activity", "send", 1, state=QUEUED, options=PLACE) for number in (1, 2)}


def grant(number: int, execution: str = "e1", generation: int = 2, *, stored: bool = True) -> Message:
    return Message(SlotGranted(number=number, queue="mails"), f"k{number}", execution, generation, stored)


def test_a_slot_that_came_as_mail_is_told_from_other_messages() -> None:
    mail = grant(1)
    assert grants_in([mail, grant(2, stored=False), Message(EventRaised(name="go"), "k", stored=True)]) == [mail]
    assert address_of("order", mail) == ("order", "e1", 2, 1)


def test_a_run_takes_the_slots_of_its_own_waits_alone() -> None:
    grants = [grant(1), grant(2, generation=1), grant(3)]
    taken = take_slots(HEAD, WAITS, 9, grants, is_open=True).turn(1, 5, (), ())
    assert taken is not None
    assert [(wait.number, wait.state) for wait in taken.changed] == [(1, ADMITTED)]


def test_a_run_that_is_not_open_gives_every_slot_back() -> None:
    draft = take_slots(HEAD, WAITS, 9, [grant(1), grant(2)], is_open=False)
    assert not draft.changed
    turn = Turn(1, "order", "e1", 2, 5, 9)
    left = slots_left_by("order", WAITS, turn, [grant(1), grant(2)])
    assert [(mail.instance, mail.key) for mail in left] == [
        (door_of("mails"), "order/e1.2/6.left.1"),
        (door_of("mails"), "order/e1.2/6.left.2"),
    ]


def test_a_turn_without_slots_leaves_none() -> None:
    calls = {1: Wait(1, "activity", "send", 1, state=HELD)}
    assert slots_left_by("order", calls, Turn(1, "order", "e1", 2, 5, 9, closed=(1,)), []) == []
