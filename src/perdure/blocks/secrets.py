"""Secret stores: secrets by name, each with one or several values, out of the environment or a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from perdure.errors import InvalidArgument

FILE_BYTES_MAX = 1_000_000
"""Of a file of secrets."""
DEPTH_MAX = 32
"""How deep the secrets of a file may be nested."""
WITHHELD = "APP_API_TOKEN"
WITHHELD_PREFIX = "DAPR_"
"""Variables that no program is shown as secrets, because they are those of the server itself."""


class Secrets(Protocol):
    """A store of secrets. A secret is a mapping; where it has one value alone, its only key is the secret's name."""

    def get(self, name: str) -> Mapping[str, str] | None:
        """One secret, None if there is none of that name."""
        ...

    def all(self) -> Mapping[str, Mapping[str, str]]:
        """Every secret by its name."""
        ...


class EnvironmentSecrets:
    """The variables of the environment whose name begins with `prefix`, which is left out of the secrets' names."""

    def __init__(self, environment: Mapping[str, str], prefix: str = "") -> None:
        self._environment = environment
        self._prefix = prefix

    def get(self, name: str) -> Mapping[str, str] | None:
        variable = self._prefix + name
        if is_withheld(variable) or variable not in self._environment:
            return None
        return {name: self._environment[variable]}

    def all(self) -> Mapping[str, Mapping[str, str]]:
        names = (one.removeprefix(self._prefix) for one in self._environment if one.startswith(self._prefix))
        found = {name: self.get(name) for name in names if name}
        return {name: secret for name, secret in found.items() if secret is not None}


class FileSecrets:
    """The secrets of a JSON file. Those of mappings inside it are called by the names on the way to them."""

    def __init__(self, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._secrets = secrets

    def get(self, name: str) -> Mapping[str, str] | None:
        return self._secrets.get(name)

    def all(self) -> Mapping[str, Mapping[str, str]]:
        return self._secrets


def is_withheld(variable: str) -> bool:
    """Whether a variable is one of the server's own."""
    return variable.upper() == WITHHELD or variable.upper().startswith(WITHHELD_PREFIX)


def read_secrets(path: Path, *, separator: str = ":", is_multi_valued: bool = False) -> FileSecrets:
    """The secrets of a file: {"redis": {"password": "x"}} has one that is called `redis:password`.

    If it is multi-valued, `redis` is one secret instead, whose key `password` has a value. Raises InvalidArgument.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidArgument(f"the secrets in {path} cannot be read: {error.strerror or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise InvalidArgument(f"{path} has more than {FILE_BYTES_MAX:,} bytes; is it a file of secrets?")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no JSON: {type(error).__name__}") from None  # because it might show a secret
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} holds no JSON object; write names and secrets into one")
    if is_multi_valued:
        return FileSecrets({name: _several(name, value, separator, path) for name, value in found.items()})
    return FileSecrets({name: {name: value} for name, value in _flat(found, separator, path).items()})


def _several(name: str, value: Any, separator: str, path: Path) -> dict[str, str]:
    return _flat(value, separator, path) if isinstance(value, dict | list) else _flat({name: value}, separator, path)


def _flat(value: Any, separator: str, path: Path, name: str = "", depth: int = 0) -> dict[str, str]:
    if depth > DEPTH_MAX:
        raise InvalidArgument(f"{path} nests secrets deeper than {DEPTH_MAX} times")
    if not isinstance(value, dict | list):
        text = value if isinstance(value, str) else json.dumps(value)
        return {name: text}
    parts = value.items() if isinstance(value, dict) else ((str(at), one) for at, one in enumerate(value))
    flat: dict[str, str] = {}
    for key, inner in parts:
        flat |= _flat(inner, separator, path, f"{name}{separator}{key}" if name else key, depth + 1)
    return flat
