"""Calls beyond a node's slots are run by nodes with room, whoever of them dies, pauses or is cut off meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from perdure import App, Retry, activity_context
from perdure.engine.claimer import HINTED_SECONDS_MAX, Claimer, LookTimes
from perdure.engine.diagnosis.findings import find
from perdure.engine.diagnosis.sentences import Step, explanation
from perdure.engine.diagnosis.sight import Scene, Sight
from perdure.errors import StoreUnavailable
from perdure.history.events import RunSuspended, RunTerminated
from perdure.history.state import Explanation
from perdure.history.work import Stall
from perdure.scheduler.pace import LOOK_SECONDS
from perdure.sdk.worker import Worker
from perdure.stores.contract import CLAIMED, OFFERED, Head, Member, Report, Status, Wait, WaitKind
from perdure.stores.memory import MemoryStore
from tests.engine.cluster import LEASE_SECONDS, Node, World, in_world


class Shop:
    """An app whose activities tell on which node they ran."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()
        self.keys: list[tuple[str, str, int]] = []
        self.begun: list[tuple[str, float, str]] = []
        self.details: list[Any] = []

    def app(self, node: str) -> App:
        app = App("shop", store="memory:")

        @app.activity
        async def pack(seconds: float) -> str:
            self.ran[node] += 1
            context = activity_context()
            self.keys.append((node, context.idempotency_key, context.attempt))
            self.begun.append((node, asyncio.get_running_loop().time(), context.idempotency_key))
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.cancelled[node] += 1
                raise
            return node

        @app.workflow
        async def fan(count: int) -> dict[str, int]:
            return Counter(await asyncio.gather(*(pack(0.1) for _ in range(count))))

        @app.workflow
        async def slow(count: int) -> dict[str, int]:
            return Counter(await asyncio.gather(*(pack(20.0) for _ in range(count))))

        @app.activity(retry=Retry(max_attempts=3, initial_interval=1.0, backoff=1.0, jitter=0.0))
        async def fragile(number: int) -> str:
            self.ran[node] += 1
            context = activity_context()
            self.details.append(context.last_details(int))
            context.heartbeat(number + context.attempt)
            await asyncio.sleep(2.0)
            if context.attempt < 3:
                raise ValueError(f"attempt {context.attempt}")
            return f"{node} {context.attempt}"

        @app.workflow
        async def retried(count: int) -> list[str]:
            return await asyncio.gather(*(fragile(100 * number) for number in range(count)))

        @app.activity(heartbeat_timeout=1.0)
        async def silent(_: int) -> str:
            self.ran[node] += 1
            await asyncio.sleep(20.0 if activity_context().attempt == 1 else 0.1)
            return node

        @app.activity(timeout=1.0)
        async def long(_: int) -> str:
            self.ran[node] += 1
            await asyncio.sleep(20.0)
            return node

        @app.workflow
        async def mute(count: int) -> int:
            once = silent.with_options(retry=Retry(max_attempts=2, initial_interval=0.5, jitter=0.0))
            return len(await asyncio.gather(*(once(number) for number in range(count))))

        @app.workflow
        async def late(count: int) -> list[str]:
            results = await asyncio.gather(*(long(number) for number in range(count)), return_exceptions=True)
            return sorted({type(result).__name__ for result in results})

        @app.activity
        async def steady_work(_: int) -> None:
            context = activity_context()
            self.details.append(context.last_details(int))
            for second in range(20):
                context.heartbeat(second)
                await asyncio.sleep(1.0)

        @app.workflow
        async def steady(count: int) -> int:
            return len(await asyncio.gather(*(steady_work(number) for number in range(count))))

        @app.activity
        async def lines(count: int):
            self.ran[node] += 1
            for number in range(count):
                yield number

        @app.workflow
        async def streaming(count: int) -> int:
            return sum(await asyncio.gather(*(lines(2) for _ in range(count))))

        return app


async def nodes(world: World, shop: Shop, count: int, **settings: Any) -> list[Node]:
    found = [await world.node(f"node-{number}", shop.app(f"node-{number}"), **settings) for number in range(count)]
    await asyncio.sleep(2 * LEASE_SECONDS)  # so that each has its share of the shards
    return found


def owner_of(found: list[Node], id: str = "order") -> Node:
    return next(node for node in found if node.engine.owner_of(id) is not None)


