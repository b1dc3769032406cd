"""Which failures are the same, and the groups of those that are."""

from __future__ import annotations

import time

import pytest

from perdure.history.alike import RERUN_ID_BYTES_MAX, Failed, groups, likeness_of, rerun_id
from perdure.history.events import Failure
from perdure.stores.contract import Halt, Head, Status

SECOND = 1_000_000


def stack(line: int, code: str = "charge(order)") -> str:
    outer = '  File "/usr/lib/python3/asyncio/tasks.py", line 7, in run\n    step()\n'
    return f'{outer}  File "/home/a/shop/orders.py", line {line}, in pay\n    {code}\n'


def failed(id: str, message: str, at: int = 1, name: str = "checkout", **fields) -> Failed:
    head = Head(id, "shop", name, Status.FAILED, "e", 1, 3, 0, at, finished=at)
    return Failed(head, Failure(type="Oops", message=message, stack=stack(12)), at, **fields)


@pytest.mark.parametrize(
    "one, other, told",
    [
        ("order 17 is gone", "order 4,242.5 is gone", "order <n> is gone"),
        ("no 0f8fad5b-d9cb-469f-a165-70867728950e", "no 7c9e6679-7425-40de-944b-e07fc1f90ae7", "no <uuid>"),
        ("at 2026-01-02T03:04:05Z", "at 2027-12-31 23:59:59.123+02:00", "at <time>"),
        ("blob deadbeef01", "blob 00c0ffee99", "blob <hex>"),
        ("user 'Ann Smith' unknown", "user 'Bo Li 2' unknown", "user <text> unknown"),
        ("an event's name 'a b' is bad", "an event's name 'c 2' is bad", "an event's name <text> is bad"),
        ("cannot read b'a b'", "cannot read b'c 2'", "cannot read b<text>"),
        ("i-1 is late", "i-2 is late", "<id> is late"),
        ("two\n  lines", "two lines", "two lines"),
    ],
)
def test_what_differs_each_time_is_no_difference(one, other, told):
    first = likeness_of(Failure(type="Oops", message=one, stack=stack(12)), "i-1")
    second = likeness_of(Failure(type="Oops", message=other, stack=stack(12)), "i-2")
    assert first == second
    assert first.sentence == f"Oops: {told}"


@pytest.mark.parametrize(
    "one, other",
    [
        (Failure(type="KeyError", message="'price'"), Failure(type="KeyError", message="'name'")),
        (Failure(type="A", message="x"), Failure(type="B", message="x")),
        (Failure(type="A", message="x", stack=stack(1, "a()")), Failure(type="A", message="x", stack=stack(1, "b()"))),
        (Failure(type="A", message="x"), Failure(type="A", message="x", cause=Failure(type="B", message="x"))),
    ],
)
def test_other_errors_and_other_lines_are_other_failures(one, other):
    assert likeness_of(one, "i").fingerprint != likeness_of(other, "i").fingerprint


def test_lines_added_before_the_code_do_not_matter():
    one = likeness_of(Failure(type="A", message="x", stack=stack(12)), "i")
    other = likeness_of(Failure(type="A", message="x", stack=stack(99)), "i")
    assert one.fingerprint == other.fingerprint
    assert one.place == "shop/orders.py:12 in pay"


def test_the_cause_at_the_bottom_is_what_failed():
    root = Failure(type="ConnectionRefused", message="port 5432", stack=stack(3))
    found = likeness_of(Failure(type="ActivityFailed", message="attempt 3", cause=root), "i")
    assert found.sentence == "ConnectionRefused: port <n>"
    assert found.place == "shop/orders.py:3 in pay"


def test_stacks_of_other_languages_have_a_place_too():
    java = "com.shop.Oops: no\n\tat com.shop.Orders.pay(Orders.java:12)\n\tat java.lang.Thread.run(Thread.java:1)"
    assert (
        likeness_of(Failure(type="Oops", message="no", stack=java), "i").place == "com.shop.Orders.pay(Orders.java:12)"
    )


@pytest.mark.parametrize("text", ["\n", " ", "'a", '"', "a1", "1.", 'File "x", line 1, in f\n    '], ids=repr)
def test_failures_of_any_length_are_looked_at_in_a_moment(text):
    began = time.process_time()
    likeness_of(Failure(type="Oops", message=text * 500_000, stack=text * 500_000), "a")
    assert time.process_time() - began < 2


def test_the_largest_group_is_first_and_knows_its_members():
    rerun = Head("a.rerun", "shop", "checkout", Status.RUNNING, "f", 1, 3, 0, 9)
    found = groups(
        [
            failed("c", "another way"),
            failed("b", "order 2", at=3 * SECOND),
            failed("a", "order 1", at=2 * SECOND, rerun=rerun, name="refund"),
        ]
    )
    large, small = found
    assert (large.count, large.rerun, large.ids, large.going) == (2, 1, ["b"], ["a.rerun"])
    assert (large.first.second, large.last.second, large.example) == (2, 3, "b")
    assert large.workflows == ["checkout", "refund"]
    assert small.count == 1


def test_a_stalled_instance_is_in_a_group_of_stalled_ones():
    halt = Halt("non-determinism", 5, "event 3 differs", line="shop.py:7")
    head = Head("s", "shop", "checkout", Status.RUNNING, "e", 1, 3, 0, 5, stalled=halt)
    (group,) = groups([Failed(head, Failure(type=halt.reason, message=halt.description, stack=f"at {halt.line}"), 5)])
    assert group.is_stalled
    assert group.place == "shop.py:7"


def test_the_id_of_a_rerun_is_an_id():
    assert rerun_id("a") == "a.rerun"
    assert len(rerun_id("x" * RERUN_ID_BYTES_MAX)) <= RERUN_ID_BYTES_MAX
    assert rerun_id("x" * RERUN_ID_BYTES_MAX) != rerun_id("y" * RERUN_ID_BYTES_MAX)
