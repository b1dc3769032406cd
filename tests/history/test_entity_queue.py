"""What an entity does with what comes: its queue, its lock, its batches."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import msgspec
import pytest

from perdure.actors.message import Message, from_mail
from perdure.codec import encode
from perdure.history import entity_queue
from perdure.history.actions import CompleteRun, CreateDetached, RequestEntityLock, SignalEntity, UnlockEntity
from perdure.history.draft import Draft
from perdure.history.entities import entity_head
from perdure.history.entity_queue import (
    BATCH_BYTES_MAX,
    BATCH_OPERATIONS_MAX,
    LOCK,
    Entry,
    arrange,
    batch_of,
    begin,
    conclude,
    lock_in,
)
from perdure.history.events import (
    EntityCalled,
    EntityCompleted,
    EntityFailed,
    EntityLockGranted,
    EntityLockRequested,
    EntityLocksReleased,
    EntitySignaled,
    EntityUnlocked,
    EventRaised,
    Failure,
    RunTerminated,
    decode_event,
)
from perdure.history.settle import settle
from perdure.history.work import BatchResult, Operated
from perdure.stores.contract import LOCKED, Head, Mail, Status, Wait

NOW = 1_000_000
HEAD = msgspec.structs.replace(entity_head("shop", "@counter@a", "e0", 5), status=Status.RUNNING, sequence=3)
FAILED = Failure("ValueError", "no")


def draft(waits: dict[int, Wait] | None = None, head: Head = HEAD) -> Draft:
    return Draft(head, waits or {}, NOW)


def signal(key: str = "s", operation: str = "add", due: int | None = None, input: Any = None) -> Message:
    event = EntitySignaled(number=0, request=key, operation=operation, scheduled=due, input=input)
    return Message(event, key, "r1", 1, stored=True)


def call(key: str = "c", by: str = "run-1", number: int = 7) -> Message:
    event = EntityCalled(number=number, request=key, operation="add", parent_instance=by)
    return Message(event, key, "r1", 2, stored=True)


def request(section: str = "x", by: str = "run-1", locks: tuple[str, ...] = ("@counter@a",), at: int = 0) -> Message:
    event = EntityLockRequested(number=9, section=section, locks=list(locks), position=at, parent_instance=by)
    return Message(event, f"lock {section}", "r1", 2, stored=True)


def unlock(section: str = "x", by: str = "r1") -> Message:
    return Message(EntityUnlocked(number=1, section=section), f"unlock {section}", by, 2, stored=True)


def released(section: str = "x", *locks: str) -> Message:
    return Message(EntityLocksReleased(section=section, locks=list(locks)), f"release {section}", "r1", 2, stored=True)


def entries(*messages: Message) -> list[Entry]:
    return [Entry(m.event, m.key, m.execution, m.generation) for m in messages]


def keys(queue: list[Entry]) -> list[str | None]:
    return [entry.key for entry in queue]


def sent(draft: Draft) -> list[tuple[str, Any, str | None, int | None]]:
    """Receiver, event and run of what the turn sends to runs."""
    return [(mail.instance, decode_event(mail.event), mail.execution, mail.generation) for mail in draft.mail]


def locked(by: str = "run-1", section: str = "x") -> dict[int, Wait]:
    return {LOCK: Wait(LOCK, "entity", "lock", 1, on=by, token=section, state=LOCKED, claimed_by="r1")}


# -- arrange ----------------------------------------------------------------------------------------------------------


def test_operations_wait_in_the_order_in_which_they_come_and_nothing_is_written():
    turn = draft()
    arranged = arrange(turn, [], [signal("1"), call("2"), signal("3")])
    assert keys(arranged.queue) == ["1", "2", "3"]
    assert arranged.consumed == []
    assert turn.turn(1, 3, (), ()) is None


def test_a_delayed_operation_becomes_a_row_that_is_due_and_comes_back_from_it():
    turn = draft()
    arranged = arrange(turn, [], [signal("1", due=NOW + 5), signal("2", due=NOW)])
    assert (keys(arranged.queue), arranged.consumed) == (["2"], ["1"])
    (wait,) = turn.opened.values()
    assert (wait.number, wait.due, wait.kind) == (1, NOW + 5, "entity")
    later = draft({1: wait})
    arranged = arrange(later, arranged.queue, [signal("3")], due=[1])
    assert keys(arranged.queue) == ["2", None, "3"]
    back = arranged.queue[1]
    assert (back.event.request, back.execution, back.generation, back.number) == ("1", "r1", 1, 1)
    conclude(later, [back], BatchResult([Operated()]))
    assert later.closed == [1]


def test_delayed_operations_have_rows_of_their_own_beside_the_lock():
    turn = draft(locked() | {4: Wait(4, "entity", "add", 1, due=NOW + 1)})
    arrange(turn, [], [signal("1", due=NOW + 5), signal("2", due=NOW + 6)])
    assert sorted(turn.opened) == [5, 6]


def test_beyond_the_bound_a_call_fails_and_a_signal_is_dropped(monkeypatch):
    monkeypatch.setattr(entity_queue, "OPERATIONS_MAX", 2)
    turn = draft()
    arranged = arrange(turn, entries(signal("1")), [signal("2"), signal("3"), call("4"), request()])
    assert keys(arranged.queue) == ["1", "2", "lock x"], "a request is never dropped, because nothing would answer it"
    assert arranged.consumed == ["3", "4"]
    assert arranged.dropped == ["entity queue full"] * 2
    ((receiver, event, execution, generation),) = sent(turn)
    assert (receiver, event.failure.type, event.number) == ("run-1", "EntityQueueFull", 7)
    assert (execution, generation) == ("r1", 2)


def test_what_is_for_workflows_is_dropped_and_a_deletion_takes_the_state():
    turn = draft()
    mail = [Message(event, str(n), stored=True) for n, event in enumerate([EventRaised(name="x"), ValueError("?")])]
    arranged = arrange(turn, [], [*mail, Message(RunTerminated(), "2", stored=True)])
    assert arranged.consumed == ["0", "1", "2"]
    assert arranged.dropped == ["stale", "mail unreadable"]
    assert turn.fields == {"custom_status": None}


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_a_lock_is_granted_when_whoever_stands_before_is_done():
    turn = draft()
    arranged = arrange(turn, entries(signal("1")), [request()])
    assert lock_in(turn) is None
    assert keys(batch_of(arranged.queue, None)) == ["1"]
    arranged = arrange(turn, arranged.queue[1:], [])
    lock = lock_in(turn)
    assert lock is not None
    assert (lock.token, lock.on, lock.claimed_by, lock.state) == ("x", "run-1", "r1", LOCKED)
    assert arranged.consumed == ["lock x"]
    ((receiver, event, execution, generation),) = sent(turn)
    assert (receiver, execution, generation) == ("run-1", "r1", 2)
    assert event == EntityLockGranted(at=NOW, section="x", number=9)


def test_a_lock_over_several_is_passed_on_in_order_and_granted_by_the_last():
    turn = draft()
    locks = ("@counter@a", "@counter@b")
    arrange(turn, [], [request(locks=locks)])
    (creation,) = turn.created
    passed = decode_event(creation.mail.event)
    assert (creation.head.id, creation.joins, passed.position) == ("@counter@b", True, 1)
    assert (creation.mail.execution, creation.mail.generation) == ("r1", 2)
    assert turn.mail == []
    last = draft(head=msgspec.structs.replace(HEAD, id="@counter@b"))
    arrange(last, [], [Message(passed, "k", "r1", 2, stored=True)])
    assert [type(event) for _, event, _, _ in sent(last)] == [EntityLockGranted]
    assert last.created == []


def test_under_a_lock_only_the_calls_of_its_owner_run():
    queue = entries(signal("1"), call("2", by="run-2"), call("3"), request("y"), call("4"))
    assert keys(batch_of(queue, locked()[LOCK])) == ["3", "4"]
    assert keys(batch_of(queue, None)) == ["1", "2", "3"]


def test_an_unlock_gives_the_lock_to_the_next_and_one_of_another_request_does_not():
    turn = draft(locked())
    queue = entries(request("y", by="run-2"), signal("1"))
    assert arrange(turn, queue, [unlock("y"), unlock("x", by="r2")]).queue == queue
    assert (turn.closed, turn.opened) == ([], {})
    arranged = arrange(turn, queue, [unlock("x")])
    assert keys(arranged.queue) == ["1"]
    assert turn.closed == [LOCK]
    assert turn.opened[LOCK].token == "y"


def test_a_request_and_its_release_in_one_turn_leave_no_lock():
    turn = draft()
    arranged = arrange(turn, [], [request(), released("x", "@counter@a")])
    assert (arranged.queue, arranged.consumed) == ([], ["lock x", "release x"])
    assert lock_in(turn) is None
    turn = draft()
    arrange(turn, arrange(turn, [], [request()]).queue, [released("x", "@counter@a")])
    assert (turn.opened, turn.closed) == ({}, [])


def test_the_end_of_a_run_takes_its_request_out_of_the_queue_or_goes_on_behind_it():
    waiting = draft(locked("run-2", "y"))
    arranged = arrange(waiting, entries(request()), [released("x", "@counter@a", "@counter@b")])
    assert (arranged.queue, arranged.consumed) == ([], ["lock x", "release x"])
    assert waiting.mail == []
    held = draft(locked())
    arrange(held, [], [released("x", "@counter@a", "@counter@b")])
    assert held.closed == [LOCK]
    ((receiver, event, *_),) = sent(held)
    assert (receiver, event.locks) == ("@counter@b", ["@counter@b"])


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_bounded_by_number_and_by_bytes():
    many = entries(*(signal(str(n)) for n in range(BATCH_OPERATIONS_MAX + 5)))
    assert len(batch_of(many, None)) == BATCH_OPERATIONS_MAX
    large = entries(*(signal(str(n), input=encode("x" * (BATCH_BYTES_MAX * 2 // 5))) for n in range(4)))
    assert keys(batch_of(large, None)) == ["0", "1"]
    huge = entries(signal("0", input=encode("x" * BATCH_BYTES_MAX * 2)), signal("1"))
    assert keys(batch_of(huge, None)) == ["0"]


def test_a_result_answers_calls_keeps_the_state_and_sends_what_is_asked_for():
    turn = draft()
    batch = entries(signal("1"), call("2"), call("3", number=8), signal("4"))
    result = BatchResult(
        results=[Operated(), Operated(encode(12)), Operated(failure=FAILED)],
        actions=[
            SignalEntity(number=1, target="@counter@b", operation="add", input=encode(5)),
            CreateDetached(number=2, name="main", instance="w1"),
            CreateDetached(number=2, name="main"),
        ],
        state=encode(42),
    )
    assert keys(conclude(turn, batch, result)) == ["1", "2", "3"], "the worker has not come to the last one"
    assert [event for _, event, _, _ in sent(turn)] == [
        EntityCompleted(at=NOW, request="2", output=encode(12), number=7),
        EntityFailed(at=NOW, request="3", failure=FAILED, number=8),
    ]
    assert turn.fields == {"custom_status": encode(42), "more": {"modified": NOW}}
    signalled, named, unnamed = turn.created
    assert (signalled.head.id, signalled.head.kind, signalled.joins) == ("@counter@b", "entity", True)
    assert (named.head.id, named.head.kind, named.head.parent) == ("w1", "workflow", None)
    assert not unnamed.head.id.startswith("@")
    assert named.head.execution != unnamed.head.execution, "numbers begin anew with each batch"
    assert len(turn.events) == 1, "an entity keeps no history"


def test_the_same_batch_concluded_again_sends_the_same():
    result = BatchResult([Operated()], [SignalEntity(target="@counter@b", operation="add"), CreateDetached(name="m")])
    first, second = draft(), draft()
    for turn in (first, second):
        conclude(turn, entries(call()), result)
    assert (first.created, first.mail) == (second.created, second.mail)
    other = draft(head=msgspec.structs.replace(HEAD, sequence=4))
    conclude(other, entries(call()), result)
    assert {c.head.execution for c in other.created}.isdisjoint(c.head.execution for c in first.created)


@pytest.mark.parametrize("result", [BatchResult(failure=FAILED, state=encode(1)), BatchResult(state=encode(1))])
def test_a_batch_that_failed_as_a_whole_fails_its_calls_and_changes_nothing(result):
    turn = draft()
    batch = entries(signal("1"), call("2"))
    assert conclude(turn, batch, result) == batch
    ((_, event, *_),) = sent(turn)
    assert event.failure.type in ("ValueError", "EntityUnanswered")
    assert turn.fields == {}


def test_without_a_state_it_has_none_and_ids_of_entities_are_for_entities():
    head = msgspec.structs.replace(HEAD, custom_status=encode(1))
    turn = draft(head=head)
    actions = [CreateDetached(name="m", instance="@counter@x"), SignalEntity(target="nobody", operation="add")]
    conclude(turn, entries(signal()), BatchResult([Operated()], actions))
    assert turn.fields["custom_status"] is None
    assert turn.created == []


def test_an_entity_begins_once():
    turn = draft(head=msgspec.structs.replace(HEAD, status=Status.PENDING))
    begin(turn)
    assert turn.fields == {"status": Status.RUNNING}
    turn = draft()
    begin(turn)
    assert turn.fields == {}


# -- many of them -----------------------------------------------------------------------------------------------------


class Network:
    """Entities and runs that write to each other; mail of one sender to one receiver keeps its order, no other does."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.heads: dict[str, Head] = {}
        self.waits: dict[str, dict[int, Wait]] = {}
        self.queues: dict[str, list[Entry]] = {}
        self.mail: dict[tuple[str, str], deque[Mail]] = {}
        self.granted: dict[str, str] = {}

    def commit(self, draft: Draft) -> None:
        id = draft.head.id
        new = draft.new_head() or msgspec.structs.replace(draft.head, sequence=draft.head.sequence + 1)
        self.heads[id] = new
        waits = {**draft.waits}
        for number in draft.closed:
            waits.pop(number, None)
        waits |= {wait.number: wait for wait in draft.changed if wait.number in waits}
        self.waits[id] = waits | draft.opened
        for mail in [*(creation.mail for creation in draft.created), *draft.mail]:
            self.mail.setdefault((id, mail.instance), deque()).append(mail)

    def run(self, id: str, events: list[Any], actions: list[Any]) -> None:
        self.commit(settle(self.heads[id], self.waits.get(id, {}), NOW, events, actions))

    def deliver(self) -> bool:
        """Hand over one message of a pair that is chosen; whether there was one."""
        pairs = [pair for pair, mail in self.mail.items() if mail]
        if not pairs:
            return False
        pair = self.random.choice(sorted(pairs))
        mail = self.mail[pair].popleft()
        if mail.instance.startswith("@"):
            head = self.heads.setdefault(mail.instance, entity_head("shop", mail.instance, mail.instance, 0))
            turn = Draft(head, self.waits.get(mail.instance, {}), NOW)
            arranged = arrange(turn, self.queues.get(mail.instance, []), [from_mail(mail)])
            self.queues[mail.instance] = arranged.queue
            self.commit(turn)
        elif self.heads[mail.instance].status == Status.RUNNING:
            event = decode_event(mail.event)
            self.granted[mail.instance] = event.section
            self.run(mail.instance, [event], [])
        return True

    def holders(self) -> dict[str, str | None]:
        return {id: waits[LOCK].on for id, waits in self.waits.items() if id.startswith("@") and LOCK in waits}


