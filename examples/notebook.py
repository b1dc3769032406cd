"""Perdure in a notebook: open the app in one cell, use it in the next ones, close it in the last.

A notebook has a running event loop, so its cells may say `await` at the top level. Each function below is one
such cell; as a script, `python examples/notebook.py`, they run one after the other.
"""

import asyncio

from perdure import App, Handle
from perdure.events import ActivityCompleted

app = App("notebook")


@app.activity
async def fetch(page: int) -> str:
    return f"page {page}"


@app.workflow
async def collect(pages: int) -> list[str]:
    return list(await asyncio.gather(*(fetch(page) for page in range(pages))))


async def try_an_activity() -> None:
    """Outside a workflow an activity is an ordinary function: `await fetch(1)` needs no engine."""
    print("by itself:", await fetch(1))


async def open_the_app() -> None:
    """`await app.open()`: what an earlier session has left unfinished goes on at once."""
    await app.open()
    print("open:", app.is_owner)


async def start_something() -> Handle[list[str]]:
    """`handle = await collect.start(3)`"""
    handle = await collect.start(3)
    print("result:", await handle.result(timeout=30))
    return handle


async def look_at_it(handle: Handle[list[str]]) -> None:
    """`(await handle.state()).status`, and its history as a list."""
    ended = [event async for event in handle.history() if isinstance(event, ActivityCompleted)]
    print((await handle.state()).status.value, "after", len(ended), "activities")


async def close_the_app() -> None:
    """`await app.close()`, or just close the notebook: nothing is lost."""
    await app.close()
    print("closed")


async def session() -> None:
    await try_an_activity()
    await open_the_app()
    await look_at_it(await start_something())
    await close_the_app()


if __name__ == "__main__":
    asyncio.run(session())
