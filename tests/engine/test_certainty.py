"""A node that stood still for longer than a lease begins no attempt before the store has told it what it still owns."""

from __future__ import annotations

import pytest

from perdure import App, Retry, activity_context
from perdure.engine import ownership
from perdure.testing import clusters
from tests.engine.cluster import LEASE_SECONDS, World, in_world

ZOMBIE = "attempt begun under a lease that was lost"
SEEDS = (3, 11)
"""Worlds in which nodes that stood still had attempts to begin."""


def shop(node: str, made: list[tuple[str, int]]) -> App:
    app = App("shop", store="memory:")

    @app.activity(retry=Retry(max_attempts=2, initial_interval=1.0, backoff=1.0, jitter=0.0))
    async def fragile(number: int) -> str:
        attempt = activity_context().attempt
        made.append((node, attempt))
        if attempt == 1:
            raise ValueError("not yet")
        return node

    @app.workflow
    async def order(number: int) -> str:
        return await fragile(number)

    return app


def attempts_around_a_freeze() -> list[tuple[str, int]]:
    """Who made which attempt, where the owner stands still while a retry falls due and its lease runs out."""
    made: list[tuple[str, int]] = []

    async def scenario(world: World) -> None:
        first = await world.node("a", shop("a", made))
        second = await world.node("b", shop("b", made))
        engine = first.engine

        async def is_shared() -> bool:
            return len(engine.owned) == len(second.engine.owned)

        await world.until(is_shared)
        id = next(id for id in map(str, range(100)) if engine.owner_of(id) is not None)
        await first.start("order", 1, id=id)

        async def is_retried() -> bool:
            return any(wait.attempt == 2 for wait in await world.waits(id))

        await world.until(is_retried)
        first.process.frozen_until = world.loop.time() + 3 * LEASE_SECONDS
        assert (await second.outcome(id)).status == "completed"

        async def is_awake() -> bool:
            return world.loop.time() > first.process.frozen_until + LEASE_SECONDS

        await world.until(is_awake)

    in_world(scenario)
    return made


def test_a_retry_that_fell_due_while_its_node_stood_still_waits_for_an_answer() -> None:
    assert attempts_around_a_freeze() == [("a", 1), ("b", 2)]


def test_without_the_certainty_it_is_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "is_certain", lambda *_: True)
    assert attempts_around_a_freeze() == [("a", 1), ("b", 2), ("a", 2)]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_in_simulated_worlds_fewer_attempts_begin_under_leases_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    certain = sum(clusters.run_seed(seed).probes[ZOMBIE] for seed in SEEDS)
    monkeypatch.setattr(ownership, "is_certain", lambda *_: True)
    assert certain < sum(clusters.run_seed(seed).probes[ZOMBIE] for seed in SEEDS)
