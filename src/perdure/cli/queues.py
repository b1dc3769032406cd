"""The command that shows what stands in the queues."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from perdure.cli import documents, screen
from perdure.cli.target import Target


async def queues(target: Target) -> int:
    """Queues in which something waits or runs, with their limits; no worker needs to be up."""
    async with target.client() as client:
        states = await client.queues()
    if target.json:
        for state in states:
            documents.write(msgspec.to_builtins(state))
    elif states:
        screen.console().print(screen.queues(states, datetime.now(UTC)))
    else:
        screen.say("Nothing waits or runs in a queue.")
    return 0
