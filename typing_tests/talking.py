"""Queries, updates and external events, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from perdure import App, ExternalEvent, Handle, Update, on_update, set_state, wait_for_event

app = App("shop", store="memory:")
add = Update("add", str, int)
approved = ExternalEvent("approved", bool)


@app.workflow
async def cart(owner: str) -> list[str]:
    @on_update(add, validator=len)
    async def add_item(item: str) -> int:
        return len(item)

    @on_update("untyped")
    def anything(data: int) -> str:
        return str(data)

    set_state({"owner": owner})
    assert_type(await wait_for_event(approved), bool)
    return [owner]


async def drive(handle: Handle[list[str]]) -> None:
    assert_type(await handle.query(), Any)
    assert_type(await handle.query(list[str]), list[str] | None)
    assert_type(await handle.update(add, "pear", id="k", timeout=1.0), int)
    assert_type(await handle.update("untyped", 1), Any)
    await handle.raise_event(approved, True)
    begun, total = await cart.with_options(id="a").update_with_start(add, "pear", "ada")
    assert_type(begun, Handle[list[str]])
    assert_type(total, int)
