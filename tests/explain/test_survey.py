"""Many instances: a survey by cause, and explanations whose cost does not grow with what an instance waits for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from perdure import Client
from perdure.app import open_store
from tests.explain.place import APPROVAL, Place

READS_MAX = 14
"""Calls of the store that one explanation may make, however much an instance waits for."""


class Counting:
    """A store, and how often it is asked what."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked: Counter[str] = Counter()
        # On the object itself, because protocols are looked for there.
        vars(self).update({name: self._counted(name) for name in dir(inner) if self._is_asked(name)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _is_asked(self, name: str) -> bool:
        return not name.startswith("_") and asyncio.iscoroutinefunction(getattr(type(self.inner), name, None))

    def _counted(self, name: str) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += 1
            return getattr(self.inner, name)(*args, **kwargs)

        return ask


@pytest.mark.long
def test_all_unfinished_instances_by_cause(place: Place) -> None:
    code = """
@app.workflow
async def parent():
    return await approval.with_options(id="kid")()

@app.workflow
async def strict(n: int):
    return n
"""
    with place.running(APPROVAL, code):
        for number in range(3):
            place.begin("approval", id=f"a-{number}")
        place.begin("parent", id="p")
        place.begin("strict", "text", id="s")
        place.told("s", "stalled:payload-not-decodable")
        place.told("p", "event")
        place.told("a-2", "event")
        lines = place.printed("explain", "--all")
        assert lines[0].startswith("1 stalled:payload-not-decodable, the oldest for ")
        assert lines[0].endswith("  !")
        assert lines[2] == "  perdure resume s"
        assert lines[3].startswith("4 event, ")
        assert lines[5] == "  perdure raise a-0 approved"
        assert lines[6].startswith("1 child, ")
        found = [json.loads(line) for line in place.printed("explain", "--all", "--json", "--name", "approval")]
        assert [(group["cause"], group["count"], group["normal"]) for group in found] == [("event", 4, True)]
        assert set(found[0]["example"]) == {
            *("id", "cause", "sentence", "since", "command", "line", "next", "chain", "normal"),
        }
        paged = place.ask(lambda client: client.explain_all(limit=2))
        assert (paged.looked, paged.cursor is None) == (2, False)
        rest = place.ask(lambda client: client.explain_all(cursor=paged.cursor))
        assert (rest.looked, rest.cursor) == (4, None)
        for group in rest.groups:
            if group.cause == "event":
                assert group.example.command is not None
                place.does(group.example.command, group.example.instance)


def test_ten_thousand_children_cost_as_much_as_a_few(place: Place) -> None:
    code = """
@app.workflow
async def parent():
    return await approval.with_options(id="kid")()
"""
    with place.running(APPROVAL, code):
        place.begin("parent", id="p")
        place.told("p", "event")
    columns = "shard, instance, number, kind, name, since, line, attempt, state"
    place.sql(
        f"with recursive n(i) as (select 1000 union all select i + 1 from n where i < 11000) "
        f"insert into perdure_wait ({columns}, on_whom) "
        "select shard, instance, i, kind, name, since, line, attempt, state, 'kid-' || i "
        "from perdure_wait, n where instance = 'p'"
    )

    async def count() -> tuple[Counter[str], Any]:
        store = Counting(open_store(place.store))
        async with Client(store, app_id="shop") as client:
            store.asked.clear()
            return store.asked, await client.get("p").explain()

    counts, told = asyncio.run(count())
    assert told.cause == "event"
    assert "(10,001 more waits)" not in told.sentence
    assert counts.total() <= READS_MAX, counts
