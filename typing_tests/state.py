"""What a type checker knows of state."""

from typing import Any, assert_type

from perdure import App
from perdure.blocks.state import Found, State


class Cart:
    items: list[str]


app = App("shop")


async def typed() -> None:
    carts = app.state("carts")
    assert_type(carts, State)
    assert_type(await carts.get("1", Cart), Cart | None)
    assert_type(await carts.get("1"), Any)
    assert_type(await carts.find("1", Cart), Found[Cart] | None)
    assert_type(await carts.get_many(["1"], int), dict[str, int])
    assert_type(await carts.update("1", lambda n: (n or 0) + 1, int), int)
    async with carts.transaction() as change:
        await change.set("1", Cart(), ttl=5)
        await change.delete("1", etag="x")
        await change.set("1")  # type: ignore[call-arg]
    await carts.set(1, Cart())  # type: ignore[arg-type]
