"""What comes to an instance from outside: mail, and reports of calls."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.stores.contract import ADMITTED, ANSWERED, MAILBOX_MESSAGES_MAX, QUEUED, Delivery, Outcome, Report, Wait
from perdure.testing.conformance.scene import Scene, a_call, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Mailboxes(Stage):
    @scenario
    async def test_deliver_says_what_became_of_each(self, scene: Scene) -> None:
        id = "a"
        await scene.start(id, seen=["seen"])
        other = next(f"i{n}" for n in range(2_000) if scene.shard(f"i{n}") == scene.shard(id))
        mail = [a_mail(id, "m"), a_mail(other, "m"), a_mail(id, "m"), a_mail(id, "seen"), a_mail(id, "n")]
        assert await scene.store.deliver(scene.shard(id), mail) == [
            Delivery.DELIVERED,
            Delivery.NO_INSTANCE,
            Delivery.DUPLICATE,
            Delivery.DUPLICATE,
            Delivery.DELIVERED,
        ]
        assert await scene.keys(id) == ["m", "n"]
        await scene.finish(id)
        assert await scene.deliver(id, "m", "seen", "x") == [
            Delivery.DUPLICATE,
            Delivery.DUPLICATE,
            Delivery.FINISHED,
        ]
        assert await scene.store.deliver(scene.shard(id), []) == []

    @scenario
    async def test_a_mailbox_is_bounded_but_for_replies(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.start("b")
        for begin in range(0, MAILBOX_MESSAGES_MAX, 1_000):
            mail = [a_mail("a", f"m{n}", execution="e1") for n in range(begin, begin + 1_000)]
            assert set(await scene.store.deliver(scene.shard("a"), mail)) == {Delivery.DELIVERED}
        assert await scene.deliver("a", "m0", "one more") == [Delivery.DUPLICATE, Delivery.FULL]
        await scene.committed(scene.turn("b", 1, mail=[a_mail("a", "x"), a_mail("a", "y", execution="e1")]))
        assert (await scene.keys("a"))[-1] == "y"
        await scene.committed(scene.turn("a", 1, consumed=["m0", "m1"]))
        assert await scene.deliver("a", "x", "z") == [Delivery.DELIVERED, Delivery.FULL]

    @scenario
    async def test_a_report_answers_the_call_once(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, attempt=2), a_call(2), Wait(3, "timer", "timer", 5)])
        mail = a_mail("a", "result", execution="e1", generation=1)
        told = Report(1, 2, mail)
        assert await scene.store.report(scene.shard("a"), [told, told]) == [Outcome.COMMITTED, Outcome.CONFLICT]
        loaded = await scene.load("a")
        assert [(wait.number, wait.state) for wait in loaded.waits][:2] == [(1, ANSWERED), (2, "held")]
        assert await scene.keys("a") == ["result"]
        assert loaded.mail[0].execution == "e1"
        assert await scene.store.report(scene.shard("a"), []) == []

    @scenario
    async def test_a_report_that_is_late_changes_nothing(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, attempt=2), Wait(3, "timer", "timer", 5), a_call(4, state=QUEUED)])
        mail = a_mail("a", "result", execution="e1", generation=1)
        late = [
            Report(1, 1, mail),
            Report(1, 2, replace(mail, execution="e0")),
            Report(1, 2, replace(mail, generation=2)),
            Report(2, None, mail),
            Report(3, None, mail),
            Report(4, None, mail),
            Report(1, 2, replace(mail, instance="nobody")),
        ]
        for told in late:
            assert await scene.store.report(scene.shard("a"), [told]) == [Outcome.CONFLICT], told
        assert await scene.keys("a") == []
        assert (await scene.load("a")).waits[0].state == "held"
        await scene.finish("a")
        assert await scene.store.report(scene.shard("a"), [Report(1, 2, mail)]) == [Outcome.CONFLICT]

    @scenario
    async def test_a_report_of_any_attempt_answers_a_call_that_is_admitted(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, attempt=7, state=ADMITTED)])
        mail = a_mail("a", "result", execution="e1", generation=1)
        assert await scene.store.report(scene.shard("a"), [Report(1, None, mail)]) == [Outcome.COMMITTED]
