"""What runs ask of entities, and what they leave behind."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure.codec import encode
from perdure.history.accept import Verdict, judge
from perdure.history.actions import (
    CallEntity,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    RequestEntityLock,
    SignalEntity,
    UnlockEntity,
)
from perdure.history.audit import discrepancy
from perdure.history.draft import Draft
from perdure.history.entity_actions import LOCKS_MAX, fault_of_locks, locks_of, open_locks
from perdure.history.events import (
    ActivityScheduled,
    EntityCalled,
    EntityCompleted,
    EntityFailed,
    EntityLockGranted,
    EntityLockRequested,
    EntityLocksReleased,
    EntityUnlocked,
    Failure,
    RunStarted,
    TurnStarted,
    decode_event,
)
from perdure.history.fork import adopt, fork, has_locks
from perdure.history.settle import settle
from perdure.stores.contract import LOCKED, Head, Status, Wait

NOW = 1_000_000
HEAD = Head("order-1", "shop", "main", Status.RUNNING, "e1", 2, 4, 0, 0)
LOCKS = ["@c@a", "@c@b"]


def turn(*actions: Any, events: tuple[Any, ...] = (), waits: dict[int, Wait] | None = None) -> Draft:
    return settle(HEAD, waits or {}, NOW, events, actions)


def a_lock(state: str = LOCKED, locks: list[str] = LOCKS) -> dict[int, Wait]:
    return {3: Wait(3, "entity", "x", 1, token="s", state=state, options=msgspec.json.encode(locks))}


def sent(draft: Draft) -> list[tuple[str, Any]]:
    return [(mail.instance, decode_event(mail.event)) for mail in draft.mail]


def names(draft: Draft) -> list[str]:
    return [type(event).__name__ for event in draft.events[1:]]


def test_a_signal_is_history_and_mail_that_makes_the_entity():
    draft = turn(SignalEntity(number=1, target="@c@a", operation="add", request="q", input=encode(5)))
    assert names(draft) == ["EntitySignaled"]
    (creation,) = draft.created
    assert (creation.head.id, creation.head.kind, creation.head.name) == ("@c@a", "entity", "c")
    assert creation.joins
    assert (creation.mail.execution, creation.mail.generation) == ("e1", 2)
    assert decode_event(creation.mail.event) == draft.events[1]
    assert draft.opened == {}


def test_two_signals_of_a_turn_are_two_messages():
    first, second = turn(*[SignalEntity(number=n, target="@c@a", operation="add") for n in (1, 2)]).created
    assert first.mail.key != second.mail.key
    assert first.head.execution != second.head.execution


def test_a_call_waits_for_its_answer_which_goes_to_the_run_that_is():
    draft = turn(CallEntity(number=1, target="@c@a", operation="add", request="q", parent_instance="somebody else"))
    (wait,) = draft.opened.values()
    assert (wait.number, wait.kind, wait.name, wait.on) == (1, "entity", "add", "@c@a")
    event = decode_event(draft.created[0].mail.event)
    assert (event.parent_instance, draft.events[1].parent_instance) == ("order-1", "somebody else")


def test_an_answer_is_taken_once_by_the_run_that_has_called():
    waits = {1: Wait(1, "entity", "add", 1, on="@c@a")}
    answer = EntityCompleted(request="q", output=encode(1), number=1)
    assert judge(HEAD, waits, (), (), answer, "k", "e1", 2) is Verdict.TAKE
    assert judge(HEAD, waits, (), (), answer, "k", "e1", 1) is Verdict.STALE
    assert judge(HEAD, waits, {1}, (), answer, "k", "e1", 2) is Verdict.STALE
    assert judge(HEAD, {}, (), (), answer, "k", "e1", 2) is Verdict.STALE
    failure = EntityFailed(request="q", failure=Failure("T", "m"), number=1)
    for event in (answer, failure):
        assert turn(events=(event,), waits=waits).closed == [1]


def test_ids_that_are_none_fail_the_call_and_drop_the_signal():
    draft = turn(
        CallEntity(number=1, target="counter", operation="add", request="q"),
        SignalEntity(number=2, target="@c@" + "k" * 101, operation="add"),
    )
    assert draft.created == []
    ((receiver, event),) = sent(draft)
    assert (receiver, event.failure.type, event.number) == ("order-1", "InvalidEntityId", 1)


def test_a_lock_is_asked_in_one_order_whatever_the_code_says():
    draft = turn(RequestEntityLock(number=3, section="s", locks=["@c@b", "@c@a", "@c@b"], position=1))
    (creation,) = draft.created
    event = decode_event(creation.mail.event)
    assert (creation.head.id, event.locks, event.position, event.parent_instance) == ("@c@a", LOCKS, 0, "order-1")
    (wait,) = draft.opened.values()
    assert (wait.name, locks_of(wait), wait.token) == ("@c@a, @c@b", LOCKS, "s")


def test_a_lock_over_nothing_is_granted():
    ((receiver, event),) = sent(turn(RequestEntityLock(number=3, section="s")))
    assert (receiver, event) == ("order-1", EntityLockGranted(at=NOW, section="s", number=3))


def test_a_lock_is_bounded():
    assert fault_of_locks(LOCKS) is None
    assert "at most" in (fault_of_locks(["@c@a"] * (LOCKS_MAX + 1)) or "")
    assert "@name@key" in (fault_of_locks(["@c@a", "b"]) or "")


def test_a_granted_lock_stays_open_until_everything_is_unlocked():
    draft = turn(events=(EntityLockGranted(section="s", number=3),), waits=a_lock("held"))
    assert draft.closed == []
    (wait,) = draft.changed
    assert wait.state == LOCKED
    assert judge(HEAD, {3: wait}, (), (), EntityLockGranted(section="s", number=3), "k", "e1", 2) is Verdict.STALE
    draft = turn(UnlockEntity(number=4, section="s", target="@c@b"), waits=a_lock())
    (wait,) = draft.changed
    assert locks_of(wait) == ["@c@a"]
    assert [receiver for receiver, _ in sent(draft)] == ["@c@b"]
    unlocks = [UnlockEntity(number=4 + n, section="s", target=id) for n, id in enumerate(LOCKS)]
    draft = turn(*unlocks, waits=a_lock())
    assert (draft.changed, draft.closed) == ([], [3])
    assert [receiver for receiver, _ in sent(draft)] == LOCKS
    assert names(draft) == ["EntityUnlocked"] * 2


def test_an_unlock_of_what_is_not_locked_is_history_alone():
    draft = turn(UnlockEntity(number=4, section="other", target="@c@a"), UnlockEntity(number=5, section="s"))
    assert names(draft) == ["EntityUnlocked"] * 2
    assert draft.mail == []


def test_an_unlock_before_the_grant_takes_the_whole_request_back():
    draft = turn(UnlockEntity(number=4, section="s", target="@c@b"), waits=a_lock("held"))
    assert draft.closed == [3]
    assert sent(draft) == [("@c@a", EntityLocksReleased(at=NOW, section="s", locks=LOCKS))]


@pytest.mark.parametrize("action", [CompleteRun(status="completed"), ContinueRun()])
@pytest.mark.parametrize("state", ["held", LOCKED])
def test_the_end_of_a_run_releases_its_locks(action, state):
    draft = turn(action, waits=a_lock(state))
    release = EntityLocksReleased(at=NOW, section="s", locks=LOCKS)
    assert ("@c@a", release) in sent(draft)
    draft = turn(*[UnlockEntity(number=4, section="s", target="@c@a"), action], waits=a_lock())
    assert ("@c@b", EntityLocksReleased(at=NOW, section="s", locks=["@c@b"])) in sent(draft)


def test_no_instance_takes_the_id_of_an_entity():
    draft = turn(CreateChild(number=1, name="c", instance="@c@a"), CreateDetached(number=2, name="c", instance="@c@a"))
    assert draft.created == []
    ((receiver, event),) = sent(draft)
    assert (receiver, event.number, event.failure.type) == ("order-1", 1, "InvalidInstanceId")


# -- what a history leaves open ---------------------------------------------------------------------------------------


def lock_history(*then: Any) -> list[Any]:
    return [
        TurnStarted(at=1),
        EntityCalled(number=1, request="q", operation="add", target="@c@a"),
        EntityLockRequested(number=3, section="s", locks=["@c@b", "@c@a"]),
        *then,
    ]


GRANTED = EntityLockGranted(section="s", number=3)
UNLOCKS = [EntityUnlocked(number=4 + n, section="s", target=id) for n, id in enumerate(LOCKS)]


@pytest.mark.parametrize(
    "then, open",
    [
        ([], {3: "@c@a, @c@b"}),
        ([GRANTED], {3: "@c@a, @c@b"}),
        ([GRANTED, UNLOCKS[0]], {3: "@c@a, @c@b"}),
        ([GRANTED, *UNLOCKS], {}),
        ([UNLOCKS[0]], {}),
        ([GRANTED, EntityUnlocked(number=9, section="other", target="@c@a")], {3: "@c@a, @c@b"}),
    ],
)
def test_history_tells_which_locks_are_open_as_the_rows_do(then, open):
    assert open_locks(lock_history(*then)) == open
    draft = turn(
        CallEntity(number=1, target="@c@a", operation="add", request="q"),
        RequestEntityLock(number=3, section="s", locks=["@c@b", "@c@a"]),
    )
    waits = dict(draft.opened)
    for event in then:
        if isinstance(event, EntityLockGranted):
            draft = turn(events=(event,), waits=waits)
        else:
            unlock = UnlockEntity(number=event.number, section=event.section, target=event.target)
            draft = turn(unlock, waits=waits)
        waits = {n: wait for n, wait in waits.items() if n not in draft.closed}
        waits |= {wait.number: wait for wait in draft.changed}
    assert sorted(waits) == [1, *open]
    assert discrepancy(lock_history(*then), waits, has_mail=False) is None
    assert discrepancy(lock_history(*then), {}, has_mail=False) == (
        "wait 1: history leaves open entity add, the store holds nothing"
    )


def test_an_answered_call_is_not_open():
    for answer in (
        EntityCompleted(request="q", number=1),
        EntityFailed(request="q", failure=Failure("T", "m"), number=1),
    ):
        assert discrepancy([*lock_history(GRANTED, *UNLOCKS), answer], {}, has_mail=False) is None


def test_options_of_a_lock_that_cannot_be_read_are_told():
    waits = {1: Wait(1, "entity", "add", 1), **a_lock()}
    waits[3] = msgspec.structs.replace(waits[3], name="@c@a, @c@b", options=b"{")
    assert "cannot be read" in (discrepancy(lock_history(), waits, has_mail=False) or "")


def test_a_fork_asks_again_what_is_open_and_takes_what_is_answered():
    started = RunStarted(name="main", execution="e0")
    calls = [EntityCalled(number=n, request=f"q{n}", operation="add", target="@c@a") for n in (1, 2)]
    history = [TurnStarted(at=1), started, *calls, ActivityScheduled(number=3, name="a")]
    answer = EntityCompleted(request="q1", number=1, output=encode(1))
    second = [TurnStarted(at=2), answer, ActivityScheduled(number=4, name="b")]
    forked = fork("source", [*history, *second], 4, "e9", 5, None, False)
    assert forked is not None
    assert not has_locks(forked.history)
    draft = Draft(msgspec.structs.replace(HEAD, execution="e9", generation=1), {}, NOW)
    adopt(draft, forked)
    assert {n: (wait.kind, wait.state) for n, wait in draft.opened.items()} == {
        1: ("entity", "answered"),
        2: ("entity", "held"),
        3: ("activity", "held"),
    }
    (creation,) = draft.created
    asked = decode_event(creation.mail.event)
    assert (asked.request, asked.parent_instance, creation.mail.execution) == ("q2", "order-1", "e9")
    assert has_locks(lock_history(GRANTED))
