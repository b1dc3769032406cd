"""The command `lint`: what the determinism rules find in files."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from perdure.cli import documents, screen
from perdure.cli.target import JsonOption
from perdure.sdk.determinism import check_paths


async def lint(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, and directories of *.py files.")],
    json: JsonOption = False,
) -> int:
    """Find in workflow code what a replay could not repeat. Exit code 1 if there is any."""
    count = 0
    for finding in check_paths(paths):
        count += 1
        if json:
            documents.write(dataclasses.asdict(finding))
        else:
            print(screen.clean(str(finding)))
    if not json:
        screen.say(f"{count} findings." if count != 1 else "1 finding.")
    return 1 if count else 0
