"""A mover that kills itself: `python -m tests.stores.mover_program SOURCE TARGET ACT CALL WHEN`.

It moves the app shop, or takes the move back, and dies at that call to a store, `before` or `after` it. One that lives
prints the calls that there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from perdure.app import open_store
from perdure.stores.moving import End, abort, move

APP = "shop"


class Counter:
    """Calls to all stores, and what happens at one of them."""

    def __init__(self, call: int, when: str, happen: Callable[[str], None]) -> None:
        self.calls: list[str] = []
        self._call, self._when, self._happen = call, when, happen

    async def run(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(name)
        is_it = len(self.calls) - 1 == self._call
        if is_it and self._when == "before":
            self._happen(name)
        found = await call(*args)
        if is_it:
            self._happen(name)
        return found


class Counted:
    """A store whose calls are counted."""

    def __init__(self, inner: Any, counter: Counter) -> None:
        self._inner, self._counter = inner, counter

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return lambda *args: self._counter.run(name, call, *args)


def ends(source: Any, target: Any, counter: Counter) -> tuple[End, End]:
    """Both ends, counted."""
    return End(Counted(source, counter), "source"), End(Counted(target, counter), "target")  # type: ignore[arg-type]


async def act(what: str, source: End, target: End, *, finished: bool = False) -> Any:
    if what == "abort":
        return await abort(source, target, APP)
    return await move(source, target, APP, finished=finished, token=f"token {os.getpid()}", now=5)


async def main(source_url: str, target_url: str, what: str, call: str, when: str) -> None:
    stores = open_store(source_url), open_store(target_url)
    for store in stores:
        await store.open()
    counter = Counter(int(call), when, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    await act(what, *ends(*stores, counter))
    for store in stores:
        await store.close()
    print(*counter.calls)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
