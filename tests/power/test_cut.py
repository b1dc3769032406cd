"""A cut spares what was synced, and does to the rest only what a disk may do."""

from __future__ import annotations

from random import Random

import pytest

from tests.power.cut import (
    DAMAGES,
    SECTOR_BYTES,
    Cut,
    Files,
    beginning_left,
    cut_points,
    everything_left,
    nothing_left,
    pieces_left,
    sectors,
    survivors,
)
from tests.power.trace import Answered, Deleted, Fact, Synced, Trace, Truncated, Wrote

OLD, NEW = b"o" * 4 * SECTOR_BYTES, b"n" * 4 * SECTOR_BYTES
SEEDS = range(100)


def left(trace: Trace, seed: int) -> Files:
    ((_, files),) = survivors(trace, [Cut(len(trace), seed)])
    return files


def seeds_of(damage: object) -> range:
    return range([*DAMAGES].index(damage), SEEDS.stop, len(DAMAGES))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(10))
def test_what_was_synced_is_always_there(seed: int) -> None:
    trace: Trace = [Wrote("a", 0, OLD), Truncated("a", 700), Wrote("b", 0, NEW), Synced("a", False)]
    assert left(trace, seed)["a"] == OLD[:700]


def test_what_was_not_synced_may_be_there_or_not() -> None:
    trace: Trace = [Wrote("a", 0, OLD), Synced("a", False), Wrote("a", 0, NEW)]
    assert all(left(trace, seed)["a"] == OLD for seed in seeds_of(nothing_left))
    assert all(left(trace, seed)["a"] == NEW for seed in seeds_of(everything_left))


def test_torn_writes_mix_whole_sectors() -> None:
    trace: Trace = [Wrote("a", 0, OLD), Synced("a", False), Wrote("a", 0, NEW)]
    found = {left(trace, seed)["a"] for seed in seeds_of(pieces_left)}
    pieces = {content[at : at + SECTOR_BYTES] for content in found for at in range(0, len(OLD), SECTOR_BYTES)}
    assert len(found) > 3
    assert pieces == {OLD[:SECTOR_BYTES], NEW[:SECTOR_BYTES]}


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    trace: Trace = [Wrote("a", 0, b"1"), Wrote("b", 0, b"2")]
    assert {tuple(sorted(left(trace, seed))) for seed in SEEDS} == {(), ("a",), ("b",), ("a", "b")}


def test_the_beginning_keeps_order() -> None:
    trace: Trace = [Wrote("a", at, b"x") for at in range(6)]
    assert {left(trace, seed).get("a", b"") for seed in seeds_of(beginning_left)} <= {b"x" * at for at in range(7)}


def test_a_deletion_that_was_not_synced_gives_the_old_file_or_the_new_one_but_no_mixture() -> None:
    trace: Trace = [Wrote("a", 0, b"old"), Synced("a", False), Deleted("a", False), Wrote("a", 4, b"new")]
    assert {left(trace, seed).get("a") for seed in SEEDS} == {b"old", None, b"\0\0\0\0new"}


@pytest.mark.parametrize("sync", [Synced("b", True), Deleted("b", True)])
def test_a_sync_of_the_folder_makes_deletions_sure(sync: Synced | Deleted) -> None:
    trace: Trace = [Wrote("a", 0, b"old"), Synced("a", False), Deleted("a", False), Wrote("a", 0, b"n"), sync]
    assert {left(trace, seed).get("a") for seed in SEEDS} == {None, b"n"}


def test_a_sync_of_one_file_says_nothing_about_another() -> None:
    trace: Trace = [Wrote("a", 0, b"1"), Wrote("b", 0, b"2"), Synced("b", False)]
    assert left(trace, DAMAGES.index(nothing_left)) == {"b": b"2"}


def test_the_same_cut_leaves_the_same_files() -> None:
    random = Random(1)
    trace: Trace = [Wrote("a", random.randrange(5000), random.randbytes(900)) for _ in range(40)]
    assert all(left(trace, seed) == left(trace, seed) for seed in SEEDS)
    assert len({left(trace, seed).get("a") for seed in SEEDS}) > 10


def test_sectors_lie_where_the_disk_has_them() -> None:
    parts = list(sectors(Wrote("a", 500, bytes(600))))
    assert [(part.offset, len(part.content)) for part in parts] == [(500, 12), (512, 512), (1024, 76)]


def test_cut_points_lie_behind_answers_and_in_between() -> None:
    trace: Trace = [Wrote("a", 0, b""), Synced("a", False), Answered("i", Fact.STARTED)] * 40
    points = cut_points(trace, 40)
    assert len(set(points)) == 40
    assert sum(isinstance(trace[point - 1], Answered) for point in points) >= 20
    assert sum(not isinstance(trace[point - 1], Answered) for point in points) >= 10
