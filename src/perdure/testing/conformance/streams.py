"""What calls yield before they return."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.stores.contract import Batch, Outcome, Stream
from perdure.testing.conformance.scene import Scene, a_call, a_creation
from perdure.testing.conformance.stage import Stage, scenario


class Streams(Stage):
    @scenario
    async def test_items_have_offsets_without_gaps(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1), a_call(2, name="other")])
        assert await scene.store.streams(scene.shard("a"), "a") == []
        assert await scene.store.last_item(scene.shard("a"), "a", 1, 1) is None
        assert await scene.appended(scene.append("a", 0, 10, 20), scene.append("a", 0, 7, number=2)) == [
            Outcome.COMMITTED,
            Outcome.COMMITTED,
        ]
        assert await scene.appended(scene.append("a", 2, 30)) == [Outcome.COMMITTED]
        assert await scene.yielded("a") == [(1, b"10", 1), (2, b"20", 1), (3, b"30", 1)]
        assert await scene.yielded("a", after=1, limit=1) == [(2, b"20", 1)]
        assert await scene.yielded("a", after=3) == await scene.yielded("a", generation=2) == []
        assert await scene.yielded("nobody") == []
        assert await scene.store.streams(scene.shard("nobody"), "nobody") == []
        last = await scene.store.last_item(scene.shard("a"), "a", 1, 1)
        assert last is not None
        assert (last.offset, bytes(last.value.data), last.at) == (3, b"30", 2_000)
        assert await scene.store.streams(scene.shard("a"), "a") == [
            Stream(1, 1, "charge", 3, True),
            Stream(1, 2, "other", 1, True),
        ]
        assert (await scene.head("a")).sequence == 1

    @scenario
    async def test_items_of_whom_the_call_does_not_wait_for_are_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, attempt=2), replace(a_call(2), kind="timer")])
        good = scene.append("a", 0, 1, attempt=2)
        wrong = [
            replace(good, attempt=1),
            replace(good, attempt=3),
            replace(good, number=3),
            replace(good, number=2, attempt=1),
            replace(good, execution="e0"),
            replace(good, generation=2),
            replace(good, after=1),
            replace(good, id="nobody", shard=scene.shard("a")),
        ]
        for append in wrong:
            assert await scene.appended(append) == [Outcome.CONFLICT], append
        assert await scene.store.streams(scene.shard("a"), "a") == []
        assert await scene.appended(wrong[0], good, wrong[2]) == [
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.CONFLICT,
        ]
        assert await scene.appended(good) == [Outcome.CONFLICT]  # because it is a repetition
        assert await scene.yielded("a") == [(1, b"1", 2)]

    @scenario
    async def test_the_next_attempt_goes_on_and_the_last_one_is_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        await scene.appended(scene.append("a", 0, 1))
        await scene.committed(scene.turn("a", 1, changed=[a_call(1, attempt=2)]))
        stale, next = scene.append("a", 1, 2), scene.append("a", 1, 3, attempt=2)
        assert await scene.appended(stale) == [Outcome.CONFLICT]
        assert await scene.appended(next) == [Outcome.COMMITTED]
        assert await scene.yielded("a") == [(1, b"1", 1), (2, b"3", 2)]

    @scenario
    async def test_an_item_may_come_with_the_turn_that_closes_its_call_and_not_later(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        closing = scene.turn("a", 1, closed=[1])
        assert await scene.appended(scene.append("a", 0, 1), turns=(closing,)) == [Outcome.COMMITTED] * 2
        assert await scene.appended(scene.append("a", 1, 2)) == [Outcome.CONFLICT]
        assert await scene.store.streams(scene.shard("a"), "a") == [Stream(1, 1, "charge", 1, False)]

    @scenario
    async def test_items_of_a_lost_lease_are_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        zombie = scene.lease("a")
        heir = await self.heir(scene)
        late, turn = scene.append("a", 0, 1), scene.turn("a", 1, segment=b"[]")
        assert await heir.store.commit([Batch(zombie, [turn], [late])], "zombie") == [Outcome.FENCED] * 2
        assert await heir.yielded("a") == []
        assert await heir.appended(late) == [Outcome.COMMITTED]
        await heir.store.close()

    @scenario
    async def test_a_finished_run_gets_no_items_and_keeps_those_it_has_until_it_goes(self, scene: Scene) -> None:
        for id in ("a", "b"):
            await scene.start(id, opened=[a_call(1)])
            await scene.appended(scene.append(id, 0, 1))
            await scene.finish(id)
            assert await scene.appended(scene.append(id, 1, 2)) == [Outcome.CONFLICT]
            assert await scene.store.streams(scene.shard(id), id) == [Stream(1, 1, "charge", 1, False)]
        await scene.store.purge(scene.shard("a"), ["a"])
        await scene.store.create(scene.shard("b"), a_creation("b", execution="e2"))
        for id in ("a", "b"):
            assert await scene.yielded(id) == []
            assert await scene.store.streams(scene.shard(id), id) == []

    @scenario
    async def test_continue_as_new_keeps_the_streams_of_the_run_that_ends_alone(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        await scene.appended(scene.append("a", 0, 1))
        head = await scene.head("a")
        for generation in (1, 2):
            head = replace(head, generation=generation + 1, sequence=generation + 1)
            await scene.committed(
                scene.turn("a", generation, generation=generation, erase=True, head=head, opened=[a_call(1)])
            )
            await scene.appended(scene.append("a", 0, generation + 1, generation=generation + 1))
        assert await scene.yielded("a") == []
        assert await scene.yielded("a", generation=2) == [(1, b"2", 1)]
        assert await scene.store.streams(scene.shard("a"), "a") == [
            Stream(2, 1, "charge", 1, False),
            Stream(3, 1, "charge", 1, True),
        ]

    @scenario
    async def test_an_item_of_too_many_bytes_harms_no_other(self, scene: Scene) -> None:
        if self.row_bytes_max is None:
            return
        await scene.start("a", opened=[a_call(1), a_call(2)])
        large = Payload("json", None, Raw(b'"' + b"x" * 2 * self.row_bytes_max + b'"'))
        appends = scene.append("a", 0, values=[large]), scene.append("a", 0, 1, number=2)
        assert await scene.appended(*appends) == [Outcome.TOO_LARGE, Outcome.COMMITTED]
        assert await scene.yielded("a") == []
