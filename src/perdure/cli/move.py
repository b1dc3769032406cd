"""The command `move`: an app's instances go from one store to another."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import unquote, urlsplit

import msgspec
import typer

from perdure.app import open_store
from perdure.cli import documents, screen
from perdure.cli.target import JsonOption, Target, cli_principal, is_audited
from perdure.cli.targets import without_password
from perdure.clock import SystemClock
from perdure.engine.auditing import Audit
from perdure.errors import InvalidArgument
from perdure.history.topics import SHARED_APP
from perdure.stores.contract import Movable
from perdure.stores.moving import End, MovableStore, Moved, check_app, plan
from perdure.stores.moving import abort as take_back
from perdure.stores.moving import move as move_

CONFLICTED = 1
"""What a dry run ends with if the move could not go through."""


async def move(
    *,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The store that has the instances.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The store that gets them; it need not exist.")],
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="Which app, if there are several.")] = None,
    finished: Annotated[bool, typer.Option("--all", help="Move finished instances too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be moved; change nothing.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Take a move back that was not finished.")] = False,
    json: JsonOption = False,
) -> int:
    """Move an app's instances into another store. No process may run the app; after a kill, run it again to go on."""
    if dry_run and abort:
        raise InvalidArgument("--dry-run and --abort exclude each other")
    async with _end(source, is_there=True) as away:
        chosen = app or _only(await away.store.apps())
        if dry_run:
            return await _plan(away, target, chosen, finished=finished, json=json)
        await check_app(away, chosen)  # before it is entered in a log of an app that is not there
        async with _end(target, is_there=abort) as there:
            if abort:
                async with _entered(away, there, chosen, "move.abort"):
                    count = await take_back(away, there, chosen)
                _tell(
                    {"app": chosen, "taken_back": count}, f"Taken back: {count} instances; {chosen} may run here.", json
                )
                return 0
            now, token = SystemClock().now(), secrets.token_hex(8)
            async with _entered(away, there, chosen, "move"):
                done = await move_(away, there, chosen, finished=finished, token=token, now=now, tell=screen.say)
    _tell({"app": chosen, **msgspec.to_builtins(done)}, _sentence(done, chosen, there.name), json)
    return 0


async def _plan(away: End, target: str, app: str, *, finished: bool, json: bool) -> int:
    file = _file(target)
    if file is not None and not file.exists():
        done = await plan(away, None, app, finished=finished)
    else:
        async with _end(target, is_there=True) as there:
            done = await plan(away, there, app, finished=finished)
    text = f"Would move {done.instances} instances of {app} ({done.finished} finished) and leave {done.left}."
    if done.conflicts:
        text += (
            f" The target has other instances under {len(done.conflicts)} of their ids: {', '.join(done.conflicts)}."
        )
    _tell({"app": app, **msgspec.to_builtins(done)}, text, json)
    return CONFLICTED if done.conflicts else 0


def _sentence(done: Moved, app: str, target: str) -> str:
    if done.was_sealed:
        return f"The instances of {app} were {target}'s already; it may run there now."
    text = f"Moved {done.instances} instances of {app} to {target}; {done.left} finished ones stay."
    if done.claims_dropped:
        text += (
            f" {done.claims_dropped} deduplication keys could not be kept, because that store has other shards: a "
            "start under one of them makes a new instance."
        )
    return text


@asynccontextmanager
async def _entered(away: End, there: End, app: str, name: str) -> AsyncIterator[None]:
    """Around what changes both stores, which is entered in the audit logs of both before it begins."""
    async with AsyncExitStack() as stack:
        for end in (away, there):
            audit = await _audit(end, app)
            stack.push_async_callback(audit.stop)
            await stack.enter_async_context(audit.action(name, "", source=away.name, target=there.name))
        yield


async def _audit(end: End, app: str) -> Audit:
    first = (await end.store.shards(app))[0]  # because a move is about no instance
    return Audit(app, end.store, SystemClock(), lambda _: first, cli_principal() if is_audited() else None)


@asynccontextmanager
async def _end(url: str, *, is_there: bool) -> AsyncIterator[End]:
    store = open_store(Target(store=url).address(creates=not is_there))
    if not isinstance(store, Movable):
        raise InvalidArgument(f"an app cannot be moved to or from the store {url.split(':', 1)[0]}")
    await store.open()
    try:
        yield End(cast(MovableStore, store), named(url))
    finally:
        await store.close()


def named(url: str) -> str:
    """What a store is called, the same from every folder, and without a password."""
    file = _file(url)
    if file is not None:
        return f"sqlite:///{os.path.abspath(file)}"
    return urlsplit(without_password(url))._replace(query="").geturl()


def _file(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None


def _only(found: list[str]) -> str:
    apps = [app for app in found if app != SHARED_APP]
    if len(apps) != 1:
        raise InvalidArgument(f"the store holds {len(apps)} apps ({', '.join(apps) or 'none'}); name one with --app")
    return apps[0]


def _tell(document: dict[str, object], text: str, json: bool) -> None:
    if json:
        documents.write(document)
    else:
        print(screen.clean(text))