def test_a_thousand_calls_of_one_workflow_take_hardly_longer_than_four_nodes_with_ten_slots_need() -> None:
    async def scenario(world: World) -> tuple[float, Any]:
        shop = Shop()
        found = await nodes(world, shop, 4, slots=10)
        begun = world.seconds
        await found[0].start("fan", 1_000)
        state = await found[0].outcome()
        assert state.status == "completed"
        assert shop.ran.total() == 1_000
        return world.seconds - begun, shop.ran

    seconds, ran = in_world(scenario)
    assert seconds < 1.3 * 2.5, ran
    assert len(ran) == 4
    assert min(ran.values()) > 150


def test_calls_that_fit_into_the_slots_are_not_offered_and_cost_no_claim() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=10)
        owner = owner_of(found)
        await owner.start("fan", 11)
        await owner.outcome()
        assert shop.ran == {owner.name: 11}
        assert owner.claimer.counts["claimed"] == 0

    in_world(scenario)


def test_a_quiet_cluster_is_asked_less_and_less_for_offers_and_a_busy_node_is_not_at_all() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        (node,) = await nodes(world, shop, 1, slots=2)
        node.line.calls.clear()
        await asyncio.sleep(10.0)
        assert 5 <= node.line.calls["claim"] <= 12
        await node.start("slow", 3)
        await asyncio.sleep(1.0)
        node.line.calls.clear()
        await asyncio.sleep(10.0)
        assert node.line.calls["claim"] == 0
        assert node.line.calls["touch"] == 0

    in_world(scenario)


def test_with_all_hints_lost_offered_calls_are_found_by_polling() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=2)
        for node in found:
            node.line.loses_hints = True
        await found[0].start("fan", 40)
        assert (await found[0].outcome()).status == "completed"
        assert len(shop.ran) == 3

    in_world(scenario)


def test_calls_claimed_by_a_node_that_is_killed_are_run_by_others_when_their_claims_run_out() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=4)
        owner = owner_of(found)
        await owner.start("slow", 12)
        victim = next(node for node in found if node is not owner)
        await asyncio.sleep(1.0)
        claimed = victim.claimer.count
        assert claimed > 0
        killed = world.loop.time()
        victim.process.kill()
        state = await owner.outcome()
        assert state.status == "completed"
        again = [(node, at) for node, at, key in shop.begun if at > killed and key in first_ones(shop, victim.name)]
        assert len(again) == claimed
        assert min(at for _, at in again) < killed + LEASE_SECONDS + 20.0 + 2.0
        assert {node for node, _ in again}.isdisjoint({victim.name})
        assert {attempt for _, _, attempt in shop.keys} == {1}

    in_world(scenario)


def first_ones(shop: Shop, node: str) -> set[str]:
    return {key for ran_on, key, _ in shop.keys if ran_on == node}


def test_a_node_that_pauses_for_longer_than_its_claims_has_its_attempts_cancelled_and_its_reports_refused() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=4)
        owner = owner_of(found)
        paused = next(node for node in found if node is not owner)
        await owner.start("slow", 12)
        await asyncio.sleep(1.0)
        claimed = paused.claimer.count
        assert claimed > 0
        paused.process.frozen_until = world.loop.time() + 40.0
        state = await owner.outcome()
        assert state.status == "completed"
        assert paused.name not in state_output(state)
        assert world.loop.time() < paused.process.frozen_until + 60
        await asyncio.sleep(max(paused.process.frozen_until - world.loop.time(), 0) + LEASE_SECONDS)
        assert paused.claimer.count == 0
        assert paused.claimer.counts["late"] + paused.claimer.counts["lost"] == claimed

    in_world(scenario)


def state_output(state: Any) -> str:
    return bytes(state.output.data).decode()


def test_a_late_report_is_refused_by_the_store_and_the_first_result_counts() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=1)
        owner = owner_of(found)
        other = next(node for node in found if node is not owner)
        await owner.start("fan", 6)
        refused: list[bool] = []
        report = other.engine.operations.post.report

        async def twice(told: Report) -> Any:
            first = await report(told)
            refused.append((await report(told)) == "conflict")
            return first

        other.engine.operations.post.report = twice  # type: ignore[method-assign]
        assert (await owner.outcome()).status == "completed"
        assert refused
        assert all(refused)

    in_world(scenario)


