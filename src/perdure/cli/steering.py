"""Commands that steer instances, one by one or all that filters choose: raise, cancel, suspend, purge ..."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from perdure.app import Client
from perdure.cli import documents, screen
from perdure.cli.looking import Filters, InstanceArgument, find, require_unfinished
from perdure.cli.target import Target
from perdure.cli.values import json_value
from perdure.errors import InvalidArgument
from perdure.sdk.client import SWEEP_DAYS
from perdure.sdk.handle import Handle
from perdure.sdk.role import Role
from perdure.stores.contract import FINISHED, Status

EFFECT_SECONDS = 10.0
"""How long `terminate` waits to see the end that it has durably asked for."""

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The instances.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Kept in the history.")]
RecursiveOption = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Children too.")]


@dataclass(frozen=True)
class Selection:
    """Instead of ids: all that the filters choose."""

    all: Annotated[bool, typer.Option("--all", help="All that the filters choose, instead of ids.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --all.")] = False


@dataclass(frozen=True)
class Steering:
    """One command: how it is done to one instance and to many, and how that is told."""

    name: str
    done: str
    one: Callable[[Handle[Any]], Awaitable[Any]]
    many: Callable[[Client, dict[str, Any]], Awaitable[int]]
    for_finished: bool = False
    needs: Role = Role.OPERATE


async def raise_(
    id: InstanceArgument,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its name.")],
    target: Target,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="What it brings, as JSON.")] = None,
) -> int:
    """Send an external event to an instance."""
    value = json_value(data, "DATA") if data is not None else None
    async with target.client(needs=Role.OPERATE) as client:
        handle = client.get(id)
        require_unfinished(await handle.state())
        await handle.raise_event(event, value)
        return await _report(client, handle, "raise", f"event {event!r} sent", target)


def _with_reason(
    name: str, told: str, one: Callable[..., Awaitable[Any]], many: Callable[..., Awaitable[int]]
) -> Callable[..., Coroutine[Any, Any, int]]:
    """A command that takes a reason; `told` is its help."""

    async def command(
        *,
        ids: IdsArgument = None,
        selection: Selection,
        filters: Filters,
        target: Target,
        reason: ReasonOption = "",
    ) -> int:
        steering = Steering(
            name,
            f"asked to {name}",
            lambda handle: one(handle, reason),
            lambda client, given: many(client, reason, **given),
        )
        return await _steer(steering, ids, selection, filters, target)

    command.__name__, command.__doc__ = name, told
    return command


cancel = _with_reason(
    "cancel",
    "Deliver CancelledError to workflows, so that their compensations run.",
    Handle.cancel,
    Client.cancel_all,
)
suspend = _with_reason(
    "suspend",
    "Hold the code of workflows until `resume`; events and results are kept.",
    Handle.suspend,
    Client.suspend_all,
)


async def resume(
    *,
    ids: IdsArgument = None,
    selection: Selection,
    filters: Filters,
    target: Target,
    reason: ReasonOption = "",
    now: Annotated[bool, typer.Option("--now", help="Also try failed activities again at once.")] = False,
) -> int:
    """Let suspended workflows go on, and try stalled ones again."""
    steering = Steering(
        "resume",
        "asked to resume",
        lambda handle: handle.resume(reason, now=now),
        lambda client, given: client.resume_all(reason, now=now, **given),
    )
    return await _steer(steering, ids, selection, filters, target)


async def terminate(
    *,
    ids: IdsArgument = None,
    selection: Selection,
    filters: Filters,
    target: Target,
    output: Annotated[str | None, typer.Option("--output", metavar="JSON", help="What they leave.")] = None,
    recursive: RecursiveOption = True,
) -> int:
    """End instances at once; no code of theirs runs any more."""
    value = json_value(output, "--output") if output is not None else None
    steering = Steering(
        "terminate",
        "terminated",
        lambda handle: handle.terminate(value, recursive),
        lambda client, given: client.terminate_all(value, recursive, **given),
        needs=Role.ADMIN,
    )
    return await _steer(steering, ids, selection, filters, target)


async def purge(
    *,
    ids: IdsArgument = None,
    selection: Selection,
    filters: Filters,
    target: Target,
    recursive: RecursiveOption = True,
) -> int:
    """Delete finished instances with their histories."""
    steering = Steering(
        "purge",
        "purged",
        lambda handle: handle.purge(recursive),
        lambda client, given: client.purge_all(recursive, **given),
        for_finished=True,
        needs=Role.ADMIN,
    )
    return await _steer(steering, ids, selection, filters, target)


async def sweep(
    *,
    target: Target,
    days: Annotated[int, typer.Option("--days", min=SWEEP_DAYS, help="Leave what is younger.")] = SWEEP_DAYS,
) -> int:
    """Delete offloaded payloads that nothing in the store refers to any more; needs --codec."""
    async with target.client(needs=Role.ADMIN) as client:
        count = await client.sweep(days=days)
    _tell(target, {"command": "sweep", "count": count}, f"{count:,} offloaded payloads deleted")
    return 0


async def _steer(
    steering: Steering, ids: list[str] | None, selection: Selection, filters: Filters, target: Target
) -> int:
    given = filters.given()
    if bool(ids) == selection.all:
        raise InvalidArgument(f"{steering.name} takes either ids, or --all with filters")
    if ids and given:
        raise InvalidArgument(f"{steering.name} takes filters only with --all")
    async with target.client(needs=steering.needs, caretaker=steering.name in ("terminate", "suspend")) as client:
        if ids:
            for id in ids:
                await _steer_one(steering, client, id, target)
            return 0
        return await _steer_all(steering, client, given, selection, target)


async def _steer_one(steering: Steering, client: Client, id: str, target: Target) -> None:
    handle = client.get(id)
    if steering.for_finished:
        count = await steering.one(handle)
        _tell(
            target,
            {"id": id, "command": steering.name, "count": count},
            f"{id}: {steering.done}, {_counted(count)}",
        )
        return
    require_unfinished(await handle.state())
    await steering.one(handle)
    done = steering.done
    if steering.name == "terminate" and not await _ended(client, [id]):
        done = "asked to terminate"
    if steering.name == "suspend" and (await handle.state()).suspended is not None:
        done = "suspended"
    await _report(client, handle, steering.name, done, target)


async def _steer_all(
    steering: Steering, client: Client, given: dict[str, Any], selection: Selection, target: Target
) -> int:
    if "status" not in given:
        given["status"] = [status for status in Status if (status in FINISHED) == steering.for_finished]
    ids = [state.id for state in await find(client, given)]
    if ids and not selection.yes:
        _confirm(steering, len(ids))
    count = await steering.many(client, given)
    if steering.name == "terminate":
        await _ended(client, ids)
    _tell(target, {"command": steering.name, "count": count}, f"{_counted(count)} {steering.done}")
    return 0


def _confirm(steering: Steering, count: int) -> None:
    question = f"{steering.name} {_counted(count)}?"
    if not sys.stdin.isatty():
        raise InvalidArgument(f"{question} There is no terminal to ask on; add --yes")
    typer.confirm(question, abort=True, err=True)


async def _ended(client: Client, ids: list[str]) -> bool:
    """Whether all are seen to have finished; the owner may take a moment, or not be there."""
    try:
        async with asyncio.timeout(EFFECT_SECONDS if await client.holder() is not None else 0):
            await asyncio.gather(*(client.gateway.outcome(id, None, None) for id in ids))
    except TimeoutError:
        return False
    return True


async def _report(client: Client, handle: Handle[Any], command: str, done: str, target: Target) -> int:
    state = await handle.state()
    document = {"id": handle.id, "command": command, "status": state.status.value}
    _tell(target, document, f"{handle.id}: {done}")
    waits = state.status not in FINISHED and not (command == "suspend" and state.suspended)
    if waits and (client.is_owner or await client.holder() is None):
        screen.say("No process runs this app: the command is kept until a worker does.")
    return 0


def _tell(target: Target, document: dict[str, Any], sentence: str) -> None:
    if target.json:
        documents.write(document)
    else:
        print(screen.clean(sentence), flush=True)


def _counted(count: int) -> str:
    return "1 instance" if count == 1 else f"{count:,} instances"
