"""Whether Perdure kept its promises: the census counted again in plain Python, and the ledger of attempts."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ledger
from measure import measure
from pipeline import Job, find
from ranking import rank
from report import render

APART_FROM_FILES = 2
"""Activities of the census that measure no file: one finds them, one writes the report."""


@dataclass(frozen=True)
class Verdict:
    """What was promised, and whether it was kept."""

    promises: list[tuple[str, bool]]
    activities: int
    attempts: int
    twice: int

    @property
    def is_right(self) -> bool:
        return all(kept for _, kept in self.promises)


def judge(job: Job, pages: list[str], begun: int, committed: int) -> Verdict:
    """Compare with a recount. `begun` and `committed` are the activities at the time of the kill."""
    files = find(Path(job.library), job.limit)
    expected = recount(Path(job.library), files)
    attempts = ledger.attempts(job.folder)
    twice = sum(count > 1 for count in attempts.values())
    repeated = twice - (begun - committed)  # because what had begun and was not committed has to run again
    same = read(job, pages) == expected
    return Verdict(
        promises=[
            (f"The report is, byte for byte, that of a recount of {len(files)} files.", same),
            ("Every activity ran.", set(attempts) == {"discover", "write_report", *files}),
            ("No activity ran a third time.", max(attempts.values()) <= 2),
            (f"None of the {committed} results committed before the kill was computed again.", repeated == 0),
            ("The worker was killed in the middle.", APART_FROM_FILES < begun < len(files)),
        ],
        activities=len(attempts),
        attempts=attempts.total(),
        twice=twice,
    )


def recount(library: Path, files: list[str]) -> dict[str, str]:
    """The same report, made without Perdure."""
    with ProcessPoolExecutor() as pool:
        measured = pool.map(partial(measure, library), files, chunksize=16)
        return render(rank(list(measured)))


def read(job: Job, pages: list[str]) -> dict[str, str]:
    return {page: Path(job.folder, page).read_text(encoding="utf-8") for page in pages}
