"""How the history of a run fares under the code at hand: a pure question, answered without store, engine or clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from perdure.codec import PLAIN, Writer
from perdure.errors import HistoryCorrupt, InvalidArgument
from perdure.history.delivery import Gate, version_of
from perdure.history.events import RunStarted
from perdure.history.recording import Recording
from perdure.history.replay import Difference
from perdure.history.work import Identity, Stall
from perdure.sdk.definitions import Definitions
from perdure.sdk.misfit import Misfit, holder_of, misfit
from perdure.sdk.watchdog import Watchdog
from perdure.sdk.worker import LiveRun, Worker


class Finding(StrEnum):
    """What a replay came to. `stuck`: the code met another error of Perdure, or its turn did not end."""

    COMPATIBLE = "compatible"
    DIVERGES = "diverges"
    UNDECODABLE = "undecodable"
    MISSING = "missing"
    STUCK = "stuck"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one history says about code. `reason` and `description` are those of the stall that the run would meet.

    `difference` comes with `diverges`, `misfit` with `undecodable`. `patches` are those that the code asked for or the
    run had before, and whether the run takes their new side. `recorded_fingerprint` names the code that wrote the
    history last, `fingerprint` the code at hand.
    """

    finding: Finding
    name: str
    version: str | None = None
    events: int = 0
    reason: str | None = None
    description: str | None = None
    line: str | None = None
    difference: Difference | None = None
    misfit: Misfit | None = None
    patches: dict[str, bool] = {}
    recorded_fingerprint: str | None = None
    fingerprint: str | None = None

    @property
    def is_compatible(self) -> bool:
        return self.finding is Finding.COMPATIBLE

    @property
    def remedy(self) -> str | None:
        """What to do, as far as the history tells."""
        if self.difference is not None:
            where = f"at {self.difference.line}: " if self.difference.line else ""
            return f"{where}{self.difference.remedy}"
        return _REMEDIES.get(self.finding)

    def __str__(self) -> str:
        told = f": {self.description}" if self.description else ""
        return f"{self.name}{f' version {self.version}' if self.version else ''}: {self.finding}{told}"


_REMEDIES = {
    Finding.UNDECODABLE: "give new fields a default, keep the old type, or end the runs that hold the old data",
    Finding.MISSING: "register the code, or keep it until no run needs it",
    Finding.STUCK: "see the description",
}


class Registered(Protocol):
    """An app, or what stands for one: an id and its definitions, and a `writer` if values are packed."""

    @property
    def id(self) -> str: ...
    @property
    def definitions(self) -> Definitions: ...


def replay_history(
    app: Registered, events: Iterable[Any], *, instance_id: str = "replayed", watchdog: Watchdog | None = None
) -> Verdict:
    """Replay the events of one run, oldest first, against the code of `app`, and say how it fares.

    The run may be unfinished or finished; of a finished one the code must end it as its history does. Nothing outside
    runs and nothing is written. `instance_id` is what the code sees as its own. A `watchdog` that watches this thread
    bounds turns that do not end. Raises InvalidArgument if the events do not begin with a start.
    """
    recorded = list(events)
    return _replayed(app, identity_of(app.id, instance_id, recorded), recorded, [], watchdog)


def replay_recording(app: Registered, recording: Recording, *, watchdog: Watchdog | None = None) -> Verdict:
    """As `replay_history`, of a recorded run; then its next turn is tried too, if mail for it has come."""
    try:
        events, arrivals = recording.events(), recording.waiting()
    except HistoryCorrupt as error:
        return Verdict(
            finding=Finding.STUCK,
            name=recording.name,
            version=recording.version,
            reason="history-corrupt",
            description=str(error),
        )
    identity = identity_of(app.id, recording.id, [*events, *arrivals])
    identity = msgspec.structs.replace(identity, version=recording.version)
    return _replayed(app, identity, events, arrivals, watchdog, recording.updated)


def _replayed(
    app: Registered,
    identity: Identity,
    events: list[Any],
    arrivals: list[Any],
    watchdog: Watchdog | None,
    at: int = 0,
) -> Verdict:
    # because code that passes a secret on, or a large value, may do so with the app's codec alone
    writer: Writer = getattr(app, "writer", PLAIN)
    live = Worker(app.id, app.definitions, watchdog=watchdog, writer=writer).open(identity, is_new=not events)
    if isinstance(live, Stall):
        return _verdict(identity, events, live)
    gate = Gate()
    try:
        stall = live.replay([events], gate) or _tried(live, at, gate.pass_through(arrivals))
        return _verdict(identity, [*events, *arrivals], stall, live, _place(app.definitions, identity, not events))
    finally:
        live.close()


def _tried(live: LiveRun, at: int, events: list[Any]) -> Stall | None:
    """What the next turn would come to; what it asks for goes nowhere."""
    results: list[Any] = []
    live.advance(at, events, results.append)
    return next((result for result in results if isinstance(result, Stall)), None)


def identity_of(app_id: str, instance_id: str, events: list[Any]) -> Identity:
    """Which run a history is of, as its first events tell."""
    started = next((event for event in events if isinstance(event, RunStarted)), None)
    if started is None:
        raise InvalidArgument("the events hold no RunStarted; give the whole history of a run, from its first event")
    return Identity(
        app=app_id,
        instance=instance_id,
        execution=started.execution or "0",
        generation=started.generation,
        name=started.name,
        started=events[0].at,
        parent=started.parent.instance if started.parent is not None else None,
        tags=started.tags,
        version=version_of(events),
    )


def _verdict(
    identity: Identity, events: list[Any], stall: Stall | None, live: LiveRun | None = None, place: str | None = None
) -> Verdict:
    patches: Mapping[str, bool] = live.run.patches if live is not None else {}
    verdict = Verdict(
        finding=Finding.COMPATIBLE,
        name=identity.name,
        version=identity.version,
        events=len(events),
        patches=dict(patches),
        recorded_fingerprint=_recorded_fingerprint(events),
        fingerprint=live.fingerprint if live is not None else None,
    )
    if stall is None:
        return verdict
    difference = stall.difference
    if difference is not None and difference.line is None:
        difference = msgspec.structs.replace(difference, line=place)
    return msgspec.structs.replace(
        verdict,
        finding=_FINDINGS.get(stall.reason, Finding.STUCK),
        reason=stall.reason,
        description=stall.description,
        line=difference.line if difference is not None else stall.line,
        difference=difference,
        misfit=_misfit(events, live),
    )


def _place(definitions: Definitions, identity: Identity, is_new: bool) -> str | None:
    """Where the workflow's function begins: the line of a difference that lies nowhere in it."""
    workflow = definitions.workflow(identity.name, identity.version, is_new=is_new)
    code = getattr(workflow.function, "__code__", None) if workflow is not None else None
    return f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}" if code is not None else None


_FINDINGS = {
    "non-determinism": Finding.DIVERGES,
    "payload-not-decodable": Finding.UNDECODABLE,
    "workflow-not-registered": Finding.MISSING,
    "version-not-registered": Finding.MISSING,
}


def _misfit(events: list[Any], live: LiveRun | None) -> Misfit | None:
    if live is None or live.run.misfit is None or live.run.obstacle is None:
        return None
    payload, expected = live.run.misfit
    return misfit(holder_of(payload, events), expected, live.run.obstacle)


def _recorded_fingerprint(events: list[Any]) -> str | None:
    found = None
    for event in events:
        found = getattr(event, "fingerprint", None) or found
    return found
