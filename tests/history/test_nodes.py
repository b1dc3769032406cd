"""What a node tells of itself, within its bound, and what is made of it."""

import msgspec

from perdure.clock import to_datetime
from perdure.history.nodes import NAMES_MAX, About, node_states, told
from perdure.stores.contract import ABOUT_BYTES_MAX, Member, ShardState


def test_as_many_names_are_told_as_there_is_room_for() -> None:
    few = msgspec.json.decode(told(About(workflows=["b", "a"], activities=["c"])), type=About)
    assert (few.workflows, few.activities, few.unnamed) == (["a", "b"], ["c"], 0)
    data = told(About(workflows=[f"{'w' * 300}{n}" for n in range(2_000)], activities=["a"]))
    many = msgspec.json.decode(data, type=About)
    assert len(data) <= ABOUT_BYTES_MAX
    assert 0 < len(many.workflows) < NAMES_MAX
    assert many.unnamed == 2_001 - len(many.workflows) - len(many.activities)


def test_shards_are_those_of_the_node_and_the_last_beat_is_a_lease_before_its_end() -> None:
    shards = [ShardState(10, 0, 3, "a"), ShardState(11, 1, 3, "b"), ShardState(12, 2, 3, None)]
    members = [Member("a", slots=5, busy=2, until=30_000_000, about=b'{"pid":7,"new":1}'), Member("b", about=b"?")]
    a, b = node_states("shop", members, shards, 20.0)
    assert (a.app, a.shards, a.slots, a.busy, a.pid, a.beat) == ("shop", [0], 5, 2, 7, to_datetime(10_000_000))
    assert (b.shards, b.pid, b.beat) == ([1], 0, None)


def test_a_node_whose_lock_names_its_process_has_its_shards() -> None:
    (node,) = node_states("shop", [Member("host:7 (process 7 on host)")], [ShardState(1, 0, 1, "host:7")], None)
    assert node.shards == [0]
