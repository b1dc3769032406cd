"""The command that reads what activities yield."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from perdure.cli import documents, screen
from perdure.cli.looking import InstanceArgument
from perdure.cli.target import Target


async def stream(
    id: InstanceArgument,
    target: Target,
    name: Annotated[str | None, typer.Option("--name", help="Of the activity; else the first stream of all.")] = None,
    call: Annotated[int | None, typer.Option("--call", min=1, help="The call of that number.")] = None,
    run: Annotated[int | None, typer.Option("--run", min=1, help="Of that run; else of the current one.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="OFFSET", help="Leave out items up to this.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new items until the call ends.")] = False,
) -> int:
    """What an activity has yielded, an item a line as JSON; no worker needs to be up."""
    async with target.client() as client:
        reader = client.get(id).stream(name, call=call, run=run, after=after, follow=follow)
        async for item in reader:
            if target.json:
                documents.write(
                    {"id": id, "run": reader.run, "call": reader.call, "offset": reader.offset, "item": item}
                )
            else:
                print(screen.clean(json.dumps(item, ensure_ascii=False)), flush=True)
    return 0
