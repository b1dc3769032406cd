"""What a turn writes to its own instance, and on which condition."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from perdure.stores.contract import (
    ANSWERS_MAX,
    SEEN_MAX,
    Delivery,
    Halt,
    Loaded,
    Outcome,
    Published,
    Segment,
    Status,
    Wait,
)
from perdure.testing.conformance.scene import Scene, a_creation, a_head, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Turns(Stage):
    @scenario
    async def test_a_turn_without_head_only_advances_it(self, scene: Scene) -> None:
        await scene.start("a")
        before = await scene.head("a")
        await scene.committed(scene.turn("a", 1, at=7_000))
        assert await scene.head("a") == replace(before, sequence=2, updated=7_000)

    @scenario
    async def test_a_turn_with_head_replaces_it(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", suspended=Halt("by hand", 1), more={"x": 1}))
        head = a_head("a", status=Status.FAILED, sequence=2, finished=9, version="v", more={"y": 2})
        await scene.committed(scene.turn("a", 1, head=head))
        assert await scene.head("a") == head
        assert await scene.find(status=("failed",)) == ["a"]
        assert await scene.find(status=("running",)) == []

    @scenario
    async def test_a_condition_that_does_not_hold_is_a_conflict(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "timer", "", 5)])
        before = await scene.load("a")
        effects: dict[str, Any] = {
            "segment": b"[]",
            "closed": [1],
            "opened": [Wait(2, "timer", "", 5)],
            "seen": ["s"],
        }
        head = a_head("a", sequence=9)
        for wrong in ({"execution": "e2"}, {"generation": 2}, {"expected": 0}, {"expected": 2}):
            for part in ({}, {"head": head}, {"erase": True}):
                turn = scene.turn("a", **{"expected": 1, **wrong, **part, **effects})
                assert await scene.commit(turn) == [Outcome.CONFLICT]
        assert await scene.commit(scene.turn("nobody", 1)) == [Outcome.CONFLICT]
        assert await scene.load("a") == before

    @scenario
    async def test_a_start_needs_a_free_id(self, scene: Scene) -> None:
        await scene.start("a", seen=["s"])
        before = await scene.load("a")
        turn = scene.turn("a", None, execution="e2", head=a_head("a", execution="e2"), segment=b"[]")
        assert await scene.commit(turn) == [Outcome.EXISTS]
        assert await scene.load("a") == before
        await scene.store.create(scene.shard("b"), a_creation("b"))
        assert await scene.commit(scene.turn("b", None, head=a_head("b"))) == [Outcome.EXISTS]

    @scenario
    async def test_a_start_that_comes_again_after_its_end_does_not_begin_it_again(self, scene: Scene) -> None:
        start = scene.turn("a", None, head=a_head("a", sequence=1, status=Status.COMPLETED, finished=5), segment=b"[]")
        assert await scene.commit(start) == [Outcome.COMMITTED]
        before = await scene.load("a")
        again = scene.turn("a", None, head=a_head("a", sequence=1), segment=b"[]")
        assert await scene.commit(again) == [Outcome.EXISTS]
        assert await scene.load("a") == before

    @scenario
    async def test_a_start_over_a_finished_run_erases_its_rows(self, scene: Scene) -> None:
        await scene.rich("a")
        await scene.finish("a")
        await scene.start("a", a_head("a", execution="e2"), segment=b"[9]")
        assert await scene.load("a") == Loaded(
            a_head("a", execution="e2", sequence=1), [Segment(1, b"[9]")], [], [], []
        )
        assert await scene.find(tags={"k": "v"}) == []
        assert await scene.deliver("a", "mail") == [Delivery.DELIVERED]

    @scenario
    async def test_one_bad_turn_harms_no_other(self, scene: Scene) -> None:
        ids = scene.neighbours(6)
        for id in ids[:4]:
            await scene.start(id)
        good = [scene.turn(id, 1, segment=b"[]", mail=[a_mail(ids[3], f"from {id}")]) for id in ids[:3]]
        bad = scene.turn(ids[3], 7, mail=[a_mail(ids[0], "of the bad")], created=[a_creation("never")])
        start = scene.turn(ids[4], None, head=a_head(ids[4], sequence=1))
        late = scene.turn(ids[5], 3)
        exists = replace(start, id=ids[3], head=a_head(ids[3]))
        assert await scene.commit(good[0], bad, good[1], late, start, good[2]) == [
            Outcome.COMMITTED,
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.COMMITTED,
        ]
        assert [(await scene.head(id)).sequence for id in ids[:5]] == [2, 2, 2, 1, 1]
        assert await scene.keys(ids[3]) == [f"from {id}" for id in ids[:3]]
        assert await scene.keys(ids[0]) == []
        assert await scene.store.head(scene.shard("never"), "never") is None
        assert await scene.commit(exists, scene.turn(ids[4], 1)) == [Outcome.EXISTS, Outcome.COMMITTED]

    @scenario
    async def test_a_turn_of_too_many_bytes_harms_no_other(self, scene: Scene) -> None:
        if self.row_bytes_max is None:
            return
        ids = scene.neighbours(2)
        for id in ids:
            await scene.start(id)
        large = b'["' + b"x" * 2 * self.row_bytes_max + b'"]'
        turns = [scene.turn(ids[0], 1, segment=large), scene.turn(ids[1], 1, segment=b"[]")]
        assert await scene.commit(*turns) == [Outcome.TOO_LARGE, Outcome.COMMITTED]
        assert [(await scene.head(id)).sequence for id in ids] == [1, 2]

    @scenario
    async def test_erase_drops_the_generation_before_and_keeps_mail_and_seen(self, scene: Scene) -> None:
        await scene.rich("a")
        before = await scene.load("a")
        head = replace(before.head, generation=2, sequence=2)
        opened = [Wait(1, "timer", "of the next", 5)]
        await scene.committed(scene.turn("a", 1, erase=True, head=head, segment=b"[2]", opened=opened))
        assert await scene.load("a") == Loaded(head, [Segment(2, b"[2]")], before.mail, opened, before.seen)
        assert await scene.commit(scene.turn("a", 2)) == [Outcome.CONFLICT]
        await scene.committed(scene.turn("a", 2, generation=2))

    @scenario
    async def test_waits_are_closed_changed_and_opened(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(n, "activity", f"f{n}", 5, due=n) for n in (1, 2, 3)])
        changed = [Wait(2, "activity", "f2", 5, attempt=2, due=99), Wait(8, "timer", "not there", 5)]
        opened = [Wait(4, "timer", "", 6), Wait(1, "event", "again", 6)]
        await scene.committed(scene.turn("a", 1, closed=[1, 3, 7], changed=changed, opened=opened))
        assert await scene.store.waits(scene.shard("a"), "a") == [opened[1], changed[0], opened[0]]
        assert [due.due for due in await scene.store.due([scene.lease("a")], 1_000)] == [99]

    @scenario
    async def test_consumed_mail_goes_and_is_seen_where_listed(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.deliver("a", "m1", "m2", "m3")
        await scene.committed(scene.turn("a", 1, consumed=["m1", "m2", "nothing"], seen=["m2"]))
        assert await scene.keys("a") == ["m3"]
        assert await scene.deliver("a", "m2", "m1") == [Delivery.DUPLICATE, Delivery.DELIVERED]
        assert await scene.keys("a") == ["m3", "m1"]

    @scenario
    async def test_seen_ids_are_bounded_and_the_oldest_goes_first(self, scene: Scene) -> None:
        await scene.start("a", seen=["old", "older than most"])
        many = [f"s{n}" for n in range(SEEN_MAX - 1)]
        await scene.committed(scene.turn("a", 1, seen=[*many, "s0"]))
        assert (await scene.load("a")).seen == [*reversed(many), "older than most"]
        assert await scene.deliver("a", "older than most", "old") == [Delivery.DUPLICATE, Delivery.DELIVERED]

    @scenario
    async def test_the_newest_of_what_is_published_counts(self, scene: Scene) -> None:
        shown = [Published("state:a", b"1"), Published("state:b", b"2"), Published("answer:k", b"3", answer=True)]
        await scene.start("a", published=shown)
        await scene.committed(scene.turn("a", 1, published=[Published("state:a", b'{"x":4}')]))
        names = ["state:a", "answer:k", "nothing"]
        assert await scene.store.published(scene.shard("a"), "a", names) == {"state:a": b'{"x":4}', "answer:k": b"3"}
        assert await scene.commit(scene.turn("a", 1, published=[Published("state:a", b"5")])) == [Outcome.CONFLICT]
        assert await scene.store.published(scene.shard("a"), "a", ["state:a"]) == {"state:a": b'{"x":4}'}
        assert await scene.store.published(scene.shard("b"), "b", names) == {}

    @scenario
    async def test_what_is_published_outlives_a_generation_and_goes_with_the_instance(self, scene: Scene) -> None:
        await scene.start("a", published=[Published("state:a", b"1"), Published("answer:k", b"2", answer=True)])
        head = replace(await scene.head("a"), generation=2, sequence=2)
        await scene.committed(scene.turn("a", 1, erase=True, head=head))
        names = ["state:a", "answer:k"]
        assert await scene.store.published(scene.shard("a"), "a", names) == {"state:a": b"1", "answer:k": b"2"}
        ended = replace(head, status=Status.COMPLETED, finished=3_000, sequence=3)
        await scene.committed(scene.turn("a", 2, generation=2, head=ended))
        assert len(await scene.store.published(scene.shard("a"), "a", names)) == 2
        await scene.store.purge(scene.shard("a"), ["a"])
        assert await scene.store.published(scene.shard("a"), "a", names) == {}

    @scenario
    async def test_answers_are_bounded_and_the_oldest_goes_first(self, scene: Scene) -> None:
        await scene.start("a", published=[Published("state:a", b"0"), Published("old", b"0", answer=True)])
        many = [Published(f"a{n}", b"1", answer=True) for n in range(ANSWERS_MAX)]
        await scene.committed(scene.turn("a", 1, published=many))
        names = ["state:a", "old", "a0", f"a{ANSWERS_MAX - 1}"]
        assert sorted(await scene.store.published(scene.shard("a"), "a", names)) == ["a0", names[3], "state:a"]
