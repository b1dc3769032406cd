"""Which store and app a command is for, and the client for them."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from perdure.app import App, Client, open_store
from perdure.cli.modules import named
from perdure.cli.targets import find_target, server_url, targets_file
from perdure.codec import Codec
from perdure.engine.auditing import acting
from perdure.engine.diagnosis.words import command as command_line
from perdure.errors import InvalidArgument, NotPermitted, StoreNotUsable
from perdure.history.audit_log import Principal
from perdure.history.state import Explanation
from perdure.sdk.role import Role

STORE_VARIABLE, SERVER_VARIABLE, CODEC_VARIABLE = "PERDURE_STORE", "PERDURE_SERVER", "PERDURE_CODEC"
TARGET_VARIABLE = "PERDURE_TARGET"
_WITHOUT_CODEC = ("worker",)
"""Commands that have their codec from the app."""
_WITHOUT_TARGET = ("worker",)
"""Commands that are told a store or server itself."""
StoreOption = Annotated[
    str | None, typer.Option("--store", envvar=STORE_VARIABLE, metavar="URL", help="sqlite:///FILE")
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar=SERVER_VARIABLE,
        metavar="HOST:PORT",
        help="In place of a store; grpcs:// for TLS.",
    ),
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        envvar=CODEC_VARIABLE,
        metavar="MODULE:NAME",
        help="The Codec of the app, or the App: to read and write what is packed.",
    ),
]
AUDIT_VARIABLE = "PERDURE_AUDIT"
"""With "off" commands that work on a store enter nothing in its audit log."""
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        envvar=TARGET_VARIABLE,
        metavar="NAME",
        help="A store or server by its name in the file of targets; goes before --store and --server.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


@dataclass(frozen=True)
class Target:
    """The options by which a command finds what it works on, and says in which form it answers."""

    store: StoreOption = None
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="Which app, if there are several.")] = None
    codec: CodecOption = None
    json: JsonOption = False
    server: ServerOption = None
    target: TargetOption = None

    def again(self, verb: str, *arguments: str, **options: str) -> str:
        """A command for the same place, as a shell takes it."""
        words = self._words(with_codec=True)
        words += ["--app", self.app] if self.app is not None else []
        words += [word for name, value in options.items() for word in (f"--{name}", value)]
        return command_line(("perdure", verb), words, arguments)

    def _words(self, *, with_codec: bool) -> list[str]:
        """What the environment says already is left out: it may be a secret, and says it again."""
        words = []
        if self.target is not None:
            if self.target != os.environ.get(TARGET_VARIABLE):
                words += ["--target", self.target]
        elif self.server is not None:
            if self.server != os.environ.get(SERVER_VARIABLE):
                words += ["--server", self.server]
        elif self.store is not None and self.store != os.environ.get(STORE_VARIABLE):
            words += ["--store", self.store]
        if with_codec and self.codec is not None and self.codec != os.environ.get(CODEC_VARIABLE):
            words += ["--codec", self.codec]
        return words

    def command(self, told: Explanation) -> str | None:
        """The command of an explanation with the options that lead to the same place again."""
        program = told.command.split(" ")[1] if told.command is not None else ""
        place = self._named(Role.READ) if self.target is not None and program in _WITHOUT_TARGET else self
        words = place._words(with_codec=program not in _WITHOUT_CODEC)
        return told.command_on(" ".join(map(shlex.quote, words)), place.app)

    @asynccontextmanager
    async def client(
        self, *, needs: Role = Role.READ, caretaker: bool = False, creates: bool = False, read_only: bool = False
    ) -> AsyncIterator[Client]:
        """A client of the app. Only who `creates` may name a store or an app that does not exist yet.

        A `caretaker` lets commands that need no worker take effect without one; through one that is `read_only` nothing
        can be written. Raises NotPermitted where the file of
        targets gives less than `needs`.
        """
        if self.target is not None:
            named = self._named(needs)
            async with named.client(caretaker=caretaker, creates=creates, read_only=read_only) as client:
                yield client
            return
        codec = load_codec(self.codec) if self.codec else None
        audit = is_audited()
        acting.set(cli_principal())
        if self.server is not None:
            async with Client(server_url(self.server), app_id=self.app, codec=codec) as client:
                yield client
            return
        store = open_store(self.address(creates=creates), read_only=read_only)
        await store.open()
        try:
            if not creates and self.app is not None and self.app not in (apps := await store.apps()):
                there = ", ".join(apps) or "none"
                raise InvalidArgument(f"the store holds no app {self.app!r}; there are: {there}")
            async with Client(store, app_id=self.app, caretaker=caretaker, codec=codec, audit=audit) as client:
                yield client
        finally:
            await store.close()

    def _named(self, needs: Role) -> Target:
        """What the file of targets says of the one that is named."""
        assert self.target is not None, "a target is named"
        found = find_target(self.target)
        if found.role < needs:
            raise NotPermitted(
                f"target {found.name!r} is for role {found.role.word}, and this needs {needs.word}; "
                f"{str(targets_file(os.environ))!r} says so"
            )
        return replace(self, store=found.store, server=found.server, app=self.app or found.app, target=None)

    def address(self, *, creates: bool = False) -> str:
        """The store's address. Raises InvalidArgument, NotPermitted and StoreNotUsable."""
        if self.target is not None:
            return self._named(Role.READ).address(creates=creates)
        if self.server is not None:
            raise InvalidArgument("this command reads a store itself, and no server has it at hand; give --store")
        if not self.store:
            raise InvalidArgument(
                "no store is named; give --store sqlite:///FILE or --server HOST:PORT, or set PERDURE_STORE"
            )
        parts = urlsplit(self.store)
        file = Path(unquote(parts.path[1:]))
        # because a mistyped name should not leave an empty store behind
        if not creates and parts.scheme == "sqlite" and parts.path[1:] and not file.exists():
            raise StoreNotUsable(f"there is no store at {file}; check the address, or start a worker on it")
        return self.store


def is_audited() -> bool:
    """Whether what commands do to a store is entered in its audit log."""
    return os.environ.get(AUDIT_VARIABLE, "on") != "off"


def cli_principal() -> Principal:
    """Who runs this command, and on which machine."""
    return Principal(kind="cli", name=_user(), place=socket.gethostname())


def _user() -> str:
    """Who runs this process, by the operating system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"  # because a container's user may have no name


def load_codec(address: str) -> Codec | None:
    """The codec at `module:attribute`, or that of the App there. Raises InvalidArgument."""
    _, found = named(address, "MODULE:NAME of a Codec or App")
    if isinstance(found, App):
        return found.codec
    if isinstance(found, Codec):
        return found
    what = "nothing" if found is None else f"a {type(found).__name__}"
    raise InvalidArgument(f"{address!r} is {what}; --codec names a Codec, or an App that has one")
