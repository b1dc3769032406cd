"""Commands about topics: publish a message, see what stands in them, forget a group."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from perdure.cli import documents, screen
from perdure.cli.target import Target
from perdure.cli.values import json_value, seconds
from perdure.errors import InvalidArgument
from perdure.sdk.role import Role

KeyOption = Annotated[str | None, typer.Option("--key", help="Messages of one key stay in order.")]
MessageIdOption = Annotated[str | None, typer.Option("--id", help="The same id again is the same event.")]
TypeOption = Annotated[str, typer.Option("--type", help="The event's type.")]
TtlOption = Annotated[str | None, typer.Option("--ttl", help="Nobody needs it after that, such as 30s or 5m.")]
ForgetOption = Annotated[str | None, typer.Option("--forget", help="Forget this group of TOPIC, and its place.")]


async def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Where to.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="What, as JSON.")],
    target: Target,
    key: KeyOption = None,
    id: MessageIdOption = None,
    type: TypeOption = "perdure.message",
    ttl: TtlOption = None,
) -> int:
    """Publish a message; it is durable when the command ends."""
    value = json_value(data, "DATA")
    lives = seconds(ttl, "--ttl") if ttl is not None else None
    async with target.client(needs=Role.OPERATE) as client:
        published = await client.publish(topic, value, key=key, id=id, type=type, source="cli", ttl=lives)
    if target.json:
        documents.write({"topic": topic, "id": published})
    else:
        screen.say(f"published {published} to {topic}")
    return 0


async def topics(
    target: Target,
    topic: Annotated[str | None, typer.Argument(metavar="[TOPIC]", help="Only this one.")] = None,
    forget: ForgetOption = None,
) -> int:
    """Topics and their groups: what each has left and since when; no worker needs to be up."""
    if forget is not None and topic is None:
        raise InvalidArgument("--forget names a group; name its topic too: perdure topics TOPIC --forget GROUP")
    needs = Role.ADMIN if forget is not None else Role.READ
    async with target.client(needs=needs) as client:
        if forget is not None and topic is not None:
            await client.forget_group(topic, forget)
        states = [state for state in await client.topics() if topic in (None, state.name)]
    if target.json:
        for state in states:
            documents.write(msgspec.to_builtins(state))
    elif states:
        screen.console().print(screen.topics(states, datetime.now(UTC)))
    else:
        screen.say("There is no topic." if topic is None else f"There is no topic {topic}.")
    return 0
