"""The secret stores of the apps of a server: what is in its environment, or in a file beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from perdure.blocks.resources import Resources
from perdure.blocks.secrets import Secrets
from perdure.errors import ComponentNotFound


class SecretDesk:
    """Asked by the calls and routes of secrets. A file is read once, as Dapr reads it."""

    def __init__(self, resources_of: Callable[[str], Resources]) -> None:
        self._resources_of = resources_of
        self._known: dict[tuple[str, str], Secrets] = {}

    def get(self, app: str, store: str, key: str) -> Mapping[str, str] | None:
        """A secret, None if there is none. Raises ComponentNotFound, InvalidArgument; so does the other."""
        return self._store(app, store).get(key)

    def all(self, app: str, store: str) -> Mapping[str, Mapping[str, str]]:
        """Every secret by its name."""
        return self._store(app, store).all()

    def _store(self, app: str, name: str) -> Secrets:
        known = self._known.get((app, name))
        return known if known is not None else self._opened(app, name)

    def _opened(self, app: str, name: str) -> Secrets:
        from perdure.blocks.resources.settings import secrets_of  # because only files of components need YAML

        found = {one.name: one for one in self._resources_of(app).block("secretstores")}
        if name not in found:
            there = ", ".join(sorted(found)) or "none"
            raise ComponentNotFound(f"app {app!r} has no secret store {name[:80]!r}; there are {there}")
        opened = self._known[app, name] = secrets_of(found[name], os.environ)
        return opened

    def __repr__(self) -> str:
        return f"<SecretDesk: {len(self._known)} stores>"
