"""Where the runs come from that `perdure replay` looks at: a store that is only read, or a file."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from perdure.app import open_store
from perdure.errors import InstanceNotFound, InvalidArgument
from perdure.history.recording import Recording, decode_recording, encode_recording, recording_of
from perdure.paging import each_found
from perdure.stores.contract import UNFINISHED, EngineStore, Loaded, Query, Status, shard_number

T = TypeVar("T")
LOOK_PAGE = 500
"""Instances whose heads are read at once."""


@asynccontextmanager
async def looking(address: str) -> AsyncIterator[EngineStore]:
    """The store, for reading alone, whoever owns it."""
    store = open_store(address, read_only=True)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def unfinished(store: EngineStore, app: str, name: str | None, sample: int | None) -> list[str]:
    """The ids of the app's unfinished instances; of a `sample`, at most so many for each name and version."""
    if app not in (apps := await store.apps()):
        raise InvalidArgument(f"the store holds no app {app!r}; there are: {', '.join(apps) or 'none'}")
    query = Query(app=app, name=name, status=UNFINISHED)
    found = [head async for head in each_found(partial(store.find, query), LOOK_PAGE)]
    chosen = sampled(
        found,
        lambda head: (head.name, head.version),
        lambda head: (head.status == Status.PENDING, _hash(head.execution)),
        sample,
    )
    return [head.id for head in chosen]


async def load(store: EngineStore, app: str, ids: Sequence[str]) -> list[Recording]:
    """The recordings of those of the instances that are still there and unfinished."""
    return [recording_of(one) for one in await _loaded(store, app, ids) if one.head.status in UNFINISHED]


async def one(store: EngineStore, app: str, id: str) -> Recording:
    """The recording of an instance, finished or not. Raises InstanceNotFound."""
    found = await _loaded(store, app, [id]) if app in await store.apps() else []
    if not found:
        raise InstanceNotFound(f"no instance {id[:200]!r} in app {app!r}; `perdure list` shows those there are", id)
    return recording_of(found[0])


async def _loaded(store: EngineStore, app: str, ids: Sequence[str]) -> list[Loaded]:
    shards = await store.shards(app)
    members: dict[int, list[str]] = defaultdict(list)
    for id in ids:
        members[shards[shard_number(id, len(shards))]].append(id)
    return [one for shard, group in members.items() for one in await store.load(shard, group)]


def read(path: Path, name: str | None, sample: int | None) -> list[bytes]:
    """The lines of a file of recordings. Raises InvalidArgument."""
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    held = [(decode_recording(line), line) for line in lines]
    wanted = [each for each in held if name in (None, each[0].name)]
    chosen = sampled(
        wanted,
        lambda each: (each[0].name, each[0].version),
        lambda each: (not each[0].segments, _hash(each[0].execution)),
        sample,
    )
    return [line for _, line in chosen]


def write(path: Path, recordings: Iterable[Recording]) -> int:
    """Write a line for each, and say how many. Raises InvalidArgument."""
    lines = [encode_recording(recording) + b"\n" for recording in recordings]
    try:
        path.write_bytes(b"".join(lines))
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be written: {error.strerror}") from error
    return len(lines)


def sampled(
    each: Iterable[T], group: Callable[[T], tuple[str, str | None]], order: Callable[[T], Any], most: int | None
) -> list[T]:
    """At most so many of each group, in an order in which the same ones come again whatever else has come and gone, and
    last those that have not begun, because a replay of nothing proves nothing."""
    if most is None:
        return list(each)
    groups: dict[tuple[str, str | None], list[T]] = defaultdict(list)
    for one in each:
        groups[group(one)].append(one)
    return [one for members in groups.values() for one in sorted(members, key=order)[:most]]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
