"""The commands `feed ...`: what happens to instances, live; how far the webhook is, and another try."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from perdure.cli import documents, screen
from perdure.cli.commands import command
from perdure.cli.target import Target
from perdure.errors import InvalidArgument
from perdure.history.lifecycle import LifecycleEvent, read

GIVEN_UP = 1
"""What `status` ends with if events were given up."""


async def follow(
    *,
    target: Target,
    type: Annotated[list[str] | None, typer.Option("--type", help="Such as failed; may be repeated.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of this workflow.")] = None,
    instance: Annotated[str | None, typer.Option("--instance", metavar="ID", help="Of this instance.")] = None,
    after: Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="From behind this event on.")] = None,
    all: Annotated[bool, typer.Option("--all", help="First what is kept of the past.")] = False,
    until_now: Annotated[bool, typer.Option("--until-now", help="End with the newest; do not wait for more.")] = False,
) -> int:
    """Print what happens to instances, as it happens; the app writes it with lifecycle=True or a webhook."""
    if all and after is not None:
        raise InvalidArgument("--all and --after exclude each other")
    async with target.client() as client:
        start = "" if all else after
        async for one in client.lifecycle(after=start, type=type, name=name, instance=instance, follow=not until_now):
            if target.json:
                documents.write({"cursor": one.cursor, **msgspec.to_builtins(one.event)})
            else:
                print(screen.clean(_line(one.event)), flush=True)
    return 0


async def status(*, target: Target) -> int:
    """How many events wait to be told, and which were given up; 1 if any were."""
    async with target.client() as client:
        state = await client.feed()
    if target.json:
        documents.write(msgspec.to_builtins(state))
    else:
        more = "or more " if state.is_more else ""
        print(f"{state.pending} {more}events wait to be told, {len(state.given_up)} were given up.")
        for stored, why in state.given_up:
            print(screen.clean(f"  {_line(read(stored))}: {why}"))
    return GIVEN_UP if state.given_up else 0


async def retry(*, target: Target) -> int:
    """Tell the events again that were given up."""
    async with target.client() as client:
        count = await client.tell_again()
    if target.json:
        documents.write({"again": count})
    else:
        print(f"{count} events are told again.")
    return 0


def _line(event: LifecycleEvent) -> str:
    more = event.data.get("reason") or event.data.get("failure", {}).get("type") or ""
    return f"{event.time}  {event.kind:<10} {event.data.get('name')} {event.subject} {more}".rstrip()


feeds = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for _function in (follow, status, retry):
    feeds.command(_function.__name__)(command(_function))
