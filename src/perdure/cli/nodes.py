"""The command that shows which nodes of an app live."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from perdure.cli import documents, screen
from perdure.cli.target import Target


async def nodes(target: Target) -> int:
    """Nodes of the app that live, with their shards, slots, code and addresses."""
    async with target.client() as client:
        states = await client.nodes()
    if target.json:
        for state in states:
            documents.write(msgspec.to_builtins(state))
    elif states:
        screen.console().print(screen.nodes(states, datetime.now(UTC)))
    else:
        screen.say("No node of the app lives; start a worker, or a server.")
    return 0
