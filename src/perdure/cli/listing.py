"""The command that shows the file of targets, and which of them answer."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from perdure.cli import documents, screen
from perdure.cli.target import JsonOption, Target
from perdure.cli.targets import NamedTarget, read_targets, targets_file
from perdure.errors import PerdureError

ANSWER_SECONDS = 5.0
"""How long a target may take to answer."""


async def targets(
    json: JsonOption = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask each whether it is there.")] = True,
) -> int:
    """Stores and servers of the file of targets, with what may be done there and whether they answer."""
    found = list(read_targets().values())
    if not found:
        screen.say(f"There are no targets; name them in {targets_file(os.environ)}")
        return 0
    states = await asyncio.gather(*map(_state, found)) if check else [""] * len(found)
    if json:
        for target, state in zip(found, states, strict=True):
            documents.write({"name": target.name, "address": target.address, "role": target.role.word, "state": state})
    else:
        screen.console().print(screen.targets(zip(found, states, strict=True)))
    return 0


async def _state(named: NamedTarget) -> str:
    try:
        async with asyncio.timeout(ANSWER_SECONDS), Target(target=named.name).client() as client:
            holder = await client.holder()
    except TimeoutError:
        return f"down: no answer within {ANSWER_SECONDS:g} s"
    except (PerdureError, OSError) as error:
        return f"down: {error.args[0] if error.args else error}"
    return "up" if holder is not None else "up, no process runs its app"