def test_a_run_that_is_terminated_has_its_claimed_attempts_cancelled_elsewhere() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=4)
        owner = owner_of(found)
        other = next(node for node in found if node is not owner)
        await owner.start("slow", 9)
        await asyncio.sleep(1.0)
        assert other.claimer.count == 4
        await owner.run(owner.engine.operations.command("order", None, RunTerminated(at=1), "key"))
        await asyncio.sleep(LEASE_SECONDS)
        assert shop.cancelled == {owner.name: 4, other.name: 4}
        assert other.claimer.count == 0
        assert other.engine._slots.busy == 0

    in_world(scenario)


def test_results_of_claimed_attempts_of_a_suspended_run_are_recorded_and_none_begins() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=2)
        owner = owner_of(found)
        await owner.start("slow", 9)
        await asyncio.sleep(1.0)
        before = shop.ran.total()
        await owner.run(owner.engine.operations.command("order", None, RunSuspended(at=1), "key"))
        await asyncio.sleep(60.0)
        waits = await world.waits()
        assert before <= shop.ran.total() <= before + 1  # one may wait in memory for the next slot
        assert sum(wait.state == OFFERED for wait in waits) == len(waits) > 0

    in_world(scenario)


def test_an_attempt_that_fails_elsewhere_is_retried_by_policy_with_its_details_and_number() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=2)
        owner = owner_of(found)
        await owner.start("retried", 8)
        state = await owner.outcome()
        assert state.status == "completed", state
        assert shop.ran.total() == 3 * 8
        assert len(shop.ran) == 3
        assert state_output(state).count(" 3") == 8
        told = Counter(details for details in shop.details if details is not None)
        assert sorted(told) == sorted(100 * number + attempt for number in range(8) for attempt in (1, 2))

    in_world(scenario)


def test_the_bounds_of_attempts_hold_for_claimed_calls() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=2)
        owner = owner_of(found)
        begun = world.seconds
        await owner.start("mute", 6)
        state = await owner.outcome()
        assert (state.status, state_output(state)) == ("completed", "6")
        assert world.seconds - begun < 8
        assert sum(shop.ran.values()) == 12
        begun = world.seconds
        await owner.start("late", 6, id="late")
        state = await owner.outcome("late")
        assert state_output(state) == '["ActivityTimedOut"]'
        assert world.seconds - begun < 5
        assert len(shop.ran) == 3

    in_world(scenario)


def test_what_yields_stays_with_the_owner() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=1)
        owner = owner_of(found)
        await owner.start("streaming", 6)
        assert state_output(await owner.outcome()) == "12"
        assert shop.ran == {owner.name: 6}

    in_world(scenario)


def test_a_node_that_leaves_lets_others_have_its_calls_at_once() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=4)
        owner = owner_of(found)
        leaving, other = (node for node in found if node is not owner)
        await owner.start("slow", 13)
        await asyncio.sleep(1.0)
        assert leaving.claimer.count == 4
        assert other.claimer.count == 4
        await leaving.run(leaving.engine.close())
        leaving.process.kill()
        waits = await world.waits()
        assert not [
            wait for wait in waits if wait.claimed_by == leaving.name and wait.claimed_until > world.clock.now()
        ]

    in_world(scenario)


def test_a_report_that_the_store_does_not_take_is_made_again() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=2)
        owner = owner_of(found)
        other = next(node for node in found if node is not owner)
        failures = 3

        async def fails(name: str) -> None:
            nonlocal failures
            if name == "report" and failures:
                failures -= 1
                raise StoreUnavailable("not now")

        other.line.before = fails
        await owner.start("fan", 12)
        state = await owner.outcome()
        assert state.status == "completed"
        assert failures == 0
        assert shop.ran.total() == 12

    in_world(scenario)


def test_a_node_without_the_code_claims_nothing() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        bare = await world.node("bare", App("shop", store="memory:"), slots=100)
        owner = (await nodes(world, shop, 1, slots=1))[0]
        await world.until(lambda: _owns(owner, 4))
        id = owned_by(owner)
        await owner.start("fan", 10, id=id)
        assert (await owner.outcome(id)).status == "completed"
        assert bare.claimer.counts["claimed"] == 0
        assert shop.ran == {owner.name: 10}

    in_world(scenario)


