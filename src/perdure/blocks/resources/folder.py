"""The files of resource folders, read in the order of their names; nothing below the folders is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from perdure.blocks.resources.entry import Entry, read_documents
from perdure.blocks.resources.kinds import read_resource
from perdure.blocks.resources.records import Component, Configuration, McpServer, Named, Resources, Subscription
from perdure.blocks.resources.settings import SECRET_STORES, Settings
from perdure.errors import InvalidArgument

FILES_MAX = 1_000
"""Files of all folders together."""
ENDINGS = (".yaml", ".yml")


def read_resources(folders: Path | Sequence[Path], environment: Mapping[str, str]) -> Resources:
    """The resources in the YAML files of one or several folders, or in files that are named themselves.

    `environment` is where `envRef` and `secretstores.local.env` look. Raises InvalidArgument and UnknownConfiguration,
    both with one sentence that names the file and the line.
    """
    documents: list[Entry] = []
    for path in _files([folders] if isinstance(folders, Path) else folders):
        documents += read_documents(_text(path), path)
    settings = Settings(environment)
    # because a component may refer to a secret store that stands behind it
    order = sorted(range(len(documents)), key=lambda at: not _is_secret_store(documents[at]))
    records = {at: read_resource(documents[at], settings) for at in order}
    in_order = [records[at] for at in range(len(documents))]
    _refuse_twice(in_order)
    return Resources(
        components=tuple(one for one in in_order if isinstance(one, Component)),
        subscriptions=tuple(one for one in in_order if isinstance(one, Subscription)),
        configurations=tuple(one for one in in_order if isinstance(one, Configuration)),
        mcp_servers=tuple(one for one in in_order if isinstance(one, McpServer)),
        warnings=tuple(settings.warnings),
    )


def _files(places: Sequence[Path]) -> Iterator[Path]:
    found: list[Path] = []
    for place in places:
        try:
            found += (
                sorted(p for p in place.iterdir() if p.suffix in ENDINGS and p.is_file()) if place.is_dir() else [place]
            )
        except OSError as error:
            raise InvalidArgument(f"the resource folder {place} cannot be read: {error.strerror or error}") from error
    if len(found) > FILES_MAX:
        raise InvalidArgument(f"the resource folders have more than {FILES_MAX:,} files; are they the right ones?")
    return iter(dict.fromkeys(found))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the resource file {path} cannot be read: {error}") from error


def _is_secret_store(document: Entry) -> bool:
    """Whether it will be read as a secret store; a document that is not as it should be is looked at later."""
    spec = _inner(document, "spec")
    type = None if spec is None else _inner(spec, "type")
    return type is not None and type.is_one_value and type.text("type").startswith(SECRET_STORES)


def _inner(entry: Entry, name: str) -> Entry | None:
    if entry.is_one_value or entry.is_list:
        return None
    return next((value for _, key, value in entry.pairs("a resource") if key.lower() == name), None)


def _refuse_twice(records: Iterable[Named]) -> None:
    """Raises InvalidArgument if one app would have two of one name."""
    seen: dict[tuple[str, str], list[Named]] = {}
    for one in records:
        before = seen.setdefault((type(one).__name__, one.name), [])
        for other in before:
            if not (one.scopes and other.scopes) or set(one.scopes) & set(other.scopes):
                raise InvalidArgument(f"{one.place}: {one.name!r} is at {other.place} too; give each its own name")
        before.append(one)
