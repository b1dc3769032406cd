"""The file of targets: stores and servers by a name of their own, each with what may be done there."""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from perdure.errors import InvalidArgument
from perdure.sdk.role import Role, role_named

TARGETS_VARIABLE = "PERDURE_TARGETS"
FILE_BYTES_MAX = 1_000_000
"""Bound of the file, so that a wrong path is told and not read."""


class NamedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a store or of a server, which app is meant, and what may be done there. `is_kept`: in the file."""

    name: str
    store: str | None = None
    server: str | None = None
    app: str | None = None
    role: Role = Role.ADMIN
    is_kept: bool = False

    @property
    def words(self) -> str:
        """The option by which a command finds it again; a password is left out."""
        if self.is_kept:
            return option_of(self.name)
        return f"{'--server' if self.store is None else '--store'} {shlex.quote(self.address)}"

    @property
    def address(self) -> str:
        """For people to read, without a password."""
        return without_password(self.url)

    @property
    def url(self) -> str:
        """The address as an App or Client takes it."""
        if self.store is not None:
            return self.store
        return server_url(self.server or "")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    store: str | None = None
    server: str | None = None
    app: str | None = None
    role: str = "admin"


def targets_file(environment: Mapping[str, str]) -> Path:
    """Where the targets stand: $PERDURE_TARGETS, else perdure/targets.toml in the folder of the user's settings."""
    if given := environment.get(TARGETS_VARIABLE):
        return Path(given)
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/") / ".config"
    return Path(home) / "perdure" / "targets.toml"


def read_targets(environment: Mapping[str, str] | None = None) -> dict[str, NamedTarget]:
    """The targets by name, in the order of the file; none if there is no file. Raises InvalidArgument."""
    file = targets_file(os.environ if environment is None else environment)
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidArgument(f"the file of targets {str(file)!r} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidArgument(f"the file of targets {str(file)!r} is larger than {FILE_BYTES_MAX:,} bytes")
    return parse_targets(data, str(file))


def parse_targets(data: bytes, file: str) -> dict[str, NamedTarget]:
    """What the bytes of the file say. Raises InvalidArgument. Pure."""
    try:
        sections = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"the file of targets {file!r} is no TOML: {error}") from error
    return {name: _target(name, section, file) for name, section in sections.items()}


def find_target(name: str, environment: Mapping[str, str] | None = None) -> NamedTarget:
    """Raises InvalidArgument if the file has no such target."""
    found = read_targets(environment)
    if name not in found:
        file = targets_file(os.environ if environment is None else environment)
        there = f"there are {', '.join(found)}" if found else "it has none"
        raise InvalidArgument(f"no target {name[:60]!r} in {str(file)!r}; {there}")
    return found[name]


def server_url(server: str) -> str:
    """The address of a server as an App or Client takes it."""
    return server if "://" in server else f"grpc://{server}"


def without_password(url: str) -> str:
    """An address without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{name}@{host}" if name else host))


def option_of(name: str) -> str:
    """The option by which a command finds the target again."""
    return f"--target {shlex.quote(name)}"


def _target(name: str, section: object, file: str) -> NamedTarget:
    where = f"target [{name[:60]}] of {file!r}"
    try:
        entry = msgspec.convert(section, _Entry)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{where}: {error}; it takes store or server, app and role") from error
    if (entry.store is None) == (entry.server is None):
        raise InvalidArgument(f"{where} has to name either a store or a server")
    if entry.store is not None and "://" not in entry.store:
        raise InvalidArgument(
            f"{where}: store {without_password(entry.store)[:60]!r} is no address, such as sqlite:///shop.db"
        )
    return NamedTarget(
        name=name, store=entry.store, server=entry.server, app=entry.app, role=role_named(entry.role), is_kept=True
    )
