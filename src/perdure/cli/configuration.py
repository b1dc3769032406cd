"""The commands `configuration ...`: the settings that programs read and watch while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import typer

from perdure.blocks.configuration import SPACE, Item, KeptConfiguration
from perdure.cli import documents, screen
from perdure.cli.commands import command
from perdure.cli.target import JsonOption, Target
from perdure.cli.values import pairs
from perdure.stores.values.opening import open_values

NAME = Annotated[str, typer.Argument(metavar="NAME", help="Of the component, such as configstore.")]
KEYS = Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="These alone; else all.")]
STORE = Annotated[str, typer.Option("--store", envvar="PERDURE_STORE", metavar="URL", help="The server's store.")]


async def get(*, name: NAME, store: STORE, keys: KEYS = None, json: JsonOption = False) -> int:
    """Show items, with the version of each."""
    async with _kept(store, name) as kept:
        found = await kept.items(keys or ())
    _show(found, as_json=json)
    return 0


async def set_(
    *,
    name: NAME,
    items: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="All at once.")],
    store: STORE,
) -> int:
    """Give items new values; programs that watch them are told within a second."""
    async with _kept(store, name, creates=True) as kept:
        await kept.change(dict(pairs(items, "an item")))
    return 0


async def delete(
    *, name: NAME, keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="All at once.")], store: STORE
) -> int:
    """Take items away; who watches them is told of an empty value."""
    async with _kept(store, name) as kept:
        await kept.change(dict.fromkeys(keys))
    return 0


@asynccontextmanager
async def _kept(store: str, name: str, *, creates: bool = False) -> AsyncIterator[KeptConfiguration]:
    values = open_values(Target(store=store).address(creates=creates), SPACE)
    await values.open()
    try:
        yield KeptConfiguration(values, name)
    finally:
        await values.close()


def _show(found: dict[str, Item], *, as_json: bool) -> None:
    if as_json:
        documents.write(msgspec.to_builtins(found))
        return
    for key, item in sorted(found.items()):
        print(screen.clean(f"{key}={item.value}  (version {item.version})"))


configurations = typer.Typer(no_args_is_help=True)
for _name, _function in (("get", get), ("set", set_), ("delete", delete)):
    configurations.command(_name)(command(_function))
