"""Golden histories: recorded once, kept beside a test as files for people to read, and replayed for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from perdure.app import App
from perdure.errors import HistoryNotRecorded, InvalidArgument
from perdure.history.events import AnyEvent
from perdure.sdk.handle import Handle
from perdure.sdk.options import checked_name
from perdure.sdk.verdict import replay_history
from perdure.testing.histories import told

FORMAT = 1


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds."""

    perdure_history: int
    app: str
    instance: str
    workflow: str
    events: list[AnyEvent]


_decoder = msgspec.json.Decoder(Recorded)


class Shelf:
    """The golden histories of one name: `folder/name-1.json`, `name-2.json` and so on.

    `records`: whether a history that goes another way than those that are there is added. `command` is what people run
    to record.
    """

    def __init__(self, folder: Path, name: str, *, records: bool = False, command: str = "") -> None:
        self._folder = folder
        self._name = checked_name(name, "a golden history's name")
        self._records = records
        self._command = command or "record it with the fixture perdure_app and `pytest --perdure-record`"
        if "/" in name or "\\" in name:
            raise InvalidArgument(f"a golden history's name is part of a file's name; {name!r} has a slash")

    def named(self, name: str | None) -> Shelf:
        """The shelf beside it for another name."""
        if name is None:
            return self
        return Shelf(self._folder, name, records=self._records, command=self._command)

    @property
    def paths(self) -> list[Path]:
        found = [path for path in self._folder.glob("*.json") if self._number(path) is not None]
        return sorted(found, key=lambda path: self._number(path) or 0)

    def _number(self, path: Path) -> int | None:
        name, _, number = path.stem.rpartition("-")
        return int(number) if name == self._name and number.isdecimal() else None

    async def hold(self, app: App, handle: Handle[Any]) -> None:
        """Replay what is recorded against the code of an app; record the history of `handle` if that is wanted."""
        known = {path: read(path) for path in self.paths}
        if self._records:
            new = await _record(handle)
            if not any(_way(one) == _way(new) for one in known.values()):
                known[self._write(new)] = new
        if not known:
            raise HistoryNotRecorded(f"no history {self._name!r} is recorded in {self._folder}; {self._command}")
        for path, recorded in known.items():
            _assert_replays(app, path, recorded)

    def _write(self, recorded: Recorded) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max((self._number(path) or 0 for path in self.paths), default=0) + 1
        path = self._folder / f"{self._name}-{number}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(recorded), indent=2) + b"\n")
        return path


def read(path: Path) -> Recorded:
    """Raises HistoryNotRecorded if the file does not hold a history."""
    try:
        recorded = _decoder.decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HistoryNotRecorded(
            f"{path} cannot be read as a golden history: {error}; restore it, or delete it"
        ) from None
    if recorded.perdure_history != FORMAT or not recorded.events:
        raise HistoryNotRecorded(f"{path} is of format {recorded.perdure_history}, this Perdure reads {FORMAT}")
    return recorded


def assert_replays(app: App, path: str | Path) -> None:
    """Raise AssertionError unless the code of an app, as it is now, takes the way of the history in a file.

    Raises HistoryNotRecorded if the file does not hold a history.
    """
    _assert_replays(app, Path(path), read(Path(path)))


def _assert_replays(app: App, path: Path, recorded: Recorded) -> None:
    verdict = replay_history(app, recorded.events, instance_id=recorded.instance)
    if not verdict.is_compatible:
        raise AssertionError(
            f"workflow {recorded.workflow} does not replay {path}: {verdict}\n{verdict.remedy}. "
            "Instances that run would stall there. "
            "Restore the code's way for them; delete the file only if no instance that goes this way is left."
        )


async def _record(handle: Handle[Any]) -> Recorded:
    state = await handle.state()
    events = [event async for event in handle.history()]
    return Recorded(perdure_history=FORMAT, app=state.app, instance=state.id, workflow=state.name, events=events)


def _way(recorded: Recorded) -> list[str]:
    return [happened.label for happened in told(recorded.events)]
