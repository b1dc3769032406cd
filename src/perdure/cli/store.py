"""The commands `store ...`: whether a database can hold a store, its layout brought up, and what lies in it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from perdure.app import open_store
from perdure.cli import documents, screen
from perdure.cli.commands import command
from perdure.cli.target import JsonOption, Target
from perdure.clock import to_datetime
from perdure.errors import InvalidArgument
from perdure.stores.contract import FORMAT, Census, EngineStore, Inspected, Member, Movable, ShardState

WRONG = 1
"""What `check` ends with if something is wrong."""
URL = Annotated[str, typer.Argument(envvar="PERDURE_STORE", metavar="URL", help="The store, such as sqlite:///FILE.")]
SHARDS_SHOWN_MAX = 64
"""Shards of an app that have an owner and are shown one by one; `--json` has all."""


async def check(*, url: URL, json: JsonOption = False) -> int:
    """Say what the database is, how durable, and what is wrong with it; nothing is changed."""
    found = await _inspected(url, open_store(Target(store=url).address(), read_only=True)).check()
    if json:
        documents.write(msgspec.to_builtins(found))
    else:
        later = ", which a later version wrote and this one may go on with" if found.format > FORMAT else ""
        layout = f"layout {found.format} of {max(found.format, FORMAT)}{later}" if found.format else "no store yet"
        print(screen.clean(f"{found.product}, {layout}, durability {found.durability}"))
        for name, value in found.settings.items():
            print(screen.clean(f"  {name}: {value}"))
    for sentence in found.wrong:
        screen.say(sentence)
    return WRONG if found.wrong else 0


async def migrate(*, url: URL, json: JsonOption = False) -> int:
    """Bring the layout up to this version, as opening the store does too; others wait meanwhile."""
    address = Target(store=url).address()
    before = await _format(address)
    store = open_store(address)
    await store.open()
    await store.close()
    after = await _format(address)
    if json:
        documents.write({"before": before, "after": after})
    elif before == after:
        print(f"The layout has format {after} already.")
    else:
        print(f"The layout has format {after} now; it had {before or 'none'}.")
    return 0


async def _format(address: str) -> int:
    return (await _inspected(address, open_store(address, read_only=True)).check()).format


async def stats(
    *,
    url: URL,
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="This one alone.")] = None,
    json: JsonOption = False,
) -> int:
    """Count what each app has: instances, open calls, mail, history; who owns its shards, and who lives."""
    store = open_store(Target(store=url).address(), read_only=True)
    inspected = _inspected(url, store)
    await store.open()
    try:
        apps = await store.apps()
        if app is not None and app not in apps:
            raise InvalidArgument(f"the store holds no app {app!r}; there are: {', '.join(apps) or 'none'}")
        size = await inspected.size()
        found = [await _app(store, inspected, one) for one in apps if app in (None, one)]
    finally:
        await store.close()
    if json:
        documents.write({"bytes": size, "apps": [_document(*one) for one in found]})
        return 0
    for one in found:
        _show(*one)
    if size is not None:
        print(f"{size:,} bytes on disk")
    return 0


Found = tuple[str, Census, list[ShardState], list[Member], str | None]


async def _app(store: EngineStore, inspected: Inspected, app: str) -> Found:
    kept = await store.reserved(app) if isinstance(store, Movable) else None
    why = None if kept is None else f"moved to {kept.peer}" if kept.is_sealed else f"{kept.side} of a move: {kept.peer}"
    return (
        app,
        await inspected.census(app),
        await inspected.shard_states(app),
        await store.members(app),
        why,
    )


def _document(app: str, census: Census, shards: list[ShardState], members: list[Member], kept: str | None) -> Any:
    return {
        "app": app,
        **msgspec.to_builtins(census),
        "shards": msgspec.to_builtins(shards),
        "members": msgspec.to_builtins(members),
        "kept": kept,
    }


def _show(app: str, census: Census, shards: list[ShardState], members: list[Member], kept: str | None) -> None:
    lines = [f"{app}: {_listed(census.workflows) or 'no workflows'}"]
    if kept is not None:
        lines.append(f"  kept: {kept}")
    lines.append(
        f"  {census.entities} entities, open calls: {_listed(census.calls) or 'none'}, {census.mail} messages wait, "
        f"{census.segments} rows of history"
    )
    # because who holds a lock tells no beat, and so not how many are busy
    living = (
        one.owner if one.until is None else f"{one.owner} ({one.busy} of {one.slots} slots busy)" for one in members
    )
    lines.append(f"  members: {', '.join(living) or 'none'}")
    owned = [shard for shard in shards if shard.owner is not None]
    lines.append(f"  {len(shards)} shards, {len(shards) - len(owned)} of them without an owner")
    for shard in owned[:SHARDS_SHOWN_MAX]:
        until = "" if shard.until is None else f" until {screen.clock(to_datetime(shard.until))}"
        lines.append(f"  shard {shard.number}: epoch {shard.epoch}, owner {shard.owner}{until}")
    if len(owned) > SHARDS_SHOWN_MAX:
        lines.append(f"  and {len(owned) - SHARDS_SHOWN_MAX} shards more")
    for line in lines:
        print(screen.clean(line))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _inspected(url: str, store: EngineStore) -> Inspected:
    if not isinstance(store, Inspected):
        raise InvalidArgument(f"the store {url.split(':', 1)[0]} does not say how it is")
    return store


stores = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for _name, _function in {"check": check, "migrate": migrate, "stats": stats}.items():
    stores.command(_name)(command(_function))
