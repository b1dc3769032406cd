"""What becomes of the instances that a run begins."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure import errors
from perdure.codec import encode
from perdure.history.actions import START_WAIT, CancelChild, CompleteRun, CreateChild, CreateDetached
from perdure.history.creation import child_id, execution_of, parent_of, pending_head
from perdure.history.events import Failure, Parent, RunStarted, decode_event
from perdure.history.settle import settle
from perdure.stores.contract import Head, Status, Wait

NOW = 1_000_000
HEAD = Head("order-1", "shop", "main", Status.RUNNING, "e1", 1, 4, 0, 0, tags={"k": "v"})
PARENT = Parent(instance="boss", execution="e0", generation=3, number=7)
CHILD = pending_head("shop", "kid", RunStarted(name="child", execution="e2", parent=PARENT), 0)
DENIED = Failure(type="NotPermitted", message="no", non_retryable=True)


def turn(*actions: Any, head: Head = HEAD, waits: dict[int, Wait] | None = None):
    return settle(head, waits or {}, NOW, (), actions)


def names(draft: Any) -> list[str]:
    return [type(event).__name__ for event in draft.events]


def test_a_child_is_created_with_its_parent_and_a_refusal():
    draft = turn(CreateChild(number=10, name="child", input=encode(1), tags={"a": "b"}))
    (new,) = draft.created
    assert new.head.id == child_id(HEAD, 10) == "order-1:000a"
    assert new.head.parent == "order-1"
    parent = Parent(instance="order-1", execution="e1", generation=1, number=10, name="main", turn=HEAD.sequence)
    assert parent_of(new.head) == parent
    assert new.head.execution == execution_of(HEAD, 10)
    assert new.parent_call == f"e1.1.10.{HEAD.sequence}"
    assert new.refusal is not None
    assert new.refusal.instance == "order-1"
    assert decode_event(new.refusal.event).number == 10
    assert draft.opened[10].on == "order-1:000a"


def test_a_number_that_is_used_again_creates_another_run():
    (first,) = turn(CreateChild(number=10, name="child", instance="kid")).created
    later = msgspec.structs.replace(HEAD, sequence=HEAD.sequence + 2)
    (second,) = turn(CreateChild(number=10, name="child", instance="kid"), head=later).created
    assert first.parent_call != second.parent_call
    assert first.head.execution != second.head.execution
    (again,) = turn(CreateChild(number=10, name="child", instance="kid"), head=later).created
    assert (again.parent_call, again.head.execution) == (second.parent_call, second.head.execution)


def test_a_child_of_another_app_answers_across_apps():
    draft = turn(CreateChild(number=10, name="child", app="lab"))
    (new,) = draft.created
    assert new.head.app == "lab"
    assert parent_of(new.head).app == "shop"
    ended = settle(new.head, {}, NOW, [], [CompleteRun(status="completed")])
    assert [mail.app for mail in ended.mail] == ["shop"]
    cancelled = turn(CancelChild(number=10), waits={10: draft.opened[10]})
    assert [mail.app for mail in cancelled.mail] == ["lab"]


def test_ids_of_children_differ_over_generations():
    later = msgspec.structs.replace(HEAD, generation=2)
    assert child_id(later, 10) != child_id(HEAD, 10)
    assert execution_of(later, 10) != execution_of(HEAD, 10)


def test_a_detached_child_may_start_later_and_has_no_parent():
    draft = turn(CreateDetached(number=3, name="loose", instance="l", scheduled=NOW + 5))
    (new,) = draft.created
    assert [wait.number for wait in new.waits] == [START_WAIT]
    assert new.waits[0].due == NOW + 5
    assert parent_of(new.head) is None


def test_cancelling_a_child_tells_it():
    draft = turn(CancelChild(number=3), waits={3: Wait(3, "child", "c", 0, on="kid")})
    (mail,) = draft.mail
    assert mail.instance == "kid"
    assert type(decode_event(mail.event)).__name__ == "RunCancelRequested"
    assert draft.closed == [3]


@pytest.mark.parametrize(
    "status, kind", [("completed", "ChildCompleted"), ("failed", "ChildFailed"), ("canceled", "ChildFailed")]
)
def test_a_parent_hears_how_its_child_ended(status, kind):
    (mail,) = turn(CompleteRun(status=status, output=encode(5)), head=CHILD).mail
    event = decode_event(mail.event)
    assert (mail.instance, mail.execution, mail.generation) == ("boss", "e0", 3)
    assert type(event).__name__ == kind
    assert event.number == 7


@pytest.mark.parametrize("status", ["failed", "canceled", "terminated"])
def test_a_child_without_a_failure_fails_its_parent_by_the_name_of_an_error_that_is_there(status):
    (mail,) = turn(CompleteRun(status=status), head=CHILD).mail
    assert issubclass(getattr(errors, decode_event(mail.event).failure.type), errors.OutcomeError)


def test_a_child_that_is_denied_fails_and_no_termination_reaches_who_has_its_id():
    draft = turn(CreateChild(number=1, name="child", instance="other", app="bank", denied=DENIED))
    assert names(draft) == ["TurnStarted", "ChildCreated"]
    assert draft.created == []
    assert draft.opened[1].on is None
    answer = decode_event(draft.mail[0].event)
    assert (type(answer).__name__, answer.failure) == ("ChildFailed", DENIED)
