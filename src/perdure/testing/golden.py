"""Golden histories: recorded once, kept beside a test as files for people to read, and replayed for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perdure.app import App
from perdure.errors import HistoryNotRecorded, InvalidArgument, PerdureError
from perdure.history.actions import CompleteRun
from perdure.history.delivery import deliveries, turns
from perdure.history.events import AnyEvent, RunCompleted, RunContinued, RunStarted
from perdure.history.work import Identity
from perdure.sdk.client import Handle
from perdure.sdk.definitions import Definitions
from perdure.sdk.options import checked_name
from perdure.sdk.run import Diverged
from perdure.stores.contract import Status
from perdure.testing.exact import AskingRun
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
    difference = _difference(app.definitions, recorded)
    if difference is not None:
        raise AssertionError(
            f"workflow {recorded.workflow} does not replay {path}: {difference}\nInstances that run would stall there. "
            "Restore the code's way for them; delete the file only if no instance that goes this way is left."
        )


async def _record(handle: Handle[Any]) -> Recorded:
    state = await handle.state()
    events = [event async for event in handle.history()]
    return Recorded(perdure_history=FORMAT, app=state.app, instance=state.id, workflow=state.name, events=events)


def _way(recorded: Recorded) -> list[str]:
    return [happened.label for happened in told(recorded.events)]


def _difference(definitions: Definitions, recorded: Recorded) -> str | None:
    """Where present code and a history part; None if they do not."""
    workflow = definitions.workflows.get(recorded.workflow)
    if workflow is None:
        return f"no workflow {recorded.workflow!r} is registered; its instances would stand still"
    segments = _of_code(recorded.events)
    run = AskingRun(_identity(recorded), workflow.main, workflow.is_generator)
    try:
        for turn in deliveries(segments):
            run.replay(turn.at, turn.events, turn.recorded)
            if run.obstacle is not None:
                return str(run.obstacle)
    except (Diverged, PerdureError) as error:
        return str(error)
    finally:
        run.close()
    return _of_end(run, recorded.events)


def _identity(recorded: Recorded) -> Identity:
    started = next((event for event in recorded.events if isinstance(event, RunStarted)), None)
    if started is None:
        raise HistoryNotRecorded("the history does not begin with a RunStarted; it is not whole")
    at = recorded.events[0].at
    parent = started.parent.instance if started.parent is not None else None
    return Identity(
        recorded.app,
        recorded.instance,
        started.execution,
        started.generation,
        recorded.workflow,
        at,
        parent,
        started.tags,
    )


def _of_code(events: Sequence[Any]) -> list[list[Any]]:
    """The turns of a history that code took part in: a termination or a run's timeout ends a run without it."""
    every = list(turns(events))
    return every[:-1] if every and _ended_from_outside(every[-1]) else every


def _ended_from_outside(turn: Sequence[Any]) -> bool:
    end = turn[-1]
    if not isinstance(end, RunCompleted):
        return False
    return end.status == Status.TERMINATED or (end.failure is not None and end.failure.type == "RunTimedOut")


def _of_end(run: AskingRun, events: Sequence[Any]) -> str | None:
    """Whether code that took a history's way also ends as it does."""
    end = events[-1]
    if isinstance(end, RunContinued) or (isinstance(end, RunCompleted) and _ended_from_outside(events)):
        return None
    held = f"the end, {end.status}" if isinstance(end, RunCompleted) else "no end yet"
    now = next((f"the end, {action.status}" for action in run.asked if isinstance(action, CompleteRun)), "no end yet")
    return f"after its last event history holds {held}, the code {now}" if held != now else None
