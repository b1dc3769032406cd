"""Commands that begin an instance: start and rerun, and waiting for its result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from perdure.app import Client
from perdure.cli import documents, live, screen
from perdure.cli.looking import InstanceArgument, exit_code
from perdure.cli.target import Target
from perdure.cli.values import instant, json_value, pairs, seconds
from perdure.sdk.handle import Handle
from perdure.sdk.role import Role
from perdure.sdk.snapshot import State

UNREACHED = 3
"""Exit code when the result did not come within --timeout."""


class IfExists(StrEnum):
    RAISE = "raise"
    RETURN = "return"


@dataclass(frozen=True)
class Waiting:
    """Whether, and for how long, a command waits for the result."""

    wait: Annotated[bool, typer.Option("--wait", help="Show progress, then the result.")] = False
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="Wait so long at most: 90, 5m, 2h.")
    ] = None


async def start(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The workflow.")],
    target: Target,
    waiting: Waiting,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG]...", help="The workflow's arguments, each as JSON.")
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Of the instance; else a fresh one.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Not before then: ISO 8601, or +5m.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="To find it by.")] = None,
    run_timeout: Annotated[
        str | None, typer.Option("--run-timeout", metavar="DURATION", help="Fail it when it takes longer.")
    ] = None,
    if_exists: Annotated[
        IfExists, typer.Option("--if-exists", help="What to do if the id is of an active instance.")
    ] = IfExists.RAISE,
) -> int:
    """Start a workflow; with --wait also wait for its result."""
    values = [json_value(text, f"argument {number}") for number, text in enumerate(arguments or (), 1)]
    options = {
        "id": id,
        "at": instant(at, "--at", datetime.now(UTC)) if at is not None else None,
        "tags": pairs(tag, "--tag") if tag else None,
        "run_timeout": seconds(run_timeout, "--run-timeout") if run_timeout is not None else None,
        "if_exists": if_exists.value,
    }
    async with target.client(needs=Role.OPERATE, creates=True) as client:
        handle = await client.workflow(name).with_options(**options).start(*values)
        return await _begun(client, handle, target, waiting)


async def rerun(
    *,
    id: InstanceArgument,
    target: Target,
    waiting: Waiting,
    from_event: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="NUMBER",
            help="The action (see `history`) from which it runs anew; without it, from before its failure.",
        ),
    ] = None,
    new_id: Annotated[str | None, typer.Option("--id", help="Of the new instance; else a fresh one.")] = None,
    input: Annotated[str | None, typer.Option("--input", metavar="JSON", help="Takes the place of the input.")] = None,
) -> int:
    """Start a new instance that keeps the history of a finished one up to an action."""
    replaced = json_value(input, "--input") if input is not None else msgspec.UNSET
    async with target.client(needs=Role.OPERATE) as client:
        handle = await client.get(id).rerun(from_event, id=new_id, input=replaced)
        return await _begun(client, handle, target, waiting)


async def _begun(client: Client, handle: Handle[Any], target: Target, waiting: Waiting) -> int:
    if await client.holder() is None:
        screen.say("No process runs this app: the instance waits for a worker.")
    if not waiting.wait:
        if target.json:
            documents.write({"id": handle.id, "execution_id": handle.execution_id})
        else:
            print(screen.clean(handle.id))
        return 0
    timeout = seconds(waiting.timeout, "--timeout") if waiting.timeout is not None else None
    try:
        state = await live.follow(handle, as_json=target.json, timeout=timeout)
    except TimeoutError:
        ask = target.again("explain", handle.id)
        screen.say(f"{handle.id} is not finished after {waiting.timeout}; it goes on: {ask}")
        return UNREACHED
    _show_outcome(state, target)
    return exit_code(state)


def _show_outcome(state: State, target: Target) -> None:
    if target.json:
        documents.write(documents.instance(state))
    elif state.failure is None:
        print(json.dumps(state.output, default=str))
    else:
        screen.say("\n".join(screen.causes(state.failure)))
