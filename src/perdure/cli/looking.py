"""Commands that look: list, show, history, explain, and the filters by which instances are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from perdure.app import Client
from perdure.cli import documents, live, screen
from perdure.cli.target import Target
from perdure.cli.values import instant, pairs
from perdure.errors import InstanceFinished, InvalidArgument, NotSupportedByServer
from perdure.history.state import CauseGroup, Explanation
from perdure.sdk.client import SURVEY_LIMIT
from perdure.sdk.snapshot import State
from perdure.stores.contract import FINISHED, Status

InstanceArgument = Annotated[str, typer.Argument(metavar="ID", help="The instance.")]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Go on showing what changes.")]
WATCH_SECONDS_MIN = 0.05


@dataclass(frozen=True)
class Filters:
    """The options that choose instances; all must fit."""

    name: Annotated[str | None, typer.Option("--name", help="Of this workflow.")] = None
    status: Annotated[
        list[str] | None, typer.Option("--status", help="In this status; may be given several times.")
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="With this tag; several must all fit."),
    ] = None
    parent: Annotated[str | None, typer.Option("--parent", metavar="ID", help="Children of this instance.")] = None
    text: Annotated[str | None, typer.Option("--text", help="With this text in id or name.")] = None
    created_after: Annotated[
        str | None,
        typer.Option("--created-after", metavar="TIME", help="ISO 8601, or -2h for two hours ago."),
    ] = None
    created_before: Annotated[str | None, typer.Option("--created-before", metavar="TIME")] = None
    finished_after: Annotated[str | None, typer.Option("--finished-after", metavar="TIME")] = None
    finished_before: Annotated[str | None, typer.Option("--finished-before", metavar="TIME")] = None
    suspended: Annotated[bool | None, typer.Option("--suspended/--not-suspended")] = None
    stalled: Annotated[bool | None, typer.Option("--stalled/--not-stalled")] = None

    def given(self) -> dict[str, Any]:
        """The conditions as `Client.list` takes them, without those that were not given."""
        now = datetime.now(UTC)
        times = ("created_after", "created_before", "finished_after", "finished_before")
        filters: dict[str, Any] = {
            "name": self.name,
            "status": self.status or None,
            "tags": pairs(self.tag, "--tag") if self.tag else None,
            "parent": self.parent,
            "text": self.text,
            "suspended": self.suspended,
            "stalled": self.stalled,
        }
        for name in times:
            text = getattr(self, name)
            filters[name] = instant(text, f"--{name.replace('_', '-')}", now) if text is not None else None
        return {name: value for name, value in filters.items() if value is not None}


async def find(client: Client, filters: dict[str, Any], limit: int | None = None) -> list[State]:
    """The instances that the filters choose, newest first."""
    return [state async for state in client.list(**filters, limit=limit)]


async def list_(
    filters: Filters,
    target: Target,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many, newest first; 0 for all.")] = 100,
    watch: WatchOption = False,
    interval: Annotated[
        float, typer.Option("--interval", min=WATCH_SECONDS_MIN, help="Seconds between two looks of --watch.")
    ] = 0.5,
) -> int:
    """Instances, newest first."""
    given = filters.given()
    async with target.client() as client:
        if watch:
            await live.watch_list(lambda: find(client, given, limit or None), as_json=target.json, interval=interval)
            return 0
        states = await find(client, given, limit or None)
    if target.json:
        for state in states:
            documents.write(documents.summary(state))
        return 0
    if states:
        screen.console().print(screen.instances(states, datetime.now(UTC)))
    else:
        screen.say("No instance fits.")
    if limit and len(states) == limit:
        screen.say(f"These are the newest {limit}; --limit 0 shows all.")
    return 0


async def show(id: InstanceArgument, target: Target, watch: WatchOption = False) -> int:
    """One instance: status, input, output, failure, what it waits for."""
    async with target.client() as client:
        handle = client.get(id)
        if watch:
            return exit_code(await live.watch_instance(handle, as_json=target.json))
        state = await handle.state()
        told = await handle.explain() if state.status not in FINISHED else None
    if target.json:
        documents.write(documents.instance(state))
    else:
        screen.console().print(screen.instance(state, told, datetime.now(UTC)))
    return 0


async def history(id: InstanceArgument, target: Target) -> int:
    """The events of an instance's current run, oldest first."""
    async with target.client() as client:
        index, events = 0, []
        async for event in client.get(id).history():
            index += 1
            document = documents.event(event, index)
            if target.json:
                documents.write(document)
            else:
                events.append(document)
    if not target.json:
        screen.console().print(screen.history(events))
    return 0


async def explain(
    *,
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The instance.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All unfinished instances, by cause, instead of an id.")] = False,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Messages of this topic that are not done, instead of an id.")
    ] = None,
    filters: Filters,
    target: Target,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="With --all, look at so many, newest first.")
    ] = SURVEY_LIMIT,
) -> int:
    """Why an instance is not finished, since when, what happens next, and the command that moves it."""
    given = filters.given()
    if (id is not None) + all_ + (topic is not None) != 1:
        raise InvalidArgument("explain takes either an id, or --topic with a name, or --all with filters")
    if given and not all_:
        raise InvalidArgument("explain takes filters only with --all")
    async with target.client() as client:
        if topic is not None:
            return await _explain_topic(client, topic, target)
        if id is None:
            return await _explain_all(client, given, limit, target)
        told = await client.get(id).explain()
    _tell(told, target)
    return 0


def _tell(told: Explanation, target: Target) -> None:
    if target.json:
        documents.write(documents.explanation(told, target.command))
        return
    for line in screen.explanation(told, target.command, datetime.now(UTC)):
        print(line)


async def _explain_topic(client: Client, topic: str, target: Target) -> int:
    found = await client.explain_topics(topic)
    for told in found:
        _tell(told, target)
    if not found and not target.json:
        screen.say(f"Nothing is left of the topic {topic}.")
    return 0


async def _explain_all(client: Client, given: dict[str, Any], limit: int, target: Target) -> int:
    told = await client.explain_all(**given, limit=limit)
    groups = [*([] if given else await _stuck_topics(client)), *told.groups]
    now = datetime.now(UTC)
    if target.json:
        for group in groups:
            documents.write(documents.cause(group, target.command))
        return 0
    for group in groups:
        print("\n".join(screen.cause(group, target.command, now)))
    if not told.groups:
        screen.say("No instance that fits is unfinished.")
    if told.cursor is not None:
        screen.say(f"These are the newest {told.looked:,}; --limit and filters choose others.")
    return 0


async def _stuck_topics(client: Client) -> list[CauseGroup]:
    """The groups of topics with which something is wrong; none where the client's server knows no topics."""
    try:
        found = await client.explain_topics()
    except NotSupportedByServer:
        return []
    wrong = [told for told in found if not told.is_normal]
    return [CauseGroup(cause=told.cause, count=1, example=told, oldest=told.since) for told in wrong]


def exit_code(state: State) -> int:
    """Of a finished instance: 0 if it completed, 1 if not."""
    return 0 if state.status == Status.COMPLETED else 1


def require_unfinished(state: State) -> None:
    """Raise InstanceFinished for a command that a finished instance would ignore."""
    if state.status in FINISHED:
        raise InstanceFinished(f"instance {state.id!r} is {state.status.value} and takes no more commands", state.id)