async def _owns(node: Node, count: int) -> bool:
    return len(node.engine.owned) == count


def test_explain_tells_who_has_claimed_a_call_and_what_an_offered_one_waits_for() -> None:
    head = Head("order", "shop", "fan", Status.RUNNING, "e", 1, 1, 1, 1)
    wait = Wait(7, WaitKind.ACTIVITY, "pack", 1, state=OFFERED, attempt=2)
    scene = Scene(now=2, nodes=(Member("node-1"), Member("node-2")))

    def told_of(wait: Wait) -> Explanation:
        sight = Sight(head=head, scene=scene, waits=[wait])
        return explanation([Step(sight, find(sight))], "shop")

    told = told_of(wait)
    assert told.cause == "offered"
    assert told.sentence == (
        "fan order waits for activity pack, attempt 2, until a node that has its code has a free slot."
    )
    claimed = replace(wait, state=CLAIMED, claimed_by="node-2", claimed_until=1_735_689_600_000_000)
    told = told_of(claimed)
    assert told.cause == "claimed"
    assert told.sentence == (
        "fan order waits for activity pack, attempt 2, which node node-2 has claimed and keeps until "
        "2025-01-01 00:00:00 UTC at least."
    )


class Elsewhere(Worker):
    """Code whose workers come and go; `obstacle` is what stands against an attempt here."""

    is_gone = False
    obstacle: Stall | None = None

    def activities(self) -> Any:
        return () if self.is_gone else super().activities()

    async def attempt(self, *work: Any) -> Any:
        return self.obstacle or await super().attempt(*work)


def test_a_call_that_cannot_be_made_where_it_was_claimed_goes_back_to_the_owner_with_its_number() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        owner = await world.node("owner", shop.app("owner"), slots=1)
        elsewhere = Elsewhere("shop", shop.app("elsewhere").definitions)
        elsewhere.obstacle = Stall("key-missing", "there is no key here")
        other = await world.node("other", App("shop"), executor=elsewhere, slots=4)
        await asyncio.sleep(2 * LEASE_SECONDS)
        id = owned_by(owner)
        await owner.start("fan", 8, id=id)
        state = await owner.outcome(id)
        assert state.status == "completed"
        assert shop.ran == {"owner": 8}
        assert other.claimer.counts["given back"] > 0
        assert {attempt for _, _, attempt in shop.keys} == {1}

    in_world(scenario)


def test_what_turns_out_to_yield_where_it_was_claimed_goes_back_to_the_owner() -> None:
    """As with workers whose code the node does not know."""

    async def scenario(world: World) -> None:
        shop = Shop()
        apps = {name: shop.app(name) for name in ("owner", "other")}
        for app in apps.values():
            app.definitions.movable.add("lines")
        owner, other = [await world.node(name, app, slots=1) for name, app in apps.items()]
        await asyncio.sleep(2 * LEASE_SECONDS)
        id = owned_by(owner)
        await owner.start("streaming", 6, id=id)
        assert state_output(await owner.outcome(id)) == "12"
        assert other.claimer.counts["given back"] > 0

    in_world(scenario)


def test_calls_whose_workers_have_gone_are_left_to_other_nodes_at_once() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        owner = await world.node("owner", shop.app("owner"), slots=1)
        elsewhere = Elsewhere("shop", shop.app("elsewhere").definitions)
        other = await world.node("other", App("shop"), executor=elsewhere, slots=4)
        await asyncio.sleep(2 * LEASE_SECONDS)
        id = owned_by(owner)
        await owner.start("slow", 6, id=id)
        await asyncio.sleep(1.0)
        assert other.claimer.count == 4
        elsewhere.is_gone = True
        other.engine.workers_changed()
        await asyncio.sleep(0.1)
        assert other.claimer.count == 0
        assert shop.cancelled == {"elsewhere": 4}
        assert not [wait for wait in await world.waits(id) if (wait.claimed_until or 0) > world.clock.now()]

    in_world(scenario)


