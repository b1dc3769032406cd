"""The durable part: a workflow that measures every file of the standard library in an activity of its own."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import ledger
from measure import Measures, measure
from ranking import Ranking, rank
from report import render

from perdure import App, set_status

app = App("census", threads=4)  # because parsing holds the interpreter's lock: more threads would only queue

NOT_COUNTED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
STATUS_EVERY = 10
"""Files between two updates of the status that the progress bar shows."""


@dataclass(frozen=True)
class Job:
    """What to count, and the folder for the report."""

    library: str
    folder: str
    limit: int | None = None


@app.workflow
async def census(job: Job) -> list[str]:
    """Find the files, measure them all, rank them, write the report; the names of its files."""
    files = await discover(job)
    measured = await measure_all(job, files)
    return await write_report(job, rank(measured))


async def measure_all(job: Job, files: list[str]) -> list[Measures]:
    """One activity for each file, all at once."""
    done = 0

    async def measure_one(file: str) -> Measures:
        nonlocal done
        measures = await measure_file(job, file)
        done += 1
        if done % STATUS_EVERY == 0 or done == len(files):
            set_status({"measured": done, "files": len(files)})
        return measures

    return await asyncio.gather(*(measure_one(file) for file in files))


@app.activity
def discover(job: Job) -> list[str]:
    ledger.note(job.folder, "discover")
    return find(Path(job.library), job.limit)


@app.activity
def measure_file(job: Job, file: str) -> Measures:
    ledger.note(job.folder, file)
    return measure(Path(job.library), file)


@app.activity
def write_report(job: Job, ranking: Ranking) -> list[str]:
    ledger.note(job.folder, "write_report")
    pages = render(ranking)
    for name, content in pages.items():
        Path(job.folder, name).write_text(content, encoding="utf-8")
    return list(pages)


def find(library: Path, limit: int | None) -> list[str]:
    """The source files of the library, its own tests left out, in the order of their names."""
    files = (path.relative_to(library) for path in library.rglob("*.py"))
    return sorted(str(file) for file in files if not NOT_COUNTED & set(file.parts))[:limit]
