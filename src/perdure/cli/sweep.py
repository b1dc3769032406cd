"""Replays many runs against one app's code in several processes, and sums up what came of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import msgspec

from perdure.app import App
from perdure.cli import recordings
from perdure.cli.worker import load
from perdure.errors import InvalidArgument
from perdure.history.recording import Recording, decode_recording
from perdure.sdk.packing.recordings import plain
from perdure.sdk.verdict import Verdict, replay_recording
from perdure.sdk.watchdog import Watchdog

BATCH = 200
"""Runs that a process takes at once."""
SHOWN_IDS = 3
"""Ids of instances that a group names."""


class Judged(msgspec.Struct, frozen=True):
    """An instance and its verdict."""

    id: str
    verdict: Verdict


class Group(msgspec.Struct, frozen=True):
    """Instances of one name and version that meet the same obstacle; `verdict` is that of the first."""

    verdict: Verdict
    count: int
    ids: list[str]


class Program(msgspec.Struct, frozen=True):
    """What a process needs to know to judge: whose code, and which store (None: it is given the recordings)."""

    address: str
    store: str | None


def judged(program: Program, work: Sequence[str] | Sequence[bytes], processes: int | None = None) -> Iterator[Judged]:
    """The verdict on each instance, as they come: of ids in the program's store, or of lines with recordings."""
    batches = [work[begin : begin + BATCH] for begin in range(0, len(work), BATCH)]
    if not batches:
        return
    count = min(processes or os.cpu_count() or 1, len(batches))
    # because a forked process would inherit what the app's module has opened
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, _begin, (program,)) as pool:
            for done in as_completed([pool.submit(_judge, batch) for batch in batches]):
                yield from done.result()
    except BrokenProcessPool as error:
        raise InvalidArgument(
            f"a process that replayed has ended by itself; look at its error above, and whether {program.address} can "
            "be imported in a process of its own"
        ) from error


def groups(results: Iterable[Judged]) -> list[Group]:
    """What is not compatible, by name, version and difference; the most frequent first."""
    members: dict[tuple[object, ...], list[Judged]] = defaultdict(list)
    for each in results:
        if not each.verdict.is_compatible:
            members[_kind(each.verdict)].append(each)
    found = [Group(each[0].verdict, len(each), sorted(one.id for one in each)[:SHOWN_IDS]) for each in members.values()]
    return sorted(found, key=lambda group: (-group.count, str(group.verdict)))


def patches(results: Iterable[Judged]) -> dict[str, int]:
    """How many of the runs still need the old side of each patch that the code asks for."""
    needed: Counter[str] = Counter()
    for each in results:
        for name, is_new in each.verdict.patches.items():
            needed[name] += not is_new
    return dict(sorted(needed.items()))


def _kind(verdict: Verdict) -> tuple[object, ...]:
    told: object = verdict.difference or verdict.description
    if verdict.misfit is not None:
        told = verdict.misfit.changes, verdict.misfit.expected
    return verdict.name, verdict.version, verdict.finding, str(told)


# -- in a process -------------------------------------------------------------------------------------------------


_program: Program
_app: App
_watchdog: Watchdog


def _begin(program: Program) -> None:
    """Import the app once per process, and watch its thread for turns that do not end."""
    global _program, _app, _watchdog
    _program, _app, _watchdog = program, load(program.address), Watchdog()
    _watchdog.start()


def _judge(batch: Sequence[str] | Sequence[bytes]) -> list[Judged]:
    if _program.store is None:
        held = [decode_recording(line) for line in batch if isinstance(line, bytes)]
    else:
        held = asyncio.run(_load(_program.store, [id for id in batch if isinstance(id, str)]))
    if _app.codec is not None:
        held = asyncio.run(_plain(held))
    return [Judged(one.id, replay_recording(_app, one, watchdog=_watchdog)) for one in held]


async def _plain(held: list[Recording]) -> list[Recording]:
    return [await plain(recording, _app.codec) for recording in held]


async def _load(address: str, ids: list[str]) -> list[Recording]:
    async with recordings.looking(address) as store:
        return await recordings.load(store, _app.id, ids)