def test_an_attempt_whose_claim_ran_out_and_that_the_same_node_claims_again_goes_on() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        owner = await world.node("owner", shop.app("owner"), slots=1)
        other = await world.node("other", shop.app("other"), slots=4)
        await asyncio.sleep(2 * LEASE_SECONDS)
        id = owned_by(owner)
        await owner.start("slow", 6, id=id)
        await asyncio.sleep(1.0)
        assert other.claimer.count == 4

        async def no_touch(name: str) -> None:
            if name == "touch":
                raise StoreUnavailable("not now")

        other.line.before = no_touch
        other.engine._slots.count = 8
        await asyncio.sleep(2 * LEASE_SECONDS)
        other.engine.workers_changed()
        await asyncio.sleep(1.0)
        assert other.claimer.counts["claimed"] == 4
        assert other.line.calls["claim"] > 0
        other.line.before = None
        state = await owner.outcome(id)
        assert state_output(state) == '{"owner":2,"other":4}'
        assert shop.ran == {"owner": 2, "other": 4}

    in_world(scenario)


def test_many_runs_that_call_one_activity_each_at_the_same_time_leave_to_others_what_is_too_much() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 4, slots=5)
        owner = found[0]
        ids = [id for id in (f"order-{number}" for number in range(1_000)) if owner.engine.owner_of(id) is not None]
        await asyncio.gather(*(owner.start("fan", 1, id=id) for id in ids[:100]))
        begun = world.seconds
        states = await asyncio.gather(*(owner.outcome(id) for id in ids[:100]))
        assert {state.status for state in states} == {"completed"}
        assert len(shop.ran) == 4
        assert world.seconds - begun < 1.3 * 100 * 0.1 / 20
        assert owner.engine._slots.promised == 0

    in_world(scenario)


def test_a_shard_that_leaves_with_turns_under_way_leaves_no_promise_behind() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        node = await world.node("node", shop.app("node"), slots=4)

        async def hangs(name: str) -> None:
            if name == "commit":
                await asyncio.sleep(1.0)

        node.line.before = hangs
        starting = asyncio.ensure_future(node.start("fan", 8))
        await asyncio.sleep(0.5)
        assert node.engine._slots.promised == 5
        shard = node.engine.owner_of("order")
        assert shard is not None
        node.engine._ownership.lost(shard, "a test says so")
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.sleep(5.0)
        assert node.engine._slots.promised == 0

    in_world(scenario)


@pytest.mark.long
def test_a_store_with_one_owner_is_offered_nothing() -> None:
    shop = Shop()
    app = App("shop", store=MemoryStore(), slots=2)
    app.include(shop.app("alone"))

    async def scenario() -> list[str]:
        async with app:
            handle = await app.client.workflow("fan").with_options(id="order").start(20)
            (shard,) = app._life.engine.owned  # type: ignore[union-attr]
            store = app._life.engine.store  # type: ignore[union-attr]
            states = {wait.state for wait in await store.waits(shard, "order")}
            await handle.result(10)
            return sorted(states)

    assert asyncio.run(scenario()) == ["held"]


def test_who_takes_over_a_shard_leaves_offered_and_claimed_calls_to_claimers() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=2)
        owner = owner_of(found)
        await owner.start("slow", 12)
        await asyncio.sleep(1.0)
        held = first_ones(shop, owner.name)
        owner.process.kill()
        other = next(node for node in found if node is not owner)
        assert (await other.outcome()).status == "completed"
        attempts = Counter(key for _, key, _ in shop.keys)
        assert len(attempts) == 12
        assert {key for key, count in attempts.items() if count > 1} == held

    in_world(scenario)


def test_who_claims_a_call_after_its_node_was_killed_knows_the_details_of_its_heartbeats() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 2, slots=2)
        owner = owner_of(found)
        victim = next(node for node in found if node is not owner)
        await owner.start("steady", 5)
        await asyncio.sleep(LEASE_SECONDS + 4.0)
        claimed = victim.claimer.count
        assert claimed == 2
        victim.process.kill()
        assert (await owner.outcome()).status == "completed"
        known = [details for details in shop.details if details is not None]
        assert len(known) == claimed
        assert min(known) >= 4

    in_world(scenario)


def test_no_node_runs_more_attempts_of_a_name_than_its_limit_also_not_of_claimed_calls() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=10, slots_by_name={"pack": 2})
        owner = owner_of(found)
        await owner.start("slow", 12)
        await asyncio.sleep(10.0)
        assert shop.ran == {node.name: 2 for node in found}
        waits = await world.waits()
        assert sum(wait.state == CLAIMED for wait in waits) == 4
        assert (await owner.outcome()).status == "completed"
        assert shop.ran.total() == 12

    in_world(scenario)


