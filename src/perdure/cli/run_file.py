"""What a run file (dapr.yaml) says: apps, their ports, commands and environments. Reads text, touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from perdure.cli.apps import AppEntry
from perdure.errors import InvalidArgument, PerdureError, UnknownConfiguration

RUN_FILE_NAME = "dapr.yaml"
"""What a run file is called where only its folder is named."""
RUN_FILE_CHARACTERS_MAX = 1_000_000
APPS_MAX = 100
"""Apps of one run file, each of which has a process and two ports."""

NOT_NEEDED = frozenset(
    {
        *("configFilePath", "runtimePath", "placementHostAddress"),
        *("schedulerHostAddress", "daprInternalGRPCPort", "apiListenAddresses", "maxBodySize", "readBufferSize"),
        *("logLevel", "enableApiLogging", "appLogDestination", "daprdLogDestination", "metricsPort"),
        *("enableProfiling", "profilePort", "appSSL", "appMaxConcurrency", "enableAppHealthCheck"),
        *("appHealthCheckPath", "appHealthProbeInterval", "appHealthProbeTimeout", "appHealthThreshold"),
        *("containerImage", "containerImagePullPolicy", "createService"),
    }
)
"""Keys of Dapr for which there is nothing here to set. They are read over, and a warning says so."""
REFUSED = {"unixDomainSocket": "the server listens on ports alone, and the program would find no socket"}
"""Keys of Dapr without which a program would not work, with the reason."""

Fields = dict[str, tuple[yaml.Node, yaml.Node]]


class RunFile(msgspec.Struct, frozen=True):
    """The apps in the order of the file, and a sentence for each key that has no effect."""

    apps: tuple[AppEntry, ...]
    warnings: tuple[str, ...]


def parse(text: str, path: Path) -> RunFile:
    """Read the text of a run file. `path` is where it lies: relative folders begin there, and errors name it.

    Raises UnknownConfiguration for a key that does not exist, and InvalidArgument for all else, both with the line.
    """
    return _Reader(path).run_file(text)


class _Reader:
    """One reading of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._not_needed: dict[str, int] = {}

    def run_file(self, text: str) -> RunFile:
        root = self._root(text)
        fields = self._fields(root, _OF_THE_FILE, "a run file")
        self._version(root, fields)
        common = self._common(fields)
        entries = self._items(*fields["apps"], "apps") if "apps" in fields else []
        if not entries:
            raise self._wrong(root, "names no app; write them under `apps`")
        if len(entries) > APPS_MAX:
            raise self._wrong(entries[APPS_MAX], f"is one app more than the bound, {APPS_MAX}; use two files")
        apps = tuple(self._app(entry, common) for entry in entries)
        self._refuse_clashes(apps)
        return RunFile(apps, tuple(self._warnings()))

    def _root(self, text: str) -> yaml.Node:
        if len(text) > RUN_FILE_CHARACTERS_MAX:
            raise InvalidArgument(
                f"{self._path} has more than {RUN_FILE_CHARACTERS_MAX:,} characters; is it a run file?"
            )
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            raise InvalidArgument(f"{self._path}:{line}: is no YAML: {error.problem}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise InvalidArgument(f"{self._path} cannot be read as YAML: {type(error).__name__}: {error}") from error
        if root is None:
            raise InvalidArgument(f"{self._path} is empty; a run file has `version: 1` and `apps`")
        return root

    def _version(self, root: yaml.Node, fields: Fields) -> None:
        if "version" not in fields:
            raise self._wrong(root, "has no `version`; write `version: 1`")
        node = fields["version"][1]
        if self._text(node, "version") != "1":
            raise self._wrong(node, f"version is {self._text(node, 'version')}; only 1 is known")

    def _common(self, fields: Fields) -> dict[str, Any]:
        if "common" not in fields or _is_nothing(fields["common"][1]):
            return {}
        return self._values(self._fields(fields["common"][1], set(_SHARED), "common"))

    def _app(self, node: yaml.Node, common: dict[str, Any]) -> AppEntry:
        fields = self._fields(node, {*_SHARED, *_OF_ONE_APP}, "an app")
        values = self._values(fields)
        if "folder" not in values:
            raise self._wrong(node, "the app has no `appDirPath`; write the folder that its program runs in")
        environment = {**common.get("environment", {}), **values.get("environment", {})}
        merged = {"app_id": values["folder"].name, **common, **values, "environment": environment}
        if not merged["app_id"]:
            raise self._wrong(node, "the app has no `appID`, and its folder has no name to take it from")
        return AppEntry(**merged, line=_line(node))

    def _values(self, fields: Fields) -> dict[str, Any]:
        readers = {**_SHARED, **_OF_ONE_APP}
        return {
            readers[key][0]: readers[key][1](self, value, key) for key, (_, value) in fields.items() if key in readers
        }

    def _refuse_clashes(self, apps: tuple[AppEntry, ...]) -> None:
        seen: dict[object, AppEntry] = {}
        for app in apps:
            ports = [port for port in (app.grpc_port, app.http_port, app.app_port) if port]
            for what in (app.app_id, *ports):
                if what in seen:
                    kind = f"port {what}" if isinstance(what, int) else f"app id {what!r}"
                    before = seen[what].line
                    raise InvalidArgument(
                        f"{self._path}:{app.line}: {kind} is given in line {before} too; choose another"
                    )
                seen[what] = app

    def _warnings(self) -> Iterator[str]:
        for key, line in self._not_needed.items():
            yield f"{self._path}:{line}: {key} has no effect here"

    # -- nodes ----------------------------------------------------------------------------------------------------

    def _fields(self, node: yaml.Node, known: set[str], what: str) -> Fields:
        """Keys and values of a mapping, those left out that have no effect."""
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, f"{what} is written as `key: value` lines")
        fields: Fields = {}
        for key_node, value in node.value:
            key = self._text(key_node, "a key")
            if key in fields:
                raise self._wrong(key_node, f"{key!r} is there twice")
            if key in known:
                fields[key] = (key_node, value)
            else:
                self._read_over(key_node, key, known, what)
        return fields

    def _read_over(self, node: yaml.Node, key: str, known: set[str], what: str) -> None:
        if key in REFUSED:
            raise self._wrong(node, f"{key} cannot be served: {REFUSED[key]}; leave it out")
        if key not in NOT_NEEDED or known is _OF_THE_FILE:
            raise self._wrong(
                node, f"{what} has no key {key!r}; there are {', '.join(sorted(known))}", UnknownConfiguration
            )
        self._not_needed.setdefault(key, _line(node))

    def _items(self, key: yaml.Node, node: yaml.Node, what: str) -> list[yaml.Node]:
        if _is_nothing(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(key, f"{what} is a list, whose items begin with `-`")
        return list(node.value)

    def _text(self, node: yaml.Node, what: str) -> str:
        """A scalar as it is written: `8080` and `true` are texts too, as an environment wants them."""
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, f"{what} is one value, not a list or mapping")
        text = "" if _is_nothing(node) else str(node.value)
        if "\0" in text:
            raise self._wrong(node, f"{what} holds a zero byte, which no program can be given")
        return text

    def _some_text(self, node: yaml.Node, what: str) -> str:
        text = self._text(node, what)
        if not text:
            raise self._wrong(node, f"{what} is empty")
        return text

    def _folder(self, node: yaml.Node, what: str) -> Path:
        return self._path.absolute().parent.joinpath(Path(self._some_text(node, what)).expanduser()).resolve()

    def _folders(self, node: yaml.Node, what: str) -> tuple[Path, ...]:
        nodes = [node] if isinstance(node, yaml.ScalarNode) and not _is_nothing(node) else self._items(node, node, what)
        return tuple(self._folder(each, what) for each in nodes)

    def _port(self, node: yaml.Node, what: str) -> int:
        text = self._text(node, what)
        if text == "-1":  # because Dapr writes a port that nobody has chosen like this
            return 0
        if not (text.isascii() and text.isdecimal()) or int(text[:6]) > 65_535:
            raise self._wrong(node, f"{what} is {text!r}; give a port from 1 to 65535, or 0 for a free one")
        return int(text)

    def _command(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self._wrong(node, f'{what} is a list such as ["python3", "app.py"]')
        return tuple(self._text(part, f"a part of {what}") for part in node.value)

    def _environment(self, node: yaml.Node, what: str) -> dict[str, str]:
        if _is_nothing(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, f"{what} is written as `NAME: value` lines")
        environment: dict[str, str] = {}
        for key, value in node.value:
            name = self._some_text(key, "a name of a variable")
            if "=" in name or name in environment:
                raise self._wrong(
                    key, f"variable {name!r} " + ("is there twice" if name in environment else "holds a =")
                )
            environment[name] = self._text(value, f"variable {name!r}")
        return environment

    def _wrong(self, node: yaml.Node, told: str, kind: type[PerdureError] = InvalidArgument) -> PerdureError:
        return kind(f"{self._path}:{_line(node)}: {told}")


_OF_THE_FILE = {"version", "common", "apps"}
_Read = Callable[[_Reader, yaml.Node, str], Any]
_SHARED: dict[str, tuple[str, _Read]] = {
    "env": ("environment", _Reader._environment),
    "resourcesPath": ("resource_folders", _Reader._folders),
    "resourcesPaths": ("resource_folders", _Reader._folders),
    "appProtocol": ("app_protocol", _Reader._some_text),
}
_OF_ONE_APP: dict[str, tuple[str, _Read]] = {
    "appID": ("app_id", _Reader._some_text),
    "appDirPath": ("folder", _Reader._folder),
    "command": ("command", _Reader._command),
    "appPort": ("app_port", _Reader._port),
    "appChannelAddress": ("app_address", _Reader._some_text),
    "daprGRPCPort": ("grpc_port", _Reader._port),
    "daprHTTPPort": ("http_port", _Reader._port),
}
"""Keys that have an effect: which field of an entry each one sets, and what reads it."""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
