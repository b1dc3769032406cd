"""Activities that yield and readers of their streams, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from perdure import Activity, App, Handle, StreamActivity, activity_context
from perdure.sdk.streams import StreamReader, StreamState

app = App("shop", store="memory:")


@app.activity
async def tokens(prompt: str) -> AsyncIterator[str]:
    assert_type(activity_context().stream_offset, int)
    assert_type(activity_context().last_item(str), Any)
    yield prompt


@app.activity(timeout=5.0)
def rows(count: int) -> Iterator[dict[str, int]]:
    yield {"row": count}


@app.activity
def old(count: int) -> Generator[int, None, None]:
    yield count


made: tuple[StreamActivity[[str], str], StreamActivity[[int], dict[str, int]]] = (tokens, rows)
assert_type(old.item_type, type[int])


@app.activity(stream=True)
async def beside(prompt: str) -> int:
    await activity_context().put(prompt)
    return 1


both: Activity[[str], int] = beside


@app.workflow
async def main(prompt: str) -> int:
    assert_type(await tokens(prompt), int)
    return await rows.with_options(timeout=1)(3)


async def read(handle: Handle[int]) -> None:
    assert_type(handle.stream(tokens, after=3), StreamReader[str])
    async for token in handle.stream(tokens):
        assert_type(token, str)
    async for row in handle.stream(rows, call=2, run=1, follow=False):
        assert_type(row, dict[str, int])
    assert_type(handle.stream("tokens", str), StreamReader[str])
    assert_type(handle.stream("tokens"), StreamReader[Any])
    assert_type(handle.stream(), StreamReader[Any])
    assert_type(await handle.streams(), list[StreamState])
