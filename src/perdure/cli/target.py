"""Which store and app a command is for, and the client for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from perdure.app import App, Client, open_store
from perdure.cli.modules import named
from perdure.codec import Codec
from perdure.errors import InvalidArgument, StoreNotUsable

StoreOption = Annotated[
    str | None, typer.Option("--store", envvar="PERDURE_STORE", metavar="URL", help="sqlite:///FILE")
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        envvar="PERDURE_CODEC",
        metavar="MODULE:NAME",
        help="The Codec of the app, or the App: to read and write what is packed.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


@dataclass(frozen=True)
class Target:
    """The options by which a command finds what it works on, and says in which form it answers."""

    store: StoreOption = None
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="Which app, if the store holds several.")] = (
        None
    )
    codec: CodecOption = None
    json: JsonOption = False

    @asynccontextmanager
    async def client(self, *, caretaker: bool = False, creates: bool = False) -> AsyncIterator[Client]:
        """A client of the app. Only who `creates` may name a store or an app that does not exist yet.

        A `caretaker` lets commands that need no worker take effect without one.
        """
        codec = load_codec(self.codec) if self.codec else None
        store = open_store(self.address(creates=creates))
        await store.open()
        try:
            if not creates and self.app is not None and self.app not in (apps := await store.apps()):
                there = ", ".join(apps) or "none"
                raise InvalidArgument(f"the store holds no app {self.app!r}; there are: {there}")
            async with Client(store, app_id=self.app, caretaker=caretaker, codec=codec) as client:
                yield client
        finally:
            await store.close()

    def address(self, *, creates: bool = False) -> str:
        """The store's address. Raises InvalidArgument and StoreNotUsable."""
        if not self.store:
            raise InvalidArgument("no store is named; give --store sqlite:///FILE, or set PERDURE_STORE")
        parts = urlsplit(self.store)
        file = Path(unquote(parts.path[1:]))
        # because a mistyped name should not leave an empty store behind
        if not creates and parts.scheme == "sqlite" and parts.path[1:] and not file.exists():
            raise StoreNotUsable(f"there is no store at {file}; check the address, or start a worker on it")
        return self.store


def load_codec(address: str) -> Codec | None:
    """The codec at `module:attribute`, or that of the App there. Raises InvalidArgument."""
    _, found = named(address, "MODULE:NAME of a Codec or App")
    if isinstance(found, App):
        return found.codec
    if isinstance(found, Codec):
        return found
    what = "nothing" if found is None else f"a {type(found).__name__}"
    raise InvalidArgument(f"{address!r} is {what}; --codec names a Codec, or an App that has one")
