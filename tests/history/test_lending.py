"""How nodes tell which work their workers take, and where what is lent lies."""

from __future__ import annotations

from perdure.history.lending import (
    ACTIVITY,
    ANYTHING,
    TAKES_MAX,
    TURN,
    is_lender,
    lender_of,
    take_of,
    takes_any,
    takes_told,
    ways_of,
)
from perdure.history.nodes import About, about_of, told
from perdure.stores.contract import ABOUT_BYTES_MAX, Member, shard_number

SPOKEN = "p"


def told_by(*takes: str) -> list[str]:
    return [take + SPOKEN for take in takes]


def test_a_name_without_versions_stands_for_all_of_them() -> None:
    takes = told_by(take_of(TURN, "checkout"))
    assert takes_any(takes, TURN, "checkout")
    assert takes_any(takes, TURN, "checkout", "2")
    assert not takes_any(takes, ACTIVITY, "checkout")
    assert not takes_any(takes, TURN, "refund")


def test_a_version_stands_for_itself() -> None:
    takes = told_by(take_of(TURN, "checkout", "2"), take_of(TURN, "old", ""))
    assert takes_any(takes, TURN, "checkout", "2")
    assert not takes_any(takes, TURN, "checkout", "1")
    assert not takes_any(takes, TURN, "checkout")
    assert takes_any(takes, TURN, "old")


def test_who_takes_anything_takes_all_of_a_kind() -> None:
    takes = told_by(take_of(TURN, ANYTHING))
    assert takes_any(takes, TURN, "checkout", "2")
    assert not takes_any(takes, ACTIVITY, "charge")


def test_the_most_exact_way_is_the_first() -> None:
    assert ways_of(TURN, "checkout", "2") == [
        take_of(TURN, "checkout", "2"),
        take_of(TURN, "checkout"),
        take_of(TURN, ANYTHING),
    ]


def test_what_a_node_tells_has_room_beside_its_names() -> None:
    takes = takes_told(take_of(TURN, str(number)) + SPOKEN for number in range(1_000))
    assert len(takes) == TAKES_MAX
    data = told(About(workflows=[f"workflow {number}" for number in range(1_000)], takes=takes))
    assert len(data) <= ABOUT_BYTES_MAX
    assert about_of(Member("one", about=data)).takes == takes


def test_each_shard_has_a_lender_of_its_own() -> None:
    ids = [lender_of(shard, lambda id: shard_number(id, 64)) for shard in range(64)]
    assert len(set(ids)) == 64
    assert all(is_lender(id) and shard_number(id, 64) == shard for shard, id in enumerate(ids))
