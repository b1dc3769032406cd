"""Which stream of an instance is meant, and a page of its items."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.stores.contract import Item, Stream


class Selection(msgspec.Struct, frozen=True, gc=False):
    """The stream of a call, or the first one of an activity; None fits any. A run of None is the current one."""

    name: str | None = None
    run: int | None = None
    number: int | None = None


class StreamPage(msgspec.Struct, frozen=True, gc=False):
    """Items of the stream of call `number` of a run (None: there is no such stream yet); `ended`: none follow."""

    execution: str
    run: int | None
    number: int | None
    items: list[Item]
    ended: bool


def choose(streams: Sequence[Stream], generation: int, selection: Selection) -> Stream | None:
    """The first stream that is meant, None if it has not begun; `generation` is the current run."""
    run = selection.run or generation
    for stream in streams:
        if (
            stream.generation == run
            and selection.name in (None, stream.name)
            and selection.number in (None, stream.number)
        ):
            return stream
    return None