@pytest.mark.parametrize("seed", range(60))
def test_locks_exclude_each_other_and_are_all_free_in_the_end(seed):
    net = Network(seed)
    entities = [f"@e@{n}" for n in range(4)]
    sets: dict[str, list[str]] = {}
    for n in range(6):
        id = f"run-{n}"
        net.heads[id] = Head(id, "shop", "main", Status.RUNNING, f"r{n}", 1, 0, 0, 0)
        sets[id] = net.random.sample(entities, net.random.randint(1, 4))
        net.run(id, [], [RequestEntityLock(number=1, section=f"s{n}", locks=sets[id])])
    finished = 0
    while True:
        is_quiet = not net.deliver()
        holders = net.holders()
        for id in net.granted:
            if net.heads[id].status == Status.RUNNING:
                assert {holders[entity] for entity in sets[id]} == {id}, "granted, and not held by it alone"
        running = sorted(id for id in sets if net.heads[id].status == Status.RUNNING)
        if not running and is_quiet:
            break
        ends = [id for id in running if id in net.granted or net.random.random() < 0.02]
        if is_quiet:
            assert [id for id in running if id in net.granted], "nobody has what it waits for: they wait in a ring"
        if ends and (is_quiet or net.random.random() < 0.3):
            id = net.random.choice(ends)
            unlocks = sets[id][: net.random.randint(0, len(sets[id]))]
            section = net.granted.pop(id, "") or f"s{id[-1]}"
            actions = [UnlockEntity(number=2 + n, section=section, target=entity) for n, entity in enumerate(unlocks)]
            net.run(id, [], [*actions, CompleteRun(status=Status.COMPLETED)])
            finished += 1
    assert finished == 6
    assert net.holders() == {}
    assert not any(net.queues.values())
