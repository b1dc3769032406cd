"""Commands that talk to the code of a running workflow: query what it has published, have it answer an update."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from perdure.cli import documents, screen
from perdure.cli.looking import InstanceArgument, require_unfinished
from perdure.cli.target import Target
from perdure.cli.values import json_value, seconds
from perdure.sdk.role import Role


async def query(
    id: InstanceArgument,
    target: Target,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of the state.")] = "state",
) -> int:
    """The state that a workflow has published under a name; no worker needs to be up."""
    async with target.client() as client:
        state = await client.get(id).query(name=name)
    _tell(target, {"id": id, "command": "query", "name": name, "state": state}, state)
    return 0


async def update(
    id: InstanceArgument,
    update: Annotated[str, typer.Argument(metavar="UPDATE", help="Its name.")],
    target: Target,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="What it brings, as JSON.")] = None,
    key: Annotated[
        str | None, typer.Option("--id", help="Of the update: the same one again is done once and answered alike.")
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait.")] = "30s",
) -> int:
    """Ask a workflow to do something, and print its answer."""
    value = json_value(data, "DATA") if data is not None else None
    bound = seconds(timeout, "--timeout")
    async with target.client(needs=Role.OPERATE) as client:
        handle = client.get(id)
        require_unfinished(await handle.state())
        try:
            answer = await handle.update(update, value, id=key, timeout=bound)
        except TimeoutError:
            ask = target.again("explain", id)
            screen.say(f"{id}: no answer within {timeout}; the update stays, `{ask}` says what it does")
            return 1
    _tell(target, {"id": id, "command": "update", "update": update, "answer": answer}, answer)
    return 0


def _tell(target: Target, document: dict[str, Any], value: Any) -> None:
    if target.json:
        documents.write(document)
    else:
        print(screen.clean(json.dumps(value, ensure_ascii=False)), flush=True)
