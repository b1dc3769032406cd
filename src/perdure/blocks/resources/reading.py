"""What the documents of all kinds have in common: a head that names the resource, and a spec with its own fields."""

from __future__ import annotations

from typing import Any

from perdure.blocks.resources.entry import Entry, Fields
from perdure.blocks.resources.settings import Settings

_HEAD = ("apiVersion", "kind", "metadata", "spec", "scopes")


class Reading:
    """The reading of one document into a record that names its place."""

    def __init__(self, document: Entry, settings: Settings, *more: str) -> None:
        self.document = document
        self.settings = settings
        self.fields = document.fields("a resource", (*_HEAD, *more))
        self.named: dict[str, Any] = {
            "name": self._name(),
            "scopes": self.fields.texts("scopes"),
            "place": document.place,
        }

    def spec(self, *known: str) -> Fields:
        return self.fields.part("spec", known)

    def needed(self, found: Fields, name: str) -> str:
        """A text that has to be there."""
        text = found.text(name)
        if text is None:
            raise self.document.wrong(f"{self.named['name']!r} has no `{name}`")
        return text

    def _name(self) -> str:
        metadata = self.fields.part("metadata", ("name", "namespace", "labels", "annotations"))
        name = metadata.text("name")
        if name is None:
            raise self.document.wrong("the resource has no `metadata` with a `name`")
        return name
