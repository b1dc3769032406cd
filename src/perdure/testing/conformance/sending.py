"""What a commit sends to other instances and creates."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.stores.contract import Loaded, Outcome, Wait, shard_number
from perdure.testing.conformance.scene import Scene, a_creation, a_head, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Sending(Stage):
    @scenario
    async def test_mail_of_a_turn_is_delivered_or_dropped(self, scene: Scene) -> None:
        for id in ("a", "b", "done"):
            await scene.start(id)
        await scene.finish("done")
        await scene.deliver("b", "first")
        mail = [a_mail("b", key) for key in ("second", "first", "third")]
        dropped = [a_mail("done", "m"), a_mail("nobody", "m")]
        await scene.committed(scene.turn("a", 1, mail=[*mail, *dropped, a_mail("a", "to itself")]))
        assert await scene.keys("b") == ["first", "second", "third"]
        assert await scene.keys("done") == []
        assert await scene.keys("a") == ["to itself"]

    @scenario
    async def test_a_turn_may_write_to_what_the_same_commit_creates(self, scene: Scene) -> None:
        ids = scene.neighbours(2)
        for id in ids:
            await scene.start(id)
        child = a_creation("child", execution="c1", parent=ids[1], waits=(Wait(1, "start", "", 5),), tags={"t": "1"})
        await scene.committed(
            scene.turn(ids[0], 1, mail=[a_mail("child", "hello")]), scene.turn(ids[1], 1, created=[child])
        )
        loaded = await scene.load("child")
        assert (loaded.head, loaded.waits) == (child.head, list(child.waits))
        assert await scene.keys("child") == ["start c1", "hello"]
        assert await scene.find(parent=ids[1], tags={"t": "1"}) == ["child"]

    @scenario
    async def test_a_refused_creation_sends_its_refusal(self, scene: Scene) -> None:
        for id in ("parent", "busy", "done"):
            await scene.start(id)
        await scene.finish("done")
        refusal = a_mail("parent", "refused", execution="e1", generation=1)
        created = [
            a_creation("busy", execution="c1", refusal=refusal),
            a_creation("busy", execution="c2"),
            a_creation("done", execution="c3", unique=True, refusal=replace(refusal, key="refused too")),
            a_creation("fresh", execution="c4", refusal=replace(refusal, key="never")),
        ]
        await scene.committed(scene.turn("parent", 1, created=created))
        refusals = {mail.key: mail for mail in (await scene.load("parent")).mail}
        assert sorted(refusals) == ["refused", "refused too"], "in any order, because they come from two shards"
        assert refusals["refused"] == refusal
        assert (await scene.head("busy")).execution == "e1"
        assert (await scene.head("done")).execution == "e1"
        assert (await scene.head("fresh")).execution == "c4"

    @scenario
    async def test_a_creation_again_is_no_conflict(self, scene: Scene) -> None:
        await scene.start("parent")
        refusal = a_mail("parent", "refused")
        child = a_creation("child", execution="c1", parent_call="e1/1/1", refusal=refusal, unique=True)
        await scene.committed(scene.turn("parent", 1, created=[child]))
        await scene.committed(scene.turn("child", 0, execution="c1", consumed=["start c1"]))
        again = replace(child, head=replace(child.head, execution="c2"))
        await scene.committed(scene.turn("parent", 2, created=[again]))
        assert (await scene.load("child")).head.execution == "c1"
        assert await scene.keys("child") == []
        await scene.finish("child")
        await scene.committed(scene.turn("parent", 3, created=[a_creation("child", execution="c3")]))
        assert await scene.keys("child") == ["start c3"]
        assert await scene.keys("parent") == []

    @scenario
    async def test_a_creation_that_joins_is_mail_to_whoever_is_there(self, scene: Scene) -> None:
        for id in ("parent", "there", "done"):
            await scene.start(id)
        await scene.finish("done")
        await scene.deliver("there", "before")
        created = [
            a_creation("there", execution="c1", joins=True),
            a_creation("done", execution="c2", joins=True),
            a_creation("fresh", execution="c3", joins=True),
            a_creation("fresh", execution="c4", joins=True),
            a_creation("fresh", execution="c4", joins=True),
        ]
        await scene.committed(scene.turn("parent", 1, created=created))
        assert await scene.keys("there") == ["before", "start c1"]
        assert (await scene.head("there")).execution == "e1"
        assert (await scene.head("done")).execution == "c2"
        assert (await scene.head("fresh")).execution == "c3"
        assert await scene.keys("fresh") == ["start c3", "start c4"]

    @scenario
    async def test_all_that_a_turn_creates_is_called_new_only_if_it_is(self, scene: Scene) -> None:
        for id in ("parent", "busy", "done"):
            await scene.start(id)
        await scene.finish("done")
        fresh = a_creation("fresh", execution="c1", parent_call="e1/1/1")
        turn = scene.turn("parent", 1, created=[fresh])
        await scene.committed(turn)
        if turn.is_all_new:
            assert await scene.load("fresh") == Loaded(fresh.head, [], [fresh.mail], [], [])
        await scene.committed(scene.turn("fresh", 0, execution="c1", consumed=["start c1"]))
        nothing_new = [
            fresh,
            a_creation("busy", execution="c2"),
            a_creation("done", execution="c3", unique=True),
        ]
        for sequence, old in enumerate(nothing_new, 2):
            turn = scene.turn("parent", sequence, created=[a_creation(f"new {sequence}"), old])
            await scene.committed(turn)
            assert not turn.is_all_new, old.head.id

    @scenario
    async def test_a_creation_joins_beside_a_turn_whose_condition_does_not_hold(self, scene: Scene) -> None:
        ids = scene.neighbours(2)
        for id in ids:
            await scene.start(id)
        creation = a_creation("there", execution="c1", joins=True)
        await scene.committed(scene.turn(ids[0], 1, created=[creation]))
        again = a_creation("there", execution="c2", joins=True)
        turns = scene.turn(ids[0], 2, created=[again]), scene.turn(ids[1], 7, created=[a_creation("none", joins=True)])
        assert await scene.commit(*turns) == [Outcome.COMMITTED, Outcome.CONFLICT]
        assert await scene.keys("there") == ["start c1", "start c2"]
        assert await scene.store.load(scene.shard("none"), ["none"]) == []

    @scenario
    async def test_creations_and_mail_reach_other_apps(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", tags={"app": "mine"}))
        child = a_creation("a", app="bank", execution="c1", refusal=a_mail("a", "refused"))
        mail = a_mail("a", "hello", app="bank")
        await scene.committed(scene.turn("a", 1, created=[child], mail=[mail, a_mail("a", "here")]))
        shards = await scene.store.shards("bank")
        shard = shards[shard_number("a", len(shards))]
        (loaded,) = await scene.store.load(shard, ["a"])
        assert loaded.head == child.head
        assert loaded.mail == [child.mail, replace(mail, app=None)]
        assert await scene.keys("a") == ["here"]
        assert await scene.find(app="bank") == ["a"]
