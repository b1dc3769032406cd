"""How instances are found by what is known of them."""

from __future__ import annotations

from typing import Any

from perdure.errors import InvalidArgument
from perdure.stores.contract import Halt, Page, Query, Status
from perdure.testing.conformance.scene import APP, Scene, a_head
from perdure.testing.conformance.stage import Stage, raised, scenario


class Finding(Stage):
    @scenario
    async def test_find_answers_each_condition(self, scene: Scene) -> None:
        halt = Halt("x", 1)
        await scene.start("a", a_head("a", created=10, tags={"k": "v", "l": "1"}, suspended=halt))
        await scene.start("B-ß", a_head("B-ß", created=20, name="Payout", tags={"k": "v", "l": "2"}, parent="a"))
        await scene.start("c", a_head("c", created=30, stalled=halt, tags={"k": "w"}))
        await scene.start("d", a_head("d", created=30, kind="entity"))
        await scene.finish("a")
        conditions: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["c", "B-ß", "a"]),
            ({"app": None}, ["c", "B-ß", "a"]),
            ({"app": "bank"}, []),
            ({"name": "Payout"}, ["B-ß"]),
            ({"status": ("completed",)}, ["a"]),
            ({"status": ()}, ["c", "B-ß", "a"]),
            ({"status": ("running", "completed")}, ["c", "B-ß", "a"]),
            ({"kind": "entity"}, ["d"]),
            ({"kind": None}, ["d", "c", "B-ß", "a"]),
            ({"created_after": 20}, ["c", "B-ß"]),
            ({"created_before": 20}, ["a"]),
            ({"finished_after": 3_000}, ["a"]),
            ({"finished_after": 3_001}, []),
            ({"finished_before": 3_000}, []),
            ({"finished_before": 3_001}, ["a"]),
            ({"tags": {"k": "v"}}, ["B-ß", "a"]),
            ({"tags": {}}, ["c", "B-ß", "a"]),
            ({"tags": {"k": "v", "l": "1"}}, ["a"]),
            ({"tags": {"v": "k"}}, []),
            ({"parent": "a"}, ["B-ß"]),
            ({"text": "PAY"}, ["B-ß"]),
            ({"text": "b-ß"}, ["B-ß"]),
            ({"text": "check"}, ["c", "a"]),
            ({"text": "%"}, []),
            ({"suspended": True}, ["a"]),
            ({"suspended": False}, ["c", "B-ß"]),
            ({"stalled": True}, ["c"]),
            ({"stalled": False}, ["B-ß", "a"]),
            ({"tags": {"k": "v"}, "status": ("running",)}, ["B-ß"]),
        ]
        for condition, expected in conditions:
            assert await scene.find(**condition) == expected, condition

    @scenario
    async def test_finished_instances_are_found_in_the_order_of_their_ends(self, scene: Scene) -> None:
        ends = {"a": 30, "b": 10, "c": 20, "d": 20, "e": None}
        for created, (id, finished) in enumerate(ends.items()):
            status = Status.RUNNING if finished is None else Status.COMPLETED
            await scene.start(id, a_head(id, created=created, status=status, finished=finished, tags={"k": "v"}))
        for more in ({}, {"status": ("completed", "failed")}, {"tags": {"k": "v"}}):
            query = Query(app=APP, by_end=True, **more)
            first = await scene.store.find(query, None, 2)
            assert [head.id for head in first.heads] == ["b", "c"]
            rest = await scene.store.find(query, first.cursor, 2)
            assert ([head.id for head in rest.heads], rest.cursor) == (["d", "a"], None)
        assert await scene.find(by_end=True, created_after=2) == ["c", "d"]

    @scenario
    async def test_a_cursor_neither_skips_nor_repeats(self, scene: Scene) -> None:
        for number in range(10):
            await scene.start(f"i{number}", a_head(f"i{number}", created=number // 3, tags={"k": "v"}))
        narrower: tuple[dict[str, Any], ...] = ({}, {"tags": {"k": "v"}}, {"app": None})
        for conditions in narrower:
            found: list[str] = []
            cursor = None
            for _ in range(4):
                page: Page = await scene.store.find(Query(**{"app": APP, **conditions}), cursor, 3)
                found += [head.id for head in page.heads]
                cursor = page.cursor
            assert found == [f"i{number}" for number in range(9, -1, -1)]
            assert cursor is None
        first = await scene.store.find(Query(app=APP), None, 3)
        await scene.finish("i7")
        await scene.store.purge(scene.shard("i7"), ["i7"])
        await scene.start("newer", a_head("newer", created=99))
        await scene.start("i55", a_head("i55", created=1))
        assert await scene.find(first.cursor) == ["i6", "i55", "i5", "i4", "i3", "i2", "i1", "i0"]
        assert (await scene.store.find(Query(app=APP), None, 11)).cursor is None
        for wrong in ("", "x", "[]", '[1, "a"]', '["x", "a", 1]', "7"):
            await raised(InvalidArgument, scene.store.find(Query(), wrong))
