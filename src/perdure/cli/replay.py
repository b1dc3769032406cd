"""The command `replay`: whether the code in the working tree can go on with the runs that are not finished."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli import documents, recordings, screen, sweep
from perdure.cli.target import Target
from perdure.cli.worker import load
from perdure.errors import InvalidArgument
from perdure.sdk.verdict import Verdict

INCOMPATIBLE = 1
"""Exit code when a run would not go on."""


@dataclass(frozen=True)
class Choice:
    """Which runs are looked at, and where they come from or go to."""

    name: Annotated[str | None, typer.Option("--name", help="Only this workflow.")] = None
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="At most N of each name and version.")
    ] = None
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the histories there, to replay them later.")
    ] = None
    origin: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take the histories from there, not from a store.")
    ] = None
    processes: Annotated[
        int | None, typer.Option("--processes", metavar="N", min=1, help="How many; else one for each core.")
    ] = None


async def replay(
    *,
    address: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="Whose code, such as shop:app, from here.")
    ] = None,
    target: Target,
    choice: Choice,
) -> int:
    """Replay every unfinished instance against the code at hand; writes nothing, and a running owner may go on.

    Exit codes: 0 all can go on, 1 some cannot, 2 usage, 3 the store cannot be reached.
    """
    _check(address, target, choice)
    app_id = load(address).id if address is not None else target.app
    if choice.origin is not None:
        assert address is not None
        lines = await asyncio.to_thread(recordings.read, choice.origin, choice.name, choice.sample)
        return _judge(sweep.Program(address, None), lines, target, choice)
    store = target.address()
    ids = await _ids(store, app_id, choice)
    if address is None:
        return 0
    return _judge(sweep.Program(address, store), ids, target, choice)


def _check(address: str | None, target: Target, choice: Choice) -> None:
    if choice.origin is not None and (choice.export is not None or address is None):
        raise InvalidArgument("--from FILE needs MODULE:APP, and cannot be exported again")
    if address is None and choice.export is None:
        raise InvalidArgument("no code is named; write `perdure replay shop:app`, or --export FILE to keep histories")
    if choice.origin is None and address is None and target.app is None:
        raise InvalidArgument("no app is named; give --app ID, or MODULE:APP")


async def _ids(address: str, app_id: str | None, choice: Choice) -> list[str]:
    assert app_id is not None
    async with recordings.looking(address) as store:
        ids = await recordings.unfinished(store, app_id, choice.name, choice.sample)
        if choice.export is not None:
            held = await recordings.load(store, app_id, ids)
            count = await asyncio.to_thread(recordings.write, choice.export, held)
            screen.say(f"{count:,} histories are in {choice.export}.")
        return ids


def _judge(program: sweep.Program, work: list[str] | list[bytes], target: Target, choice: Choice) -> int:
    began = time.monotonic()
    results = []
    for each in sweep.judged(program, work, choice.processes):
        results.append(each)
        if target.json:
            documents.write(verdict(each.id, each.verdict))
    seconds = time.monotonic() - began
    groups, needed = sweep.groups(results), sweep.patches(results)
    if target.json:
        documents.write({"summary": _summary(results, groups, needed, seconds)})
    else:
        _show(groups, needed)
        good = sum(each.verdict.is_compatible for each in results)
        screen.say(f"{good:,} of {len(results):,} unfinished runs can go on with this code ({seconds:.1f} s).")
    return INCOMPATIBLE if groups else 0


def _show(groups: list[sweep.Group], needed: dict[str, int]) -> None:
    for group in groups:
        told = group.verdict
        version = f" version {told.version}" if told.version is not None else ""
        more = ", ..." if group.count > len(group.ids) else ""
        print(screen.clean(f"{told.name}{version}: {group.count:,} {told.finding}: {', '.join(group.ids)}{more}"))
        print(screen.clean(f"  {told.misfit or told.description}"))
        if told.remedy is not None:
            print(screen.clean(f"  {told.remedy}"))
    for name, count in needed.items():
        why = f"{count:,} runs need its old side" if count else "no run needs its old side; it may go"
        print(screen.clean(f"patch {name!r}: {why}"))


def verdict(id: str | None, told: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    difference, misfit = told.difference, told.misfit
    return {
        "id": id,
        "name": told.name,
        "version": told.version,
        "finding": told.finding.value,
        "reason": told.reason,
        "description": told.description,
        "line": told.line,
        "remedy": told.remedy,
        "difference": None
        if difference is None
        else {"number": difference.number, "held": difference.held, "asked": difference.asked},
        "misfit": None
        if misfit is None
        else {"event": misfit.event, "expected": misfit.expected, "changes": misfit.changes},
        "patches": told.patches,
        "recorded_fingerprint": told.recorded_fingerprint,
        "fingerprint": told.fingerprint,
    }


def _summary(
    results: list[sweep.Judged], groups: list[sweep.Group], needed: dict[str, int], seconds: float
) -> dict[str, Any]:
    return {
        "runs": len(results),
        "compatible": sum(each.verdict.is_compatible for each in results),
        "seconds": round(seconds, 3),
        "patches": needed,
        "groups": [
            {
                "name": group.verdict.name,
                "version": group.verdict.version,
                "finding": group.verdict.finding.value,
                "count": group.count,
                "ids": group.ids,
                "description": str(group.verdict.misfit or group.verdict.description),
                "remedy": group.verdict.remedy,
            }
            for group in groups
        ],
    }
