"""The command `debug`: a run's history replayed here, event by event, from a store that is only read or from a file."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import documents, recordings
from perdure.cli.looking import InstanceArgument
from perdure.cli.prompt import Prompt
from perdure.cli.target import Target
from perdure.cli.worker import load
from perdure.errors import InstanceNotFound, InvalidArgument
from perdure.history.recording import Recording, decode_recording
from perdure.sdk.debugger import debug_recording


async def debug(
    *,
    id: InstanceArgument,
    address: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Whose code, such as shop:app, from here.")],
    target: Target,
    at: Annotated[
        int | None, typer.Option("--at", metavar="N", min=1, help="Stop before event N; else at the end.")
    ] = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Begin in pdb, at the line that the next event leads to.")] = False,
    origin: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take the history from there, not from a store.")
    ] = None,
) -> int:
    """Replay a run with its recorded results: stop before any event, step, look, go on as a what-if; writes nothing.

    With --json it prints where the code stands and ends.
    """
    if pdb and target.json:
        raise InvalidArgument("--pdb asks at a prompt and --json at none; give one of them")
    app = load(address)
    held = await (_kept(origin, id) if origin is not None else _held(target, target.app or app.id, id))
    # because what the code prints is no part of the answer to a program
    with redirect_stdout(sys.stderr if target.json else sys.stdout):
        debugger = await debug_recording(app, held, at=at)
    with debugger:
        if target.json:
            documents.write(documents.debugged(debugger))
        else:
            _ask(Prompt(debugger), pdb=pdb)
    return 0


def _ask(prompt: Prompt, *, pdb: bool) -> None:
    """Let Ctrl-C end the prompt, and code that does not: the handler of an event loop waits for an await."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        prompt.run(pdb=pdb)
    finally:
        signal.signal(signal.SIGINT, before)


async def _held(target: Target, app: str, id: str) -> Recording:
    async with recordings.looking(target.address()) as store:
        return await recordings.one(store, app, id)


async def _kept(path: Path, id: str) -> Recording:
    lines = await asyncio.to_thread(recordings.read, path, None, None)
    for recording in map(decode_recording, lines):
        if recording.id == id:
            return recording
    raise InstanceNotFound(f"{path} holds no instance {id[:200]!r}", id)
