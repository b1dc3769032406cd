"""Who waits for the end of a run that another node owns: few looks for very many, each of whom is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from perdure import App
from perdure.engine.waiters import Waiters
from perdure.errors import HistoryCorrupt, InstanceNotFound, PerdureError, StoreCorrupt, StoreUnavailable
from perdure.history.events import RunTerminated
from perdure.history.state import InstanceState
from perdure.history.work import StartOptions
from perdure.scheduler.pace import LOOK_SECONDS_MAX, look_gap
from perdure.stores.contract import Awaited, End, Head, Status
from perdure.testing.conformance import a_head
from tests.engine.cluster import Node, World, in_world

MANY = 1_000
SECONDS = 10.0
READS = ("head", "heads", "history", "last_segment", "load", "published")


def shop() -> App:
    app = App("shop", store="memory:")

    @app.workflow
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    return app


async def two_nodes(world: World) -> tuple[Node, Node]:
    """Each of them owns half of the shards."""
    nodes = await world.node("first", shop()), await world.node("second", shop())

    async def is_even() -> bool:
        return all(len(node.engine.owned) == 4 for node in nodes)

    await world.until(is_even)
    return nodes


def ids_of(node: Node, count: int = MANY) -> list[str]:
    """Ids of instances that the node owns."""
    found = (id for number in range(10 * count) if node.engine.owner_of(id := f"nap-{number}") is not None)
    return [id for id, _ in zip(found, range(count), strict=False)]


async def start_all(node: Node, ids: list[str], seconds: float) -> None:
    await asyncio.gather(*(node.start("nap", seconds, id=id) for id in ids))


def reads(calls: Counter[str]) -> int:
    return sum(calls[name] for name in READS)


def test_a_thousand_who_wait_for_runs_of_another_node_cost_one_look_at_a_time() -> None:
    async def scenario(world: World) -> None:
        owner, other = await two_nodes(world)
        ids = ids_of(owner)
        await start_all(owner, ids, SECONDS)
        other.line.calls.clear()
        states = await asyncio.gather(*(other.outcome(id) for id in ids))
        assert [bytes(state.output.data) for state in states if state.output] == [b"10.0"] * MANY
        looks = SECONDS / LOOK_SECONDS_MAX
        assert looks / 2 < other.line.calls["ends"] < 2 * looks
        assert reads(other.line.calls) == 0

    in_world(scenario)


def test_a_thousand_who_ask_for_results_that_are_there_cost_a_few_looks() -> None:
    async def scenario(world: World) -> None:
        owner, other = await two_nodes(world)
        ids = ids_of(owner)
        await start_all(owner, ids, 0.0)
        await asyncio.gather(*(owner.outcome(id) for id in ids))
        other.line.calls.clear()
        await asyncio.gather(*(other.outcome(id) for id in ids))
        assert other.line.calls["ends"] < 5
        assert reads(other.line.calls) == 0

    in_world(scenario)


def test_a_thousand_instances_that_another_node_has_created_are_taken_up_without_being_read() -> None:
    async def scenario(world: World) -> None:
        owner, other = await two_nodes(world)
        ids = ids_of(owner)
        owner.line.calls.clear()
        await start_all(other, ids, 0.0)
        await asyncio.gather(*(other.outcome(id) for id in ids))
        assert owner.line.calls["mail"] < 50
        assert reads(owner.line.calls) == 0

    in_world(scenario)


def test_who_waits_alone_is_told_at_once() -> None:
    async def scenario(world: World) -> float:
        owner, other = await two_nodes(world)
        (id,) = ids_of(owner, 1)
        await start_all(owner, [id], 0.0)
        await owner.outcome(id)
        for _ in range(20):
            await other.outcome(id)
        before = world.loop.time()
        for _ in range(100):
            await other.outcome(id)
        return world.loop.time() - before

    assert in_world(scenario) < 0.5


def test_an_instance_of_this_node_that_has_ended_is_looked_for_once() -> None:
    async def scenario(world: World) -> None:
        owner, _ = await two_nodes(world)
        (id,) = ids_of(owner, 1)
        await start_all(owner, [id], 0.0)
        await owner.outcome(id)
        owner.line.calls.clear()
        assert (await owner.outcome(id)).status == Status.COMPLETED
        assert owner.line.calls["ends"] == 1

    in_world(scenario)


def test_who_waits_for_an_execution_that_is_gone_or_for_nobody_is_told() -> None:
    async def scenario(world: World) -> list[Any]:
        owner, other = await two_nodes(world)
        first, missing = ids_of(owner, 2)
        await start_all(owner, [first], SECONDS)
        waits = [
            other.run(other.engine.operations.outcome(id, execution, 60))
            for id, execution in ((first, "another"), (missing, None), (first, None))
        ]
        return await asyncio.gather(*waits, return_exceptions=True)

    another, missing, found = in_world(scenario)
    assert isinstance(another, InstanceNotFound)
    assert isinstance(missing, InstanceNotFound)
    assert found.status == Status.COMPLETED


def test_a_run_that_ended_before_it_began_is_read_as_a_whole() -> None:
    async def scenario(world: World) -> InstanceState:
        owner, other = await two_nodes(world)
        (id,) = ids_of(owner, 1)
        later = StartOptions(id=id, at=world.clock.now() + 10**9)
        await other.run(other.engine.operations.start("nap", None, later))
        event = RunTerminated(at=world.clock.now())
        await other.run(other.engine.operations.command(id, None, event, "end"))
        return await other.outcome(id)

    assert in_world(scenario).status == Status.TERMINATED


class Told:
    """A node whose store answers what a test says."""

    def __init__(self, *answers: End | Exception | None) -> None:
        self.owned: dict[int, Any] = {}
        self.store = self
        self.answers = list(answers)
        self.asked: list[list[Awaited]] = []

    def shard_of(self, _id: str) -> int:
        return 1

    def runs(self, _id: str, _execution: str | None) -> bool:
        return False

    async def ends(self, awaited: list[Awaited]) -> list[End | None]:
        self.asked.append(list(awaited))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer for _ in awaited]


def heard(node: Any) -> Any:
    """What one waiter for `a` hears; instances are read alone in vain."""

    async def head(id: str, _execution: str | None) -> Head:
        raise StoreCorrupt(f"a row of instance {id!r} cannot be read")

    async def state(_head: Head) -> InstanceState:
        raise AssertionError("there is no head")

    async def play() -> Any:
        waiters = Waiters(node, head, state)
        waiters.start()
        try:
            return await waiters.wait("a", None, 10)
        except PerdureError as error:
            return error
        finally:
            await waiters.stop()
            assert len(waiters) == 0

    return asyncio.run(play())


ENDED = a_head("a", status=Status.COMPLETED)


@pytest.mark.parametrize(
    "end, error",
    [
        (End(), InstanceNotFound),
        (End(is_unreadable=True), StoreCorrupt),
        (End(ENDED, b"garbage", b"[]"), HistoryCorrupt),
        (End(ENDED), StoreCorrupt),
    ],
    ids=["nobody", "unreadable", "corrupt", "without a segment"],
)
def test_who_waits_hears_why_there_is_no_result(end: End, error: type[Exception]) -> None:
    assert isinstance(heard(Told(end)), error)


def test_a_store_that_does_not_answer_is_asked_again_for_the_same() -> None:
    node = Told(StoreUnavailable("away"), None, End())
    node.owned = {1: None}  # so that nobody would be looked for a second time but for what was not answered
    node.answers = [StoreUnavailable("away"), End()]
    assert isinstance(heard(node), InstanceNotFound)
    assert node.asked == [[Awaited(1, "a")]] * 2


@pytest.mark.parametrize("waiting, seconds", [(1, 0.0002), (100, 0.02), (10**6, 0.1)])
def test_many_who_wait_are_looked_for_less_often(waiting: int, seconds: float) -> None:
    assert look_gap(waiting) == pytest.approx(seconds)
