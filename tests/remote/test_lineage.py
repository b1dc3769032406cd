"""History that calls hand on, as Dapr's workers ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure.history.actions import CreateChild, ScheduleActivity
from perdure.history.events import ActivityScheduled, ChildCreated, Parent, RunStarted, TurnStarted
from perdure.remote.lineage import DEPTH_MAX, LINEAGE, OWN, heritage, until_call
from perdure.remote.requests import TurnItem
from perdure.remote.wire.schema import DAPR_SCHEMA
from tests.remote.peer import Peer, names
from tests.remote.test_server import DONE, port, serving

BEGUN, CALL = TurnStarted(), ActivityScheduled(number=1, name="a")


def test_a_call_hands_on_the_history_up_to_its_turn():
    events = [BEGUN, RunStarted(name="main"), CALL, BEGUN, ActivityScheduled(number=2, name="b"), BEGUN]
    assert until_call(events, 1) == events[:3]
    assert until_call(events, 2) == events[:5]
    assert until_call(events, 9) == []
    assert until_call([*events, CALL], 1) == [*events, CALL], "a number that is used again is its last call's"


def stories(scopes: Sequence[int | None]) -> dict[str, list[Any]]:
    """Runs r0, r1 ..., each the child of the one before it, called with the scope of its place."""
    found = {}
    for at, scope in enumerate(scopes):
        parent = Parent(instance=f"r{at - 1}", execution="e", generation=1, number=7) if at else None
        started = RunStarted(name=f"w{at}", parent=parent, propagation=scope)
        found[f"r{at}"] = [BEGUN, started, ChildCreated(number=7, instance=f"r{at + 1}", name="w")]
    return found


def inherited(scopes: Sequence[int | None], scope: int, gone: Sequence[str] = ()) -> list[str]:
    told = stories(scopes)

    async def read(app: str, instance: str) -> tuple[str, list[Any]]:
        return "e", [] if instance in gone else told[instance]

    runs = asyncio.run(heritage(read, "shop", f"r{len(scopes) - 1}", 7, scope))
    return [run.instance for run in runs]


def test_the_scope_of_each_call_says_how_far_back_it_goes():
    assert inherited([None], OWN) == ["r0"]
    assert inherited([None, LINEAGE, LINEAGE], LINEAGE) == ["r0", "r1", "r2"]
    assert inherited([None, LINEAGE, LINEAGE], OWN) == ["r2"]
    assert inherited([None, LINEAGE, OWN], LINEAGE) == ["r1", "r2"]
    assert inherited([None, None, None], LINEAGE) == ["r2"]
    assert inherited([None, LINEAGE, LINEAGE], LINEAGE, gone=["r1"]) == ["r2"]
    assert len(inherited([None, *([LINEAGE] * 40)], LINEAGE)) == DEPTH_MAX


def chunks(lineage: bytes | None) -> list[tuple[str, str, str, int]]:
    found = DAPR_SCHEMA.PropagatedHistory.FromString(lineage or b"").chunks
    return [(chunk.appId, chunk.instanceId, chunk.workflowName, len(chunk.rawEvents)) for chunk in found]


def test_children_and_activities_are_handed_what_their_calls_say(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            work = peer.work()
            await peer.start("main", "main")
            child = CreateChild(number=1, name="kid", instance="kid", propagation=LINEAGE)
            await peer.answer(await work.turn(), child)
            turn = await work.turn()
            assert chunks(turn.lineage) == [("shop", "main", "main", 3)]
            await peer.answer(
                turn,
                ScheduleActivity(number=1, name="all", propagation=LINEAGE),
                ScheduleActivity(number=2, name="own", propagation=OWN),
                ScheduleActivity(number=3, name="none"),
            )
            attempts = {item.name: item for item in [await work.activity() for _ in range(3)]}
            assert chunks(attempts["all"].lineage) == [("shop", "main", "main", 3), ("shop", "kid", "kid", 5)]
            assert chunks(attempts["own"].lineage) == [("shop", "kid", "kid", 5)]
            assert attempts["none"].lineage is None
            await peer.finish(attempts["all"], "1")
            again = await work.turn()
            assert again.lineage == turn.lineage
            await peer.answer(again)
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            work = peer.work()
            await peer.finish(attempts["own"], "1")
            seen: TurnItem | None = None
            while seen is None:
                item: Any = await work.next()
                seen = item if isinstance(item, TurnItem) else None
            assert seen.lineage == turn.lineage
            await peer.answer(seen, DONE)
            parent: TurnItem | None = None
            while parent is None:
                item = await work.next()
                parent = item if isinstance(item, TurnItem) else None
            assert (names(peer, parent)[-1], parent.lineage) == ("ChildCompleted", None)

    asyncio.run(play())