def owned_by(node: Node) -> str:
    ids = (f"order-{number}" for number in range(1_000))
    return next(id for id in ids if node.engine.owner_of(id) is not None)


def test_offered_calls_of_a_dead_owner_go_on_under_the_next() -> None:
    async def scenario(world: World) -> None:
        shop = Shop()
        found = await nodes(world, shop, 3, slots=2)
        owner = owner_of(found)
        await owner.start("fan", 100)
        await asyncio.sleep(0.5)
        owner.process.kill()
        other = next(node for node in found if node is not owner)
        state = await other.outcome()
        assert state.status == "completed"
        attempts = Counter(key for _, key, _ in shop.keys)
        assert len(attempts) == 100
        assert attempts.total() <= 100 + 2 * 2 + 1

    in_world(scenario)


@pytest.mark.parametrize("found, pause", [(5, 0.0), (1, LOOK_SECONDS)])
def test_a_look_that_found_something_is_followed_soon(found: int, pause: float) -> None:
    times = LookTimes(1.0)
    times.begin(10.0)
    times.end(found, 5)
    assert times.pause(10.0) == pytest.approx(pause)


def test_looks_that_find_nothing_are_further_and_further_apart_and_a_hint_brings_the_next_forward() -> None:
    times = LookTimes(1.0)
    pauses = []
    for _ in range(20):
        times.begin(10.0)
        times.end(0, 5)
        pauses.append(times.pause(10.0))
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    times.hint()
    assert times.pause(10.0) == pytest.approx(HINTED_SECONDS_MAX)
    assert times.pause(10.5) == 0.0
    times.begin(10.5)
    times.end(0, 5)
    assert HINTED_SECONDS_MAX < times.pause(10.5) < 0.2, "because another may have been faster, and there may be more"


def deaths_by_a_claimed_call(lives_max: int) -> tuple[int, str | None]:
    """How often a call that ends its node does so while nodes are started again, and why it stands still in the end."""
    deaths = 0

    async def scenario(world: World) -> str | None:
        nonlocal deaths

        def mortal(node: Node) -> App:
            app = App("shop", store="memory:")

            @app.activity
            async def nap(seconds: float) -> float:
                await asyncio.sleep(seconds)
                return seconds

            @app.activity
            async def deadly(number: int) -> int:
                nonlocal deaths
                deaths += 1
                node.process.kill()
                await asyncio.get_running_loop().create_future()
                return number

            @app.workflow
            async def crowd(number: int) -> int:
                *_, last = await asyncio.gather(nap(0.1), nap(0.2), deadly(number))
                return int(last)

            return app

        async def begin(name: str) -> None:
            node = Node(world, name, App("shop", store="memory:"), slots=1, quarantine_deaths=3)
            node.app = mortal(node)
            world.nodes.append(node)
            await node.open()

        for name in "abc":
            await begin(name)
        await world.nodes[0].start("crowd", 1)
        for life in range(lives_max):
            while all(node.process.alive for node in world.nodes[-3:]):
                head = await head_of(world)
                if head.stalled is not None:
                    return head.stalled.reason
                await asyncio.sleep(0.1)
            world.nodes.sort(key=lambda node: node.process.alive)
            await begin(f"life-{life}")
        return None

    reason = in_world(scenario)
    return deaths, reason


async def head_of(world: World) -> Head:
    for shard in await world.store.shards("shop"):
        found = await world.store.head(shard, "order")
        if found is not None:
            return found
    raise AssertionError("there is no such instance")


def test_a_call_that_ends_whoever_claims_it_goes_back_to_its_owner_and_stands_still() -> None:
    deaths, reason = deaths_by_a_claimed_call(lives_max=12)
    assert reason == "quarantined"
    assert 3 < deaths <= 6


def test_without_that_it_ends_claimers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claimer, "_take", _taking_whatever_lapsed(Claimer._take))
    assert deaths_by_a_claimed_call(lives_max=12) == (12, None)


def _taking_whatever_lapsed(take: Any) -> Any:
    return lambda self, call: take(self, replace(call, wait=replace(call.wait, lapses=0)))
