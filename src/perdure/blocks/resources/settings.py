"""What the metadata of resources means: its names by their type, and its secrets by the stores that were declared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from uuid import uuid4

from perdure.blocks.resources.entry import Entry
from perdure.blocks.resources.records import Component
from perdure.blocks.resources.types import ALIASES, TYPES, Type
from perdure.blocks.resources.words import NAMESPACE, flag_of
from perdure.blocks.secrets import EnvironmentSecrets, Secrets, is_withheld, read_secrets
from perdure.errors import InvalidArgument, UnknownConfiguration

SECRET_STORES = "secretstores."  # noqa: S105 because it is the beginning of a type
POD = "POD_NAME"
"""The variable by which `{podName}` is replaced, as Kubernetes sets it."""


class Settings:
    """The reading of all settings of one set of files. Secret stores are read before what refers to them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.warnings: list[str] = []
        self._environment = environment
        self._stores: dict[str, Secrets] = {}

    def warn(self, entry: Entry, name: str) -> None:
        self.warnings.append(f"{entry.place}: {name} has no effect here")

    # -- components ---------------------------------------------------------------------------------------------

    def component(
        self,
        named: dict[str, Any],
        at: Entry,
        type: str,
        version: str,
        items: list[Entry],
        *,
        secret_store: str | None,
        ignore_errors: bool,
    ) -> Component:
        """A component whose settings are those of its type. A secret store can be referred to from then on."""
        type = ALIASES.get(type, type)
        known = TYPES.get(type)
        if known is None:
            near = ", ".join(get_close_matches(type, TYPES, n=3) or sorted(TYPES))
            raise at.wrong(f"there is no component of the type {type!r}; there are {near}", UnknownConfiguration)
        if version not in known.versions:
            raise at.wrong(f"{type} has no version {version!r}; write {' or '.join(known.versions)}")
        metadata = self._metadata(items, type, known, secret_store)
        for name in known.needs:
            if not metadata.get(name):
                raise at.wrong(f"{type} needs `{name}` in its metadata")
        found = Component(**named, type=type, version=version, metadata=metadata, ignore_errors=ignore_errors)
        if type.startswith(SECRET_STORES):
            self._declare(found, at)
        return found

    def _metadata(self, items: list[Entry], type: str, known: Type, store: str | None) -> dict[str, str]:
        names = {name.lower(): name for name in known.names}
        metadata: dict[str, str] = {}
        for item in items:
            written, value = self._pair(item, store)
            name = names.get(written.lower())
            if name is None:
                listed = ", ".join((*known.needs, *known.takes)) or "none"
                raise item.wrong(f"{type} has no metadata {written!r}; there are {listed}", UnknownConfiguration)
            if name in metadata:
                raise item.wrong(f"metadata {name!r} is there twice")
            if name in known.never and not _says_no(value):
                raise item.wrong(f"{name} cannot be served: {known.never[name]}; leave it out")
            if name in known.idle:
                self.warn(item, name)
            elif name not in known.never:
                metadata[name] = value
        return metadata

    # -- names and values ---------------------------------------------------------------------------------------

    def pairs(self, items: list[Entry], store: str | None) -> dict[str, str]:
        """Texts by names, such as headers, whose values may be secrets or variables."""
        found: dict[str, str] = {}
        for item in items:
            name, value = self._pair(item, store)
            if name in found:
                raise item.wrong(f"{name!r} is there twice")
            found[name] = value
        return found

    def _pair(self, item: Entry, store: str | None) -> tuple[str, str]:
        found = item.fields("an item", ("name", "value", "secretKeyRef", "envRef"))
        if "name" not in found:
            raise item.wrong("the item has no `name`")
        name = found["name"].some_text("name")
        if sum(one in found for one in ("value", "secretKeyRef", "envRef")) > 1:
            raise item.wrong(f"{name} has several values; write one of value, secretKeyRef and envRef")
        if "secretKeyRef" in found:
            return name, self.secret(found["secretKeyRef"], store)
        if "envRef" in found:
            return name, self._variable(found["envRef"])
        return name, self._filled(found["value"].setting(name)) if "value" in found else ""

    def _filled(self, value: str) -> str:
        """The value with what it says in braces, except the app, which is known when it is asked for."""
        for word, meant in (
            ("{uuid}", str(uuid4())),
            ("{namespace}", self._environment.get(NAMESPACE, "")),
            ("{podName}", self._environment.get(POD, "")),
        ):
            value = value.replace(word, meant)
        return value

    def _variable(self, entry: Entry) -> str:
        name = entry.some_text("envRef")
        if is_withheld(name):
            raise entry.wrong(f"variable {name} is the server's own; use one of another name")
        if name not in self._environment:
            raise entry.wrong(f"variable {name} is not set")
        return self._environment[name]

    # -- secrets ------------------------------------------------------------------------------------------------

    def secret(self, entry: Entry, store: str | None) -> str:
        """The secret that a `secretKeyRef` means."""
        found = entry.fields("secretKeyRef", ("name", "key"))
        if "name" not in found:
            raise entry.wrong("secretKeyRef has no `name`")
        name = found["name"].some_text("name")
        key = found["key"].some_text("key") if "key" in found else name
        if store is None:
            raise entry.wrong("the secret has no store; write `auth` with a `secretStore`")
        if store not in self._stores:
            known = ", ".join(sorted(self._stores)) or "none"
            raise entry.wrong(f"there is no secret store {store!r} in these files; there are {known}")
        secret = self._stores[store].get(name)
        if secret is None:
            raise entry.wrong(f"secret store {store!r} has no secret {name!r}")
        if key not in secret:
            raise entry.wrong(f"secret {name!r} of {store!r} has no key {key!r}")
        return secret[key]

    def _declare(self, component: Component, at: Entry) -> None:
        try:
            self._stores[component.name] = secrets_of(component, self._environment)
        except (InvalidArgument, ValueError) as error:
            raise at.wrong(str(error)) from error


def secrets_of(component: Component, environment: Mapping[str, str]) -> Secrets:
    """The secrets of a component of a type `secretstores.`. A relative file is in the folder of the process.

    Raises InvalidArgument, and ValueError for a setting.
    """
    metadata = component.metadata
    if component.type == "secretstores.local.env":
        return EnvironmentSecrets(environment, metadata.get("prefix", ""))
    return read_secrets(
        Path(os.path.expanduser(metadata["secretsFile"])),
        separator=metadata.get("nestedSeparator") or ":",
        is_multi_valued=flag_of(metadata.get("multiValued", "")),
    )


def _says_no(value: str) -> bool:
    try:
        return not flag_of(value)
    except ValueError:
        return False
