"""The command that shows failures in groups of the same, and makes a group run again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from perdure.app import Client
from perdure.cli import documents, screen
from perdure.cli.target import Target
from perdure.cli.values import instant, seconds
from perdure.sdk.role import Role

FAILED = 1


async def failures(
    target: Target,
    name: Annotated[str | None, typer.Option("--name", help="Of this workflow.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Not before: ISO 8601, or -2h for two hours ago.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Look at the newest so many.")] = 1_000,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            metavar="FINGERPRINT",
            help="Rerun, or resume, this group: the oldest alone, the others once it has come through.",
        ),
    ] = None,
    canary_timeout: Annotated[
        str, typer.Option("--canary-timeout", metavar="TIME", help="How long the first may take.")
    ] = "60s",
) -> int:
    """Failed and stalled instances in groups of the same error and line of code."""
    patience = seconds(canary_timeout, "--canary-timeout")
    after = instant(since, "--since", datetime.now(UTC)) if since is not None else None
    async with target.client(needs=Role.READ if retry is None else Role.OPERATE) as client:
        if retry is not None:
            return await _retry(client, retry, patience, limit, target)
        groups = await client.failures(name=name, since=after, limit=limit)
    if target.json:
        for group in groups:
            documents.write(msgspec.to_builtins(group))
    elif groups:
        screen.console().print(screen.failures(groups, datetime.now(UTC)))
        open_ones = [group for group in groups if group.ids or group.going]
        if open_ones:
            screen.say(f"Once the cause is gone: {target.again('failures', retry=open_ones[0].fingerprint)}")
    else:
        screen.say("Nothing has failed or stands still.")
    return 0


async def _retry(client: Client, fingerprint: str, patience: float, limit: int, target: Target) -> int:
    done = await client.retry_failures(fingerprint, canary_seconds=patience, limit=limit)
    if target.json:
        documents.write(msgspec.to_builtins(done))
    elif done.hitch is None:
        print(f"{done.count} made to run again, {screen.clean(done.canary)} first.")
    for id in done.refused:
        screen.say(f"{id} cannot be rerun; `{target.again('history', id)}` shows where it stands")
    if done.hitch is not None:
        screen.say(f"The others wait, because the first did not come through: {done.hitch}")
        return FAILED
    return FAILED if done.refused else 0
