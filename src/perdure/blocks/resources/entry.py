"""One value of a YAML file with its line: what it may be read as, and the error that names where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from perdure.blocks.resources.words import flag_of, seconds_of
from perdure.errors import InvalidArgument, PerdureError, UnknownConfiguration

FILE_CHARACTERS_MAX = 1_000_000
"""Of one resource file."""
DOCUMENTS_MAX = 1_000
"""Documents of one resource file."""
VALUE_NODES_MAX = 10_000
"""Values inside one value; aliases count as often as they are used, because a few lines can stand for billions."""
VALUE_DEPTH_MAX = 100


class Entry:
    """One value. Names of fields are read as Dapr reads them, whatever their case."""

    __slots__ = ("_node", "_path")

    def __init__(self, node: yaml.Node, path: Path) -> None:
        self._node = node
        self._path = path

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self._path}:{self._node.start_mark.line + 1}"

    @property
    def is_nothing(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self._node.tag.endswith(":null")

    @property
    def is_one_value(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    def wrong(self, told: str, kind: type[PerdureError] = InvalidArgument) -> PerdureError:
        """The error to raise for this value."""
        return kind(f"{self.place}: {told}")

    def pairs(self, what: str) -> Iterator[tuple[Entry, str, Entry]]:
        """Each key with its name and its value, as they are written. A name that is there twice is refused."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong(f"{what} is written as `key: value` lines")
        seen = set()
        for key_node, value in self._node.value:
            key = Entry(key_node, self._path)
            name = key.text(f"a key of {what}")
            if name in seen:
                raise key.wrong(f"{name!r} is there twice")
            seen.add(name)
            yield key, name, Entry(value, self._path)

    def fields(self, what: str, known: tuple[str, ...]) -> Fields:
        """The fields that have a value, by the names in `known`. Raises UnknownConfiguration for others."""
        names = {name.lower(): name for name in known}
        found = Fields()
        for key, written, value in self.pairs(what):
            name = names.get(written.lower())
            if name is None:
                raise key.wrong(f"{what} has no key {written!r}; there are {', '.join(known)}", UnknownConfiguration)
            if name in found:
                raise key.wrong(f"{name!r} is there twice")
            if not value.is_nothing:
                found[name] = value
        return found

    def mapping(self, what: str) -> dict[str, str]:
        """Texts by names that the author chose."""
        if self.is_nothing:
            return {}
        return {name: value.setting(f"{what} {name!r}") for _, name, value in self.pairs(what)}

    def items(self, what: str) -> list[Entry]:
        if self.is_nothing:
            return []
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong(f"{what} is a list, whose items begin with `-`")
        return [Entry(node, self._path) for node in self._node.value]

    def texts(self, what: str) -> tuple[str, ...]:
        return tuple(item.some_text(f"an item of {what}") for item in self.items(what))

    def text(self, what: str) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong(f"{what} is one value, not a list or mapping")
        text = "" if self.is_nothing else str(self._node.value)
        if "\0" in text:
            raise self.wrong(f"{what} holds a zero byte")
        return text

    def some_text(self, what: str) -> str:
        text = self.text(what)
        if not text:
            raise self.wrong(f"{what} is empty")
        return text

    def flag(self, what: str) -> bool:
        try:
            return flag_of(self.text(what))
        except ValueError as error:
            raise self.wrong(f"{what} is {error}") from None

    def whole(self, what: str) -> int:
        text = self.text(what)
        if not (text.isascii() and text.isdecimal()) or len(text) > len(str(2**31)) or int(text) < 1:
            raise self.wrong(f"{what} is {text!r}; write a number from 1")
        return int(text)

    def duration(self, what: str) -> float:
        """Seconds."""
        try:
            return seconds_of(self.text(what))
        except ValueError as error:
            raise self.wrong(f"{what} is {error}") from None

    def setting(self, what: str) -> str:
        """The text of any value: `true` and `8080` as they stand, a list or mapping as JSON."""
        if isinstance(self._node, yaml.ScalarNode):
            text = self.text(what)
            return text.lower() if self._node.tag.endswith(":bool") else text
        return json.dumps(self.plain(what))

    def plain(self, what: str) -> Any:
        """The value as plain Python."""
        counted = iter(range(VALUE_NODES_MAX))

        def built(node: yaml.Node, depth: int) -> Any:
            if next(counted, None) is None or depth > VALUE_DEPTH_MAX:
                raise self.wrong(f"{what} has more than {VALUE_NODES_MAX:,} values in it, or is nested too deeply")
            if isinstance(node, yaml.MappingNode):
                return {str(key.value): built(value, depth + 1) for key, value in node.value}
            if isinstance(node, yaml.SequenceNode):
                return [built(item, depth + 1) for item in node.value]
            return _scalar(node)

        return built(self._node, 0)


class Fields(dict[str, Entry]):
    """The fields of a mapping that have a value."""

    def text(self, name: str) -> str | None:
        return self[name].text(name) or None if name in self else None

    def texts(self, name: str) -> tuple[str, ...]:
        return self[name].texts(name) if name in self else ()

    def items_of(self, name: str) -> list[Entry]:
        return self[name].items(name) if name in self else []

    def mapping(self, name: str) -> dict[str, str]:
        return self[name].mapping(name) if name in self else {}

    def flag(self, name: str) -> bool:
        return name in self and self[name].flag(name)

    def whole(self, name: str) -> int | None:
        return self[name].whole(name) if name in self else None

    def duration(self, name: str) -> float | None:
        """Seconds."""
        return self[name].duration(name) if name in self else None

    def part(self, name: str, known: tuple[str, ...]) -> Fields:
        """The fields of a mapping inside this one, none if it is not there."""
        return self[name].fields(name, known) if name in self else Fields()


def read_documents(text: str, path: Path) -> list[Entry]:
    """The documents of a file that are not empty. Raises InvalidArgument."""
    if len(text) > FILE_CHARACTERS_MAX:
        raise InvalidArgument(f"{path} has more than {FILE_CHARACTERS_MAX:,} characters; is it a resource file?")
    found: list[Entry] = []
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if len(found) == DOCUMENTS_MAX:
                raise InvalidArgument(f"{path} has more than {DOCUMENTS_MAX:,} documents; use two files")
            # because a file that begins or ends with --- has an empty document there, which is no node at all
            if node is not None and not Entry(node, path).is_nothing:
                found.append(Entry(node, path))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise InvalidArgument(f"{path}:{line}: is no YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidArgument(f"{path} cannot be read as YAML: {type(error).__name__}: {error}") from error
    return found


def _scalar(node: yaml.Node) -> Any:
    if node.tag.rsplit(":", 1)[-1] not in _BARE:
        return str(node.value)
    try:
        return _constructor.construct_document(node)
    except (yaml.YAMLError, ValueError):
        return str(node.value)  # because a tag may promise what its text does not hold


_BARE = frozenset(("int", "float", "bool", "null"))
_constructor = yaml.constructor.SafeConstructor()
