"""Batches of one actor on the stage: one at a time, also when one was taken back, and none that holds the loop."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Actor, App
from perdure.blocks.actors.stage import Stage
from perdure.codec import PLAIN
from perdure.history.events import EntitySignaled
from perdure.history.work import Batch, BatchResult
from perdure.sdk import watchdog
from perdure.sdk.watchdog import Watchdog


def batch(operation: str) -> Batch:
    event = EntitySignaled(at=0, number=0, request="r", operation=operation)
    return Batch("app", "@Slow@1", "Slow", "e", [event], None, [])


def test_a_method_whose_batch_was_taken_back_shares_its_object_with_nobody(run):
    app = App("app", store="memory:")
    may_end = asyncio.Event()

    @app.actor
    class Slow(Actor):
        number: int = 0

        async def linger(self) -> None:
            self.number = 5
            try:
                await asyncio.sleep(100)
            finally:
                await may_end.wait()

        async def read(self) -> int:
            return self.number

    async def scenario():
        stage = Stage({"Slow": Slow._perdure}, PLAIN)
        answers: list[BatchResult] = []
        first = stage.operate(batch("linger"), answers.append)
        await asyncio.sleep(0)
        assert first is not None
        first.retract()
        await asyncio.sleep(0)
        stage.operate(batch("read"), answers.append)
        while not answers:
            await asyncio.sleep(0)
        may_end.set()
        await stage.close()
        assert [bytes(one.result.data) for one in answers[0].results] == [b"0"]

    run(scenario)


@pytest.mark.parametrize("operation", ["spin", "read"])
def test_a_method_that_blocks_the_loop_is_interrupted_and_named(run, monkeypatch, operation):
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.01)
    app = App("app", store="memory:")
    spins = [True] if operation == "read" else []

    @app.actor
    class Blocked(Actor):
        number: int = 0

        async def on_activate(self) -> None:
            while spins:
                pass

        async def spin(self) -> None:
            self.number = 5
            while True:
                pass

        async def read(self) -> int:
            return self.number

    async def operated(stage: Stage, operation: str) -> BatchResult:
        answer: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
        event = EntitySignaled(at=0, number=0, request="r", operation=operation)
        stage.operate(Batch("app", "@Blocked@1", "Blocked", "e", [event], None, []), answer.set_result)
        return await answer

    async def scenario():
        eye = Watchdog(blocked_seconds=0.05)
        eye.start(asyncio.get_running_loop())
        stage = Stage({"Blocked": Blocked._perdure}, PLAIN, watchdog=eye)
        failure = (await operated(stage, operation)).results[0].failure
        assert failure is not None
        assert failure.type == "ActorBlockedLoop"
        assert "test_stage.py" in (failure.stack or "")
        spins.clear()
        assert [bytes(one.result.data) for one in (await operated(stage, "read")).results] == [b"0"]
        await stage.close()
        eye.stop()

    run(scenario)
