"""What a turn makes of the reports of attempts and queues."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.codec import encode
from perdure.history.actions import QUEUE_WAIT, START_WAIT
from perdure.history.draft import Draft
from perdure.history.events import Failure, SlotGranted
from perdure.history.options import CallOptions, Limits, Place, RetryPolicy, decode_options, encode_options
from perdure.history.reports import AttemptFailed, HeartbeatSeen, failed, fold, next_due, unasked
from perdure.stores.contract import ADMITTED, ANSWERED, HELD, QUEUED, Head, Permit, Status, Wait

AT = 5_000_000
RUNNING = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 5, 0, 0)
BAD = Failure(type="ValueError", message="no")
TWICE = encode_options(CallOptions(retry=RetryPolicy(max_attempts=2, initial_interval=1.0)))
FAILED = AttemptFailed(at=AT, number=1, failure=BAD, attempt=1)


class Calm:
    """A node whose retries have no jitter."""

    def chance(self, event: Any) -> float:
        return 0.5

    def offers(self, address: Any) -> bool:
        return True


def folded(event: Any, *waits: Wait, closed: tuple[int, ...] = ()) -> Draft:
    draft = Draft(RUNNING, {wait.number: wait for wait in waits}, AT)
    draft.closed += closed
    fold(draft, event, Calm())
    return draft


def test_a_failed_attempt_is_planned_again_with_its_count_and_failure():
    (wait,) = folded(FAILED, Wait(1, "activity", "a", 0, attempt=1, options=TWICE)).changed
    assert (wait.attempt, wait.due, wait.state) == (2, AT + 1_000_000, "held")
    assert wait.failure is not None
    assert b"ValueError" in wait.failure


def test_a_failed_attempt_of_a_queue_gives_its_slot_back():
    options = encode_options(msgspec.structs.replace(decode_options(TWICE), place=Place("mails", Limits())))
    (wait,) = folded(FAILED, Wait(1, "activity", "a", 0, attempt=1, state=ADMITTED, options=options)).changed
    assert wait.state == QUEUED


def test_a_failed_attempt_that_lay_in_the_mailbox_is_planned_again_in_no_queue():
    (wait,) = folded(FAILED, Wait(1, "activity", "a", 0, attempt=1, state=ANSWERED, options=TWICE)).changed
    assert (wait.attempt, wait.state) == (2, HELD)


def test_a_call_that_the_turn_closes_is_not_planned_again():
    assert not folded(FAILED, Wait(1, "activity", "a", 0, attempt=1, options=TWICE), closed=(1,)).changed


def test_options_that_cannot_be_read_allow_no_further_attempt():
    assert next_due(Wait(1, "activity", "a", 0, options=b"{"), FAILED, 0.5) is None


def test_details_of_a_heartbeat_are_kept_while_the_call_is_open():
    wait, beat = Wait(1, "activity", "a", 0), HeartbeatSeen(number=1, details=encode(7))
    assert [wait.details for wait in folded(beat, wait).changed] == [encode(7)]
    assert not folded(beat, wait, closed=(1,)).changed


def test_a_granted_slot_admits_a_call_and_keeps_its_permit():
    permit = Permit("mails", AT, AT + 1)
    draft = folded(SlotGranted(number=1, permit=permit), Wait(1, "activity", "a", 0, due=9, state=QUEUED))
    assert [(wait.state, wait.due) for wait in draft.changed] == [(ADMITTED, None)]
    assert draft.permits == (permit,)


def test_a_start_that_gets_its_slot_holds_it_as_a_wait_of_the_queue():
    draft = folded(SlotGranted(number=START_WAIT), Wait(START_WAIT, "start", "start", 3, state=QUEUED))
    assert draft.closed == [START_WAIT]
    assert (draft.opened[QUEUE_WAIT].state, draft.opened[QUEUE_WAIT].since) == (ADMITTED, 3)


def test_an_attempt_that_was_kept_as_mail_is_asked_about_again():
    assert unasked(failed(FAILED)) == FAILED
