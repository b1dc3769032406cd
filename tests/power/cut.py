"""Which bytes a disk holds after a power cut: all that was synced, and what a seed leaves of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from random import Random

from tests.power.trace import Answered, Change, Deleted, Entry, Synced, Trace, Truncated, Wrote

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""

Files = dict[str, bytes]


@dataclass(frozen=True, order=True)
class Cut:
    """The power fails after `at` entries of a trace; `seed` decides about what was not synced by then."""

    at: int
    seed: int

    def __str__(self) -> str:
        return f"--cut {self.at} --seed {self.seed}"


class Fate(Enum):
    """What becomes of a change that was not synced."""

    WHOLE = auto()
    TORN = auto()
    LOST = auto()


def nothing_left(count: int, random: Random) -> list[Fate]:
    return [Fate.LOST] * count


def everything_left(count: int, random: Random) -> list[Fate]:
    return [Fate.WHOLE] * count


def beginning_left(count: int, random: Random) -> list[Fate]:
    """In order, up to a change that the cut met half way."""
    whole = random.randrange(count + 1)
    return [Fate.WHOLE] * whole + [Fate.TORN] * (whole < count) + [Fate.LOST] * (count - whole - 1)


def any_left(count: int, random: Random) -> list[Fate]:
    """Out of order: later changes are there and earlier ones are not."""
    return random.choices([Fate.WHOLE, Fate.LOST], k=count)


def pieces_left(count: int, random: Random) -> list[Fate]:
    """Out of order, and any of them torn."""
    return random.choices(list(Fate), k=count)


DAMAGES = (nothing_left, pieces_left, any_left, beginning_left, everything_left)
"""Seed n does the damage n modulo 5, so that five seeds in a row do each once."""


class Disk:
    """Files as a trace has left them so far: what is on the disk, and what is on its way to it."""

    def __init__(self) -> None:
        self._synced: dict[str, bytearray] = {}
        self._on_their_way: list[Change] = []

    def meet(self, entry: Entry) -> None:
        match entry:
            case Wrote() | Truncated():
                self._on_their_way.append(entry)
            case Deleted(folder=folder):
                self._on_their_way.append(entry)
                if folder:
                    self._sync_deletions()
            case Synced(file, folder):
                self._sync(file)
                if folder:
                    self._sync_deletions()
            case Answered():
                pass

    def after(self, cut: Cut) -> Files:
        """What is read from the disk when the power is back."""
        random = Random(f"{cut.at} {cut.seed}")
        damage = DAMAGES[cut.seed % len(DAMAGES)]
        files = {name: bytearray(content) for name, content in self._synced.items()}
        kept_by_loss: set[str] = set()
        fates = damage(len(self._on_their_way), random)
        for change, fate in zip(self._on_their_way, fates, strict=True):
            # because what follows a deletion goes to another file, which took the name only with the deletion
            if change.file in kept_by_loss:
                continue
            if isinstance(change, Deleted) and fate is not Fate.WHOLE:
                kept_by_loss.add(change.file)
            elif isinstance(change, Wrote) and fate is Fate.TORN:
                for sector in sectors(change):
                    if random.random() < 0.5:
                        _apply(files, sector)
            elif fate is Fate.WHOLE:
                _apply(files, change)
        return {name: bytes(content) for name, content in files.items()}

    def _sync(self, file: str) -> None:
        for change in self._on_their_way:
            if change.file == file:
                _apply(self._synced, change)
        self._synced.setdefault(file, bytearray())
        self._on_their_way = [change for change in self._on_their_way if change.file != file]

    def _sync_deletions(self) -> None:
        deleted = {change.file for change in self._on_their_way if isinstance(change, Deleted)}
        for file in deleted:
            self._synced.pop(file, None)
        self._on_their_way = [
            change
            for at, change in enumerate(self._on_their_way)
            if change.file not in deleted or at > self._last_deletion(change.file)
        ]

    def _last_deletion(self, file: str) -> int:
        return max(
            at for at, change in enumerate(self._on_their_way) if isinstance(change, Deleted) and change.file == file
        )


def survivors(trace: Trace, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, Files]]:
    """What each cut leaves of the files, in the order of the cuts."""
    disk, met = Disk(), 0
    for cut in sorted(cuts):
        for entry in trace[met : cut.at]:
            disk.meet(entry)
        met = cut.at
        yield cut, disk.after(cut)


def cut_points(trace: Trace, count: int) -> list[int]:
    """Where to cut: half of the points right after answers, the others evenly over the whole trace."""
    answers = [at + 1 for at, entry in enumerate(trace) if isinstance(entry, Answered)]
    sharp = _evenly(answers, count // 2)
    others = (at for at in range(1, len(trace) + 1) if at not in sharp)
    return sorted([*sharp, *_evenly(list(others), count - len(sharp))])


def every_damage(points: Iterable[int]) -> list[Cut]:
    """Each of the damages at each of the points."""
    return [Cut(at, seed) for at in points for seed in range(len(DAMAGES))]


def sectors(change: Wrote) -> Iterator[Wrote]:
    """The parts of a write that lie in different sectors."""
    at, end = change.offset, change.offset + len(change.content)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield Wrote(change.file, at, change.content[at - change.offset : until - change.offset])
        at = until


def place(files: Files, folder: Path) -> None:
    """Write the files into an empty folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _evenly(points: list[int], count: int) -> list[int]:
    count = min(count, len(points))
    return [points[number * len(points) // count] for number in range(count)]


def _apply(files: dict[str, bytearray], change: Change) -> None:
    match change:
        case Wrote(file, offset, content):
            held = files.setdefault(file, bytearray())
            held.extend(bytes(max(0, offset - len(held))))
            held[offset : offset + len(content)] = content
        case Truncated(file, length):
            held = files.setdefault(file, bytearray())
            del held[length:]
            held.extend(bytes(length - len(held)))
        case Deleted(file):
            files.pop(file, None)
