"""A durable census of Python's standard library that survives the violent death of its worker.

    python examples/stdlib_census/main.py [--limit N] [--output FOLDER]

Starts a worker process, kills it half way, starts another, and checks the report against a count that does
without Perdure.
Exit code: 0 if everything is right, else 1.
"""

import argparse
import asyncio
import platform
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ledger
from pipeline import Job
from process import WorkerProcess
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from verdict import Verdict, judge

from perdure import Client, Handle
from perdure.events import ActivityCompleted

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 120.0
FILES_MIN = 100
"""Fewer would be measured before the parent could look and kill."""
console = Console(highlight=False, soft_wrap=True)


async def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    folder = fresh_folder(options.output)
    store = f"sqlite:///{folder / 'census.db'}"
    job = Job(sysconfig.get_path("stdlib"), str(folder), options.limit)
    console.print(f"[bold]A census of the standard library of Python {platform.python_version()}[/]\n{job.library}\n")
    async with asyncio.timeout(PATIENCE_SECONDS), Client(store, app_id="census") as client:
        handle = await client.workflow("census").with_options(id="census").start(job)
        begun, committed = await work_until_killed(handle, store, job)
        await work_until_done(handle, store, job)
        pages = await handle.result()
    console.print("Counting again, without Perdure ...")
    verdict = judge(job, pages, begun, committed)
    tell(verdict)
    console.print(f"\nThe report: [bold]{options.output / 'report.md'}[/], with {' and '.join(pages[1:])} beside it")
    return 0 if verdict.is_right else 1


async def work_until_killed(handle: Handle[Any], store: str, job: Job) -> tuple[int, int]:
    """Let a worker come half way and kill it; how many activities had begun, and how many had committed."""
    worker = WorkerProcess(store, Path(job.folder, "worker.log"))
    try:
        console.print(f"Worker {worker.pid} measures a file in each activity.")
        reached = await follow(handle, worker, share=0.5)
    finally:
        worker.kill()
    begun, committed = ledger.attempts(job.folder).total(), await committed_results(handle)
    console.print(f"[red]Killed worker {worker.pid} with SIGKILL[/] when {reached} files were measured.")
    console.print(f"It had begun {begun} activities; the store holds the results of {committed}.")
    return begun, committed


async def work_until_done(handle: Handle[Any], store: str, job: Job) -> None:
    """Let a second worker carry on to the end."""
    worker = WorkerProcess(store, Path(job.folder, "worker.log"))
    try:
        console.print(f"Worker {worker.pid} carries on.")
        await follow(handle, worker, share=1.0)
        await handle.result()
    finally:
        worker.end()


async def follow(handle: Handle[Any], worker: WorkerProcess, share: float) -> int:
    """Move a progress bar until that share of the files is measured; how many are."""
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=None)
        while True:
            state = await handle.state()
            status = state.custom_status or {"measured": 0, "files": None}
            bar.update(task, completed=status["measured"], total=status["files"])
            if status["files"] and status["measured"] >= share * status["files"]:
                return int(status["measured"])
            if state.finished:
                await handle.result()  # because it raises what went wrong
            if state.stalled or not worker.is_alive:
                raise SystemExit(f"The census stands still: {state.stalled or 'see worker.log'}")
            await asyncio.sleep(POLL_SECONDS)


async def committed_results(handle: Handle[Any]) -> int:
    """Activities whose results are in the history, and so will never run again."""
    return len([event async for event in handle.history() if isinstance(event, ActivityCompleted)])


def tell(verdict: Verdict) -> None:
    """The outcome, a line for each promise."""
    for promise, kept in verdict.promises:
        console.print(f"  {'[green]ok[/]  ' if kept else '[red]NOT[/] '}{promise}")
    console.print(
        f"\n[bold]{verdict.activities} activities took {verdict.attempts} attempts: "
        f"{verdict.twice} ran twice[/], those under way at the kill."
    )


def progress_bar() -> Progress:
    columns = TextColumn("  {task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal)


def fresh_folder(folder: Path) -> Path:
    """The folder for the report, without what an earlier census left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob("census.db*"), folder / ledger.NAME, folder / "worker.log"):
        left.unlink(missing_ok=True)
    return folder.resolve()


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A durable census of Python's standard library.")
    parser.add_argument("--limit", type=int, help=f"measure only so many files, {FILES_MIN} or more")
    parser.add_argument("--output", type=Path, default=Path("census-report"), help="folder for the report")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < FILES_MIN:
        parser.error(f"--limit {options.limit}: give {FILES_MIN} or more, or the kill would come too late")
    return options


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
