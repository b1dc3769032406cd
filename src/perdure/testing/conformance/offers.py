"""Calls that any node may run."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.stores.contract import CLAIMED, OFFERED, Halt, Outcome, Report, Touch
from perdure.testing.conformance.scene import APP, Scene, a_call, a_head, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Offers(Stage):
    @scenario
    async def test_an_offered_call_is_claimed_once(self, scene: Scene) -> None:
        for number, id in enumerate("abc"):
            offered = a_call(1, state=OFFERED, since=10 - number)
            await scene.start(id, opened=[offered, a_call(2), a_call(3, state=OFFERED, due=2**60)])
        await scene.start("d", opened=[a_call(1, state=OFFERED, name="other")])
        claimed = await scene.store.claim(APP, "node", "t", ["charge"], 2, 60.0)
        assert [(call.instance, call.wait.number) for call in claimed] == [("c", 1), ("b", 1)]
        wait = claimed[0].wait
        assert (wait.state, wait.token, wait.claimed_by, wait.attempt) == (CLAIMED, "t", "node", 1)
        assert await scene.store.waits(scene.shard("c"), "c") == [wait, a_call(2), a_call(3, state=OFFERED, due=2**60)]
        rest = await scene.store.claim(APP, "node", "u", ["charge"], 9, 60.0)
        assert [call.instance for call in rest] == ["a"]
        assert await scene.store.claim(APP, "node", "v", ["charge", "none"], 9, 60.0) == []
        assert await scene.store.claim("bank", "node", "v", ["other"], 9, 60.0) == []

    @scenario
    async def test_a_claim_that_ran_out_goes_to_another_and_a_touch_makes_it_last(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, state=OFFERED)])
        await scene.store.claim(APP, "first", "t", ["charge"], 1, 0.0)
        again = await scene.store.claim(APP, "second", "u", ["charge"], 1, 0.0)
        assert [(call.instance, call.wait.attempt, call.wait.lapses) for call in again] == [("a", 1, 1)]
        details = Payload("json", None, Raw(b"5"))
        first, second = (Touch(scene.shard("a"), "a", "e1", 1, 1, token, details) for token in "tu")
        touches = [first, second, replace(first, number=2)]
        assert await scene.store.touch(touches, 60.0) == [False, True, False]
        assert await scene.store.touch([replace(second, execution="e0")], 60.0) == [False]
        assert await scene.store.claim(APP, "third", "v", ["charge"], 1, 60.0) == []
        (wait,) = await scene.store.waits(scene.shard("a"), "a")
        assert (wait.details, wait.claimed_by, wait.lapses) == (details, "second", 1)

    @scenario
    async def test_claims_that_ran_out_are_counted_and_who_is_let_go_is_offered_again(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, state=OFFERED)])
        for lapses, token in enumerate("tu"):
            (call,) = await scene.store.claim(APP, "node", token, ["charge"], 1, 0.0)
            assert call.wait.lapses == lapses
        touch = Touch(scene.shard("a"), "a", "e1", 1, 1, "u")
        assert await scene.store.touch([touch], 0) == [True]
        assert await scene.store.touch([touch], 60.0) == [False]
        (wait,) = await scene.store.waits(scene.shard("a"), "a")
        assert (wait.state, wait.lapses) == (OFFERED, 1)
        (call,) = await scene.store.claim(APP, "node", "v", ["charge"], 1, 60.0)
        assert call.wait.lapses == 1

    @scenario
    async def test_a_claimed_call_is_reported_under_its_token_alone(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, state=OFFERED)])
        await scene.store.claim(APP, "node", "t", ["charge"], 1, 0.0)
        mail = a_mail("a", "m", execution="e1", generation=1)
        shard = scene.shard("a")
        for token in (None, "u"):
            assert await scene.store.report(shard, [Report(1, 1, mail, token)]) == [Outcome.CONFLICT]
        assert await scene.store.report(shard, [Report(1, 1, mail, "t")]) == [Outcome.COMMITTED]
        assert await scene.keys("a") == ["m"]
        assert await scene.store.report(shard, [Report(1, 1, mail, "t")]) == [Outcome.CONFLICT]

    @scenario
    async def test_calls_that_are_out_are_the_claimers_affair(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, state=OFFERED, due=7), a_call(2, due=7)])
        assert [due.number for due in await scene.store.due([scene.lease("a")], 9)] == [2]
        suspended = a_head("b", suspended=Halt("x", 1))
        await scene.start("b", suspended, opened=[a_call(1, state=OFFERED)])
        await scene.start("c", opened=[a_call(1, state=OFFERED)])
        await scene.finish("c")
        claimed = await scene.store.claim(APP, "node", "t", ["charge"], 9, 60.0)
        assert [call.instance for call in claimed] == ["a"]
